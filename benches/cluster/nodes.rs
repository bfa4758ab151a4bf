//! What is measured: one server, or nodes that share a NATS server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    figures::Spent,
    nats_server::{NatsServer, free_port},
    process::Process,
    processor::cpu,
};

const SECRET: &str = "a secret that all nodes of a measurement share";
/// The senders are faster than a person may be, and prices come often enough for percentiles.
const FLAGS: [&str; 4] = ["--messages-per-second", "1000000", "--tick-ms", "100"];
/// Far longer than a node takes to get ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

pub struct System {
    folder: PathBuf,
    nats: Option<Broker>,
    pub nodes: Vec<Process>,
}

pub struct Broker {
    pub server: NatsServer,
    /// Where `nats-server` says what it has counted.
    monitor: u16,
}

impl System {
    /// Starts this many nodes on NATS; 0 is one server with the embedded bus.
    pub async fn start(folder: &Path, nodes: usize) -> Self {
        let mut this = Self {
            folder: folder.to_owned(),
            nats: None,
            nodes: vec![],
        };
        if nodes > 0 {
            let (monitor, store) = (free_port(), folder.join("nats"));
            let more = format!("max_payload: 16MB\nhttp: \"127.0.0.1:{monitor}\"");
            let server = spawn_blocking(move || NatsServer::with(&store, &more));
            let server = server.await.unwrap();
            this.nats = Some(Broker { server, monitor });
        }
        for _ in 0..nodes.max(1) {
            let _ = this.add().await;
        }
        this
    }

    /// Starts one more node, with an empty data folder, and waits until it is ready. Returns how long that took.
    pub async fn add(&mut self) -> Duration {
        let since = Instant::now();
        let folder = self.folder.join(format!("node-{}", self.nodes.len()));
        let bus = self.nats.as_ref().map(|broker| broker.server.url());
        let node = spawn_blocking(move || {
            let mut flags = FLAGS.to_vec();
            if let Some(bus) = &bus {
                flags.extend(["--bus", bus, "--secret", SECRET]);
            }
            Process::start(&folder, &flags)
        });
        let node = node.await.unwrap();
        ready(node.addr).await;
        self.nodes.push(node);
        since.elapsed()
    }

    /// The events that the log of NATS holds.
    pub async fn events(&self) -> u64 {
        let monitor = self.nats.as_ref().expect("it has NATS").monitor;
        let url = format!("http://127.0.0.1:{monitor}/jsz?accounts=true&streams=true");
        let all: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let streams = all["account_details"][0]["stream_detail"].as_array();
        let log = streams.and_then(|streams| {
            let mut streams = streams.iter();
            streams.find(|stream| stream["name"] == "WIREWISE_LOG")
        });
        log.and_then(|log| log["state"]["messages"].as_u64())
            .expect("NATS has the log")
    }

    pub fn name(&self) -> String {
        match (&self.nats, self.nodes.len()) {
            (None, _) => "embedded, one server".into(),
            (Some(_), 1) => "NATS, 1 node".into(),
            (Some(_), count) => format!("NATS, {count} nodes"),
        }
    }

    /// The address of the node of a member: the members are spread evenly.
    pub fn address_of(&self, member: usize) -> SocketAddr {
        self.nodes[member % self.nodes.len()].addr
    }

    /// The port of NATS. Only a system that has one is asked.
    pub fn nats_port(&self) -> u16 {
        self.nats.as_ref().expect("it has NATS").server.port
    }

    /// What everything has used so far.
    pub async fn spent(&self) -> Spent {
        let mut spent = Spent {
            at: Instant::now(),
            nodes: self.nodes.iter().map(|node| cpu(node.id())).collect(),
            resident: self.nodes.iter().map(Process::resident).collect(),
            ..Spent::default()
        };
        if let Some(Broker { server, monitor }) = &self.nats {
            spent.nats = server.id().map(cpu).unwrap_or_default();
            let counted = reqwest::get(format!("http://127.0.0.1:{monitor}/varz")).await;
            let counted: Value = counted.unwrap().json().await.unwrap();
            let number = |name: &str| counted[name].as_u64().expect("a number");
            spent.messages_in = number("in_msgs");
            spent.messages_out = number("out_msgs");
            spent.bytes_in = number("in_bytes");
            spent.bytes_out = number("out_bytes");
        }
        spent
    }

    /// Ends the nodes before NATS, as an operator would.
    pub async fn end(mut self) {
        for node in self.nodes.drain(..) {
            spawn_blocking(move || node.terminate()).await.unwrap();
        }
    }
}

async fn ready(address: SocketAddr) {
    let since = Instant::now();
    let http = reqwest::Client::new();
    loop {
        let answer = http.get(format!("http://{address}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        let waited = since.elapsed();
        assert!(waited < READY_WITHIN, "{address} does not get ready");
        sleep(Duration::from_millis(10)).await;
    }
}
