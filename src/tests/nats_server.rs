//! Starts a NATS server with JetStream in a process of its own, on a free port of loopback.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// Far longer than a server takes to start.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A NATS server. It is killed when dropped; its store stays in the folder.
pub struct NatsServer {
    folder: PathBuf,
    pub port: u16,
    /// Where it answers what it holds (<https://docs.nats.io/running-a-nats-service/nats_admin/monitoring>).
    pub monitoring_port: u16,
    /// Lines of the configuration beside those that a server of these tests always has.
    more: String,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server with its store in a folder.
    pub fn start(folder: &Path) -> Self {
        Self::with(folder, "max_payload: 16MB")
    }

    /// Starts a server with lines of the caller in its configuration.
    pub fn with(folder: &Path, more: &str) -> Self {
        let mut server = Self {
            folder: folder.to_owned(),
            port: free_port(),
            monitoring_port: free_port(),
            more: more.to_owned(),
            child: None,
        };
        server.go_on();
        server
    }

    /// Starts servers of one cluster, or a server alone.
    pub fn cluster(folder: &Path, count: usize) -> Vec<Self> {
        if count == 1 {
            return vec![Self::start(folder)];
        }
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let start = |(number, port): (usize, &u16)| {
            let more = format!(
                "max_payload: 16MB\nserver_name: nats-{number}\ncluster {{ name: torture, listen: \"127.0.0.1:{port}\", routes: [{}] }}",
                routes.join(", ")
            );
            let folder = folder.join(number.to_string());
            std::thread::spawn(move || Self::with(&folder, &more))
        };
        let starting: Vec<_> = ports.iter().enumerate().map(start).collect();
        let started = starting.into_iter().map(|server| server.join().unwrap());
        started.collect()
    }

    /// The address for `--bus`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The process id; `None` while it is killed.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The folder of the store.
    pub fn store(&self) -> PathBuf {
        self.folder.join("jetstream")
    }

    /// Starts again on the same port and store.
    pub fn go_on(&mut self) {
        let config = self.folder.join("nats.conf");
        let store = self.folder.display();
        let lines = format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{store}\" }}\n{}\n",
            self.port, self.monitoring_port, self.more
        );
        std::fs::create_dir_all(&self.folder).unwrap();
        std::fs::write(&config, lines).unwrap();
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(&config)
            .arg("-l")
            .arg(self.folder.join("nats.log"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("nats-server is installed (make nats)");
        self.child = Some(child);
        let since = Instant::now();
        while !self.answers() {
            assert!(
                since.elapsed() < STARTS_WITHIN,
                "nats-server does not start: {}",
                std::fs::read_to_string(self.folder.join("nats.log")).unwrap_or_default()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server, as a power cut would, except that nothing that the kernel has is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the server answers a ping: it listens, and JetStream has read its store.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            let ask = "CONNECT {\"verbose\":false,\"no_responders\":true,\"headers\":true}\r\nSUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n";
            stream.write_all(ask.as_bytes())?;
            let lines = BufReader::new(stream).lines();
            for line in lines {
                let line = line?;
                if line.starts_with("MSG answer") {
                    return Ok(true);
                }
                if line.starts_with("HMSG answer") {
                    return Ok(false);
                }
            }
            Ok(false)
        };
        ask().unwrap_or(false)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nothing listens on, and that no other call in this process gets.
///
/// It is below those that the kernel chooses for connections: one of these could take it before the server does.
pub fn free_port() -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    // Another place for each process, because several may look for ports at the same time.
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = first + CALLS.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
