//! A server in a process of its own, pinned to its core. It ends with the benchmark, however that ends.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{http, machine};

/// The limit for a server to start.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// The argument with which this program becomes a server: see [`launch`].
pub const LAUNCH: &str = "launch";

pub struct Server {
    child: Child,
    folder: PathBuf,
    pub port: u16,
    /// The port for lines of events, where the server has one.
    pub feed_port: u16,
}

impl Server {
    /// Starts a program in an empty folder of its own, and waits until it says where it listens.
    pub fn start(command: &[OsString], folder: &Path) -> Result<Self> {
        fs::remove_dir_all(folder).ok();
        fs::create_dir_all(folder).context("the folder of a server")?;
        let name = command
            .iter()
            .map(|part| part.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        let log = folder.join("stderr.log");
        // The developer's own settings do not count.
        let ours = |name: &str| {
            ["WIREWISE_", "LEPTOS_", "RUST_LOG", "NODE_"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        let mut launched = Command::new(env::current_exe()?);
        for (name, _) in env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
            launched.env_remove(name);
        }
        let launched = launched
            .arg(LAUNCH)
            .args(command)
            .env("NODE_ENV", "production")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let child = launched.spawn().with_context(|| name.clone())?;
        let mut server = Self {
            child,
            folder: folder.to_owned(),
            port: 0,
            feed_port: 0,
        };
        server.announced().map_err(|error| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            anyhow!("{name}: {error}\n{log}")
        })?;
        Ok(server)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Waits until `/readyz` of Wirewise answers with 200.
    pub fn until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + STARTS_WITHIN;
        while let Err(error) = http::fetch(self.address(), "GET", "/readyz", &[]) {
            if Instant::now() > deadline {
                return Err(error).context("Wirewise does not get ready");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn announced(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("no standard output")?;
        let (sender, lines) = channel();
        // It reads on after the announcement, because a full pipe would block the server.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        (self.port, self.feed_port) = ports(&lines)?;
        Ok(())
    }
}

/// Reads the announcement of a peer ("listens on 1, feed on 2") or of Wirewise ("Wirewise listens on http://127.0.0.1:1").
fn ports(lines: &Receiver<String>) -> Result<(u16, u16)> {
    let deadline = Instant::now() + STARTS_WITHIN;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let Some((_, rest)) = line.split_once("listens on ") else {
                    continue;
                };
                let (port, feed) = rest.split_once(", feed on ").unwrap_or((rest, "0"));
                let port = port.rsplit(':').next().unwrap_or_default();
                return Ok((
                    port.parse().context(line.clone())?,
                    feed.parse().context(line)?,
                ));
            }
            Err(RecvTimeoutError::Timeout) => bail!("it did not say where it listens"),
            Err(RecvTimeoutError::Disconnected) => bail!("it ended instead of listening"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Turns this process into a server: on the server's core, and killed when the benchmark ends.
pub fn launch(command: &[OsString]) -> Result<()> {
    let [program, arguments @ ..] = command else {
        bail!("launch needs a program");
    };
    machine::pin(machine::SERVER_CORE)?;
    // It outlives the change of program below, so that no server is left behind by a benchmark that is killed.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| program.to_string_lossy().into_owned())
}
