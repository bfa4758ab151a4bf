//! Tests what a service manager is told: a socket takes the place of systemd.

use std::{io::ErrorKind, os::unix::net::UnixDatagram, path::Path};

use tempfile::TempDir;

use crate::{
    process::Process,
    support::{PATIENCE, Remote},
};

/// What systemd has beside the process: the socket that it reads.
struct Manager(UnixDatagram);

impl Manager {
    fn new(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Starts a server that this manager watches: it wants a sign of life every second.
    fn start(&self, folder: &TempDir, flags: &[&str]) -> Process {
        Process::with(folder.path(), flags, |command| {
            command.env("NOTIFY_SOCKET", folder.path().join("notify"));
            command.env("WATCHDOG_USEC", "1000000");
            command.env_remove("WATCHDOG_PID");
        })
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1_024];
        let length = self
            .0
            .recv(&mut buffer)
            .expect("the server tells something");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    }

    /// The next message that is no sign of life.
    fn next_state(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_when_the_server_serves_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let process = manager.start(&folder, &[]);
    assert_eq!(manager.next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    assert!(process.terminate().success());
    assert_eq!(manager.next_state(), "STOPPING=1");
    manager.0.set_nonblocking(true).unwrap();
    // The queue is at its end, so nothing but signs of life has followed.
    let mut buffer = [0; 64];
    loop {
        match manager.0.recv(&mut buffer) {
            Ok(length) => assert_eq!(buffer[..length].trim_ascii(), b"WATCHDOG=1"),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

#[tokio::test]
async fn a_server_that_restarts_says_again_that_it_is_ready_and_never_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path());
    let process = manager.start(&folder, &["--allow-faults"]);
    assert_eq!(manager.next(), "READY=1");
    let remote = Remote::new(process.addr);
    let guest = remote.guest().await;
    let asked = remote.post("/api/faults/server_restart", &[]);
    let asked = asked.header("authorization", guest.bearer()).send().await;
    assert_eq!(asked.unwrap().status(), 200);
    let next = tokio::task::spawn_blocking(move || (manager.next_state(), manager));
    let (state, manager) = next.await.unwrap();
    assert_eq!(state, "READY=1");
    assert_eq!(manager.next(), "WATCHDOG=1");
    assert!(process.terminate().success());
}
