//! Starts a server in a process of its own, for what only a process can show: `kill -9`, SIGTERM, and the commands
//! besides the plain start.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// The binary that `cargo` built beside this test, or the one that `WIREWISE_BIN` names.
pub fn binary() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_wirewise");
    std::env::var_os("WIREWISE_BIN").map_or_else(|| built.into(), PathBuf::from)
}

/// A running server. It is killed when dropped.
pub struct Process {
    child: Child,
    pub addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
}

impl Process {
    /// Starts on the folder `data` within `folder` and waits until it listens.
    pub fn start(folder: &Path, flags: &[&str]) -> Self {
        Self::with(folder, flags, |_| {})
    }

    /// Like [`Process::start`], with changes to the command that starts the server.
    pub fn with(folder: &Path, flags: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(folder, "127.0.0.1:0", flags);
        change(command.stdout(Stdio::piped()));
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
        let mut announced = |before: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let addr = line.split('/').nth(2).map(str::trim);
            addr.filter(|_| line.starts_with(before))
                .and_then(|addr| addr.parse().ok())
                .unwrap_or_else(|| panic!("it says where it listens: {line:?}"))
        };
        let addr = announced("Wirewise listens on http");
        let metrics_addr = announced("Wirewise's metrics are at http://");
        Self {
            child,
            addr,
            metrics_addr: Some(metrics_addr),
        }
    }

    /// Starts on an address that the caller chose, for tests in which standard output cannot report the address.
    pub fn on(
        addr: SocketAddr,
        folder: &Path,
        flags: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = command(folder, &addr.to_string(), flags);
        change(&mut command);
        let child = command.spawn().unwrap();
        Self {
            child,
            addr,
            metrics_addr: None,
        }
    }

    /// Where `/metrics` is answered. Unknown of a server on an address that the caller chose.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.metrics_addr.unwrap()
    }

    /// Waits until the process has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// How the process has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`: no destructor runs, nothing is flushed.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits until the process has ended.
    pub fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// The resident memory in bytes. Linux only.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes = line.trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<u64>().unwrap() * 1_024
    }
}

/// The command that starts a server on the folder `data` within `folder`.
fn command(folder: &Path, addr: &str, flags: &[&str]) -> Command {
    std::fs::create_dir_all(folder.join("site/pkg")).unwrap();
    let mut command = Command::new(binary());
    command
        .args(["--addr", addr, "--metrics-addr", "127.0.0.1:0"])
        .args(["--site-root", "site"])
        .args(["--data-dir", "data", "--max-connections-per-ip", "0"])
        .args(["--requests-per-second", "1000000", "--log", "error"])
        .args(flags)
        .current_dir(folder);
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls fail if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
