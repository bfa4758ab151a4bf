//! Tests standard error and standard output that are closed, full, or never read: the server keeps serving, and shuts
//! down when asked.

use std::{
    fs::File,
    io::{PipeReader, pipe},
    net::SocketAddr,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};

use crate::{
    process::{Process, binary},
    support::{PATIENCE, Remote, free_address},
};

/// Enough requests for a debug log to fill a pipe (64 KiB) several times.
const REQUESTS: usize = 400;

/// The state of the other end of a stream.
#[derive(Clone, Copy, Debug)]
enum End {
    Gone,
    Full,
    Unread,
}

impl End {
    const ALL: [Self; 3] = [Self::Gone, Self::Full, Self::Unread];

    /// The stream, and the reader that keeps its other end open.
    fn open(self) -> (Stdio, Option<PipeReader>) {
        let (reader, writer) = pipe().unwrap();
        match self {
            Self::Gone => (writer.into(), None),
            Self::Full => (File::create("/dev/full").unwrap().into(), None),
            Self::Unread => (writer.into(), Some(reader)),
        }
    }
}

async fn alive(server: &Remote) {
    let answer = timeout(PATIENCE, server.get("/healthz").send()).await;
    let answer = answer.expect("it answers at all").unwrap();
    assert_eq!(answer.status(), 200);
}

async fn listening(addr: SocketAddr) {
    let connects = async {
        while TcpStream::connect(addr).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, connects).await.expect("it listens");
}

async fn metric(metrics: &Remote, name: &str) -> u64 {
    let text = metrics.text("/metrics").await;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn ended(wait: impl FnOnce() -> ExitStatus + Send + 'static) -> ExitStatus {
    let ended = timeout(PATIENCE, spawn_blocking(wait)).await;
    ended.expect("it shuts down when it is asked to").unwrap()
}

#[tokio::test]
async fn a_log_that_cannot_be_written_blocks_nothing_and_is_counted() {
    for end in End::ALL {
        let folder = tempfile::tempdir().unwrap();
        let (stderr, _other_end) = end.open();
        let flags = ["--log", "debug"];
        let process = Process::with(folder.path(), &flags, |command| {
            command.stderr(stderr);
        });
        let server = Remote::new(process.addr);
        for _ in 0..REQUESTS {
            alive(&server).await;
        }
        if !matches!(end, End::Unread) {
            assert!(
                metric(
                    &Remote::new(process.metrics_addr()),
                    "wirewise_log_lines_dropped"
                )
                .await
                    > 0,
                "{end:?}"
            );
        }
        let status = ended(move || process.terminate()).await;
        assert!(status.success(), "{end:?}: {status}");
    }
}

#[tokio::test]
async fn standard_output_that_cannot_be_written_does_not_block_the_start() {
    for end in End::ALL {
        let folder = tempfile::tempdir().unwrap();
        let (stdout, _other_end) = end.open();
        let process = Process::on(free_address(), folder.path(), &[], |command| {
            command.stdout(stdout);
        });
        listening(process.addr).await;
        alive(&Remote::new(process.addr)).await;
        let status = ended(move || process.terminate()).await;
        assert!(status.success(), "{end:?}: {status}");
    }
}

#[tokio::test]
async fn a_server_whose_log_and_output_nobody_reads_restarts_and_shuts_down() {
    let folder = tempfile::tempdir().unwrap();
    // One full pipe for both streams, as behind `2>&1 | program that stopped`.
    let (reader, writer) = pipe().unwrap();
    let flags = ["--log", "debug", "--allow-faults", "true"];
    let process = Process::on(free_address(), folder.path(), &flags, |command| {
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
    });
    listening(process.addr).await;
    let server = Remote::new(process.addr);
    for _ in 0..REQUESTS {
        alive(&server).await;
    }
    let guest = server.guest().await;
    let restart = server.post("/api/faults/server_restart", &[]);
    let restart = restart.header("authorization", guest.bearer());
    assert_eq!(restart.send().await.unwrap().status(), 200);
    let refused = async { while TcpStream::connect(process.addr).await.is_ok() {} };
    timeout(PATIENCE, refused)
        .await
        .expect("it stops listening");
    listening(process.addr).await;
    alive(&Remote::new(process.addr)).await;
    let status = ended(move || process.terminate()).await;
    assert!(status.success(), "{status}");
    drop(reader);
}

#[tokio::test]
async fn a_start_that_cannot_succeed_ends_with_its_own_code_whatever_standard_error_is() {
    for end in End::ALL {
        for flags in [
            ["--addr", "nonsense"],
            ["--site-root", "nowhere"],
            ["--bus", "nats"],
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (stderr, _other_end) = end.open();
            let process = Process::on(free_address(), folder.path(), &flags, |command| {
                command.stderr(stderr);
            });
            let status = ended(move || process.wait()).await;
            assert_eq!(status.code(), Some(1), "{end:?} {flags:?}");
        }
    }
}

#[test]
fn a_command_is_executed_although_its_output_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    drop(Process::start(folder.path(), &[]));
    let run = |arguments: &[&str], stdout: Stdio| {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(folder.path());
        command.stdout(stdout).status().unwrap()
    };
    for (number, end) in End::ALL.into_iter().enumerate() {
        let file = format!("backup-{number}");
        let status = run(&["backup", &file], end.open().0);
        assert!(status.success(), "{end:?}: {status}");
        assert!(Path::new(&folder.path().join(file)).exists());
        assert!(run(&["--help"], end.open().0).success(), "{end:?}");
    }
}

#[tokio::test]
async fn exhausted_file_descriptors_end_no_accept_loop_and_fill_no_log() {
    for end in [None, Some(End::Gone)] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let stderr = end.map_or_else(|| File::create(&log).unwrap().into(), |end| end.open().0);
        let process = Process::with(folder.path(), &["--log", "warn"], |command| {
            command.stderr(stderr);
        });
        let server = Remote::new(process.addr);
        alive(&server).await;
        let metrics = Remote::new(process.metrics_addr());
        // Its connection stays open, so that the metrics can be read meanwhile.
        metrics.text("/metrics").await;
        let few = Rlimit {
            current: Some(80),
            maximum: Some(80),
        };
        prlimit(Pid::from_raw(process.id() as i32), Resource::Nofile, few).unwrap();
        let mut connections = vec![];
        for _ in 0..100 {
            connections.push(TcpStream::connect(process.addr).await.unwrap());
        }
        let failing = async {
            while metric(&metrics, "wirewise_accept_errors").await < 10 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, failing)
            .await
            .expect("descriptors are used up");
        drop(connections);
        alive(&Remote::new(process.addr)).await;
        if end.is_none() {
            let log = std::fs::read_to_string(&log).unwrap();
            let warnings = log.lines().filter(|line| line.contains("accepting"));
            assert_eq!(warnings.count(), 1, "{log}");
        }
    }
}
