//! What a run breaks: one server, or a cluster (`cluster.rs`).

use std::{net::SocketAddr, path::Path};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Duration, sleep},
};

use super::{
    client::Phase, cluster::Cluster, document::Texts, process::Process, workloads::Setting,
};

/// Flags of every server. Another test covers the rate limit; here it would only slow the writers.
pub const FLAGS: [&str; 2] = ["--messages-per-second", "100000"];

pub enum System {
    Single(Single),
    Cluster(Box<Cluster>),
}

/// One server, which is killed and started again.
pub struct Single {
    server: Option<Process>,
    folder: std::path::PathBuf,
    address: watch::Sender<SocketAddr>,
}

impl System {
    pub async fn single(folder: &Path) -> Self {
        let server = start(folder).await;
        Self::Single(Single {
            address: watch::Sender::new(server.addr),
            server: Some(server),
            folder: folder.to_owned(),
        })
    }

    /// Where clients connect. It changes when a single server starts again.
    pub fn address(&self) -> watch::Receiver<SocketAddr> {
        match self {
            Self::Single(single) => single.address.subscribe(),
            Self::Cluster(cluster) => cluster.address(),
        }
    }

    /// Breaks something and mends it again.
    pub async fn fault(&mut self, random: &mut ChaCha8Rng) {
        match self {
            Self::Single(single) => single.kill(random).await,
            Self::Cluster(cluster) => cluster.fault(random).await,
        }
    }

    /// Resolves when nothing is broken any more.
    pub async fn mended(&mut self) {
        match self {
            Self::Single(_) => {}
            Self::Cluster(cluster) => cluster.mended().await,
        }
    }

    /// What was broken, for the report.
    pub fn faults(&self) -> String {
        match self {
            Self::Single(_) => String::new(),
            Self::Cluster(cluster) => format!(" ({})", cluster.faults()),
        }
    }

    /// What the workloads beside the chat need; `None` where there are none.
    pub fn setting(&self, phase: watch::Receiver<Phase>) -> Option<Setting> {
        match self {
            Self::Single(_) => None,
            Self::Cluster(cluster) => Some(cluster.setting(phase)),
        }
    }

    /// Compares documents with what a node has that begins with nothing. Returns what differs.
    pub async fn compare(&mut self, texts: &Texts) -> Vec<String> {
        match self {
            Self::Single(_) => vec![],
            Self::Cluster(cluster) => cluster.compare(texts).await,
        }
    }

    /// Ends everything. Returns what is wrong with it.
    pub async fn end(self) -> Vec<String> {
        match self {
            Self::Single(_) => vec![],
            Self::Cluster(cluster) => cluster.end().await,
        }
    }
}

impl Single {
    async fn kill(&mut self, random: &mut ChaCha8Rng) {
        if let Some(server) = self.server.take() {
            spawn_blocking(move || server.kill()).await.unwrap();
        }
        // Meanwhile clients cannot connect; they wait and try again.
        sleep(Duration::from_millis(random.random_range(0..500))).await;
        let server = start(&self.folder).await;
        self.address.send_replace(server.addr);
        self.server = Some(server);
    }
}

async fn start(folder: &Path) -> Process {
    let folder = folder.to_owned();
    spawn_blocking(move || Process::start(&folder, &FLAGS))
        .await
        .unwrap()
}
