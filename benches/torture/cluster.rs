//! A cluster to break: servers of NATS, three nodes that reach them over links of their own, and Caddy in front.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rusqlite::{Connection, OpenFlags};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Duration, Instant, sleep},
};

use super::{
    client::Phase,
    document::{self, Texts},
    link::{Link, Passage},
    nats_server::{NatsServer, free_port},
    process::Process,
    replica_rows::{difference, progress, rows},
    system::FLAGS,
    workloads::Setting,
};

pub const NODES: usize = 3;
const SECRET: &str = "a secret that all nodes of a torture run share";
const READY: &str = "/readyz";
/// Far longer than a node takes to get ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Cluster {
    folder: PathBuf,
    brokers: Vec<NatsServer>,
    /// For each node a link to each server of NATS.
    links: Vec<Vec<Link>>,
    nodes: Vec<Option<Process>>,
    addresses: Vec<SocketAddr>,
    caddy: Child,
    address: watch::Sender<SocketAddr>,
    faults: BTreeMap<&'static str, u32>,
    /// The faults that are left of this round.
    next: Vec<Fault>,
    violations: Vec<String>,
}

#[derive(Clone, Copy)]
enum Fault {
    KilledNode,
    DrainedNode,
    KilledBroker,
    CutLink,
    FrozenLink,
}

impl Fault {
    /// Each round has all of them, in an order of its own, so that a short run causes each.
    const ROUND: [Self; 7] = [
        Self::KilledNode,
        Self::KilledNode,
        Self::DrainedNode,
        Self::KilledBroker,
        Self::CutLink,
        Self::CutLink,
        Self::FrozenLink,
    ];
}

impl Cluster {
    /// Starts a cluster with one server of NATS, or three.
    pub async fn begin(folder: &Path, brokers: usize) -> Self {
        let stores = folder.join("nats");
        let brokers = spawn_blocking(move || NatsServer::cluster(&stores, brokers))
            .await
            .unwrap();
        let mut links = vec![];
        for _ in 0..NODES {
            let mut of_node = vec![];
            for broker in &brokers {
                of_node.push(Link::to(broker.port).await);
            }
            links.push(of_node);
        }
        let addresses: Vec<SocketAddr> = (0..NODES)
            .map(|_| SocketAddr::from(([127, 0, 0, 1], free_port())))
            .collect();
        let proxy = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut this = Self {
            folder: folder.to_owned(),
            brokers,
            links,
            nodes: vec![],
            caddy: start_caddy(folder, proxy, &addresses),
            addresses,
            address: watch::Sender::new(proxy),
            faults: BTreeMap::new(),
            next: vec![],
            violations: vec![],
        };
        for number in 0..NODES {
            let node = this.start_node(number).await;
            this.nodes.push(Some(node));
        }
        this.mended().await;
        // Caddy tells nobody whether nodes are ready.
        this.answers(proxy, "/healthz").await;
        this
    }

    pub fn address(&self) -> watch::Receiver<SocketAddr> {
        self.address.subscribe()
    }

    /// The cluster as the workloads see it.
    pub fn setting(&self, phase: watch::Receiver<Phase>) -> Setting {
        Setting {
            proxy: *self.address.borrow(),
            nodes: self.addresses.clone(),
            phase,
        }
    }

    /// How often each kind of fault was caused.
    pub fn faults(&self) -> String {
        let counts = self.faults.iter();
        let counts: Vec<_> = counts
            .map(|(fault, count)| format!("{count} {fault}"))
            .collect();
        counts.join(", ")
    }

    /// Resolves when all nodes are ready.
    pub async fn mended(&mut self) {
        for address in self.addresses.clone() {
            self.answers(address, READY).await;
        }
    }

    /// Breaks something and mends it again.
    pub async fn fault(&mut self, random: &mut ChaCha8Rng) {
        self.supervise().await;
        let number = random.random_range(0..NODES);
        let mut pause = |longest: u64| Duration::from_millis(random.random_range(50..longest));
        let short = pause(1_000);
        let long = pause(6_000);
        if self.next.is_empty() {
            self.next = Fault::ROUND.to_vec();
            self.next.shuffle(random);
        }
        let fault = match self.next.pop().unwrap_or(Fault::KilledNode) {
            Fault::KilledNode => {
                if let Some(node) = self.nodes[number].take() {
                    spawn_blocking(move || node.kill()).await.unwrap();
                }
                sleep(short).await;
                let node = self.start_node(number).await;
                self.nodes[number] = Some(node);
                "kill -9 of a node"
            }
            Fault::DrainedNode => {
                if let Some(node) = self.nodes[number].take() {
                    spawn_blocking(move || node.terminate()).await.unwrap();
                }
                let node = self.start_node(number).await;
                self.nodes[number] = Some(node);
                "drained node"
            }
            Fault::KilledBroker => {
                let broker = random.random_range(0..self.brokers.len());
                self.brokers[broker].kill();
                sleep(short).await;
                let mut broker = self.brokers.remove(broker);
                let broker = spawn_blocking(move || {
                    broker.go_on();
                    broker
                });
                self.brokers.push(broker.await.unwrap());
                "kill -9 of NATS"
            }
            Fault::CutLink => {
                self.interrupt(number, Passage::Cut, short).await;
                "cut link"
            }
            Fault::FrozenLink => {
                self.interrupt(number, Passage::Frozen, long).await;
                "frozen link"
            }
        };
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Lets a node join that begins with nothing but the streams of NATS, and compares documents with what it serves.
    pub async fn compare(&mut self, texts: &Texts) -> Vec<String> {
        let mut links = vec![];
        for broker in &self.brokers {
            links.push(Link::to(broker.port).await);
        }
        self.links.push(links);
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        self.addresses.push(address);
        let node = self.start_node(self.nodes.len()).await;
        self.nodes.push(Some(node));
        self.has_read_all(address).await;
        document::compare(address, texts).await
    }

    /// Compares the replicas once all of them have read the streams to their ends, then ends everything.
    pub async fn end(mut self) -> Vec<String> {
        self.mended().await;
        let replicas: Vec<_> = (0..self.nodes.len())
            .map(|number| self.node_folder(number).join("data/replica.db"))
            .collect();
        let since = Instant::now();
        // Read marks of the last messages may be on their way still.
        let (progress, rows) = loop {
            let progress: Vec<_> = replicas.iter().map(|path| progress(path)).collect();
            let rows: Vec<_> = replicas.iter().map(|path| rows(path)).collect();
            let are_equal = progress.iter().all(|of_node| *of_node == progress[0])
                && rows.iter().all(|of_node| *of_node == rows[0]);
            if are_equal || since.elapsed() > READY_WITHIN {
                break (progress, rows);
            }
            sleep(Duration::from_millis(500)).await;
        };
        for node in self.nodes.drain(..).flatten() {
            spawn_blocking(move || node.terminate()).await.unwrap();
        }
        for number in 1..rows.len() {
            if progress[number] != progress[0] {
                self.violations.push(format!(
                    "the replica of node {number} has read up to {:?}, that of node 0 up to {:?}",
                    progress[number], progress[0]
                ));
            }
            if let Some(what) = difference(&rows[number], &rows[0]) {
                self.violations.push(format!(
                    "the replica of node {number} is not that of node 0: {what}"
                ));
            }
        }
        std::mem::take(&mut self.violations)
    }

    /// Interrupts the links of a node to NATS for a while.
    async fn interrupt(&self, node: usize, passage: Passage, pause: Duration) {
        let set = |passage| self.links[node].iter().for_each(|link| link.set(passage));
        set(passage);
        sleep(pause).await;
        set(Passage::Open);
    }

    fn node_folder(&self, number: usize) -> PathBuf {
        self.folder.join(format!("node-{number}"))
    }

    async fn start_node(&self, number: usize) -> Process {
        let (folder, address) = (self.node_folder(number), self.addresses[number]);
        self.start(address, folder, &self.links[number]).await
    }

    /// Starts a node on a folder, which reaches NATS over these links.
    async fn start(&self, address: SocketAddr, folder: PathBuf, links: &[Link]) -> Process {
        let servers = links.iter().map(|link| link.address.to_string());
        let bus = format!("nats://{}", servers.collect::<Vec<_>>().join(","));
        let replicas = self.brokers.len().to_string();
        spawn_blocking(move || {
            fs::create_dir_all(&folder).unwrap();
            // The log is read where the stores are kept.
            let log = fs::File::options()
                .create(true)
                .append(true)
                .open(folder.join("log"));
            let flags = ["--bus", &bus, "--bus-replicas", &replicas, "--bus-synced"];
            let more = ["--secret", SECRET, "--trust-proxy", FLAGS[0], FLAGS[1]];
            let flags = [&flags[..], &more[..]].concat();
            Process::on(address, &folder, &flags, |command| {
                command.stdout(log.unwrap());
            })
        })
        .await
        .unwrap()
    }

    /// Starts nodes again that have ended by themselves, as a supervisor does. A node may do so at its start, where NATS does
    /// not answer; then it says why, with the exit code 1.
    async fn supervise(&mut self) {
        for number in 0..self.nodes.len() {
            let Some(status) = self.nodes[number].as_mut().and_then(Process::ended) else {
                continue;
            };
            if status.code() != Some(1) {
                self.violations.push(format!("a node ended: {status}"));
            }
            *self
                .faults
                .entry("start of a node that failed")
                .or_default() += 1;
            let node = self.start_node(number).await;
            self.nodes[number] = Some(node);
        }
    }

    /// Waits until the newest node is ready, which has read the streams from their beginning then. How long that takes depends
    /// on them, so it has to go on reading.
    async fn has_read_all(&mut self, address: SocketAddr) {
        let database = self
            .node_folder(self.nodes.len() - 1)
            .join("data/replica.db");
        let began = Instant::now();
        let (mut since, mut read) = (began, None);
        while let Err(why) = success(address, READY).await {
            let reads = read_up_to(&database);
            if reads != read {
                (since, read) = (Instant::now(), reads);
            }
            assert!(
                since.elapsed() < READY_WITHIN,
                "{address} does not go on reading at {read:?}: {why}"
            );
            self.supervise().await;
            sleep(Duration::from_millis(500)).await;
        }
        println!(
            "torture: a node that began with nothing was ready after {:.1} s, with {:?}",
            began.elapsed().as_secs_f64(),
            progress(&database)
        );
    }

    /// Waits until a path is answered with success.
    async fn answers(&mut self, address: SocketAddr, path: &str) {
        let since = Instant::now();
        while let Err(why) = success(address, path).await {
            assert!(
                since.elapsed() < READY_WITHIN,
                "{address} does not get ready: {why}"
            );
            self.supervise().await;
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether a path is answered with success; otherwise why not.
async fn success(address: SocketAddr, path: &str) -> Result<(), String> {
    let asked = reqwest::get(format!("http://{address}{path}")).await;
    let answer = asked.map_err(|error| error.to_string())?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(answer.text().await.unwrap_or_default()),
    }
}

/// How far a replica has read the streams, as one number. `None` where it is not made yet.
fn read_up_to(replica: &Path) -> Option<i64> {
    let opened = Connection::open_with_flags(replica, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let sum = "SELECT sum(sequence) FROM streams";
    opened.ok()?.query_row(sum, [], |row| row.get(0)).ok()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.caddy.kill();
        let _ = self.caddy.wait();
    }
}

/// Caddy as deploy/Caddyfile configures it, but for plain HTTP on loopback.
fn start_caddy(folder: &Path, proxy: SocketAddr, nodes: &[SocketAddr]) -> Child {
    let deployed = include_str!("../../deploy/Caddyfile");
    let global = "\n{\n\tadmin off\n\tdefault_bind 127.0.0.1\n";
    let caddyfile = deployed.replacen("\n{\n", global, 1);
    let path = folder.join("Caddyfile");
    fs::write(&path, caddyfile).unwrap();
    let upstreams: Vec<String> = nodes.iter().map(SocketAddr::to_string).collect();
    let log = fs::File::create(folder.join("caddy.log")).unwrap();
    let own = folder.join("caddy");
    Command::new("caddy")
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(path)
        .env("XDG_DATA_HOME", &own)
        .env("XDG_CONFIG_HOME", &own)
        .env("WIREWISE_DOMAIN", format!("http://:{}", proxy.port()))
        .env("WIREWISE_UPSTREAM", upstreams.join(" "))
        .env("WIREWISE_CHECK", "/readyz")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("caddy is installed (make proxies)")
}
