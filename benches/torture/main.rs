//! Proves the guarantee of the chat against a real server process under faults (`make torture`).
//!
//! Twenty writers and twenty readers in five rooms use a reconnecting client of their own. Connections are cut at
//! random, some readers stop reading for a while, and the server is killed with `kill -9` and started again at least
//! ten times. In a cluster (`--brokers`) nodes and NATS are killed, nodes are drained, and their links to NATS are cut or
//! freeze; at the end all replicas must be equal. There writers share a document, and clients follow prices and jobs and
//! move pointers, all under the same faults (`workloads.rs`). The deliveries of the sockets are recorded before any de-duplication,
//! and [`checker`] compares them with the log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a run that cannot go on ends with the reason"
)]

mod checker;
mod client;
mod cluster;
mod copy;
mod crowd;
mod document;
mod document_checker;
mod document_visitors;
mod document_writer;
mod history;
mod jobs;
mod jobs_checker;
mod link;
#[path = "../../src/tests/nats_server.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod nats_server;
mod pointers;
mod pointers_checker;
mod prices;
mod prices_checker;
#[path = "../../src/tests/process.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod process;
#[path = "../../src/tests/replica_rows.rs"]
mod replica_rows;
mod socket;
mod stream;
mod system;
mod workloads;

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use checker::RoomLog;
use clap::Parser;
use client::{Client, Phase, Shared};
use history::{History, Logged};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use system::System;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use workloads::Workloads;

const WRITERS: usize = 20;
const READERS: usize = 20;
const ROOMS: usize = 5;
/// The kills of the shortest run. In a longer run the server is killed every few seconds.
const KILLS: u32 = 12;
const KILL_EVERY: Duration = Duration::from_secs(5);
/// Once nothing is broken any more, every client must have received everything within this time.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);
/// What one node has acknowledged any other node answers with after this time at the latest.
const READ_BY_ALL_WITHIN: Duration = Duration::from_secs(5);
/// The number of violations of each workload that are printed. Their total is printed in any case.
const PRINTED: usize = 20;

#[derive(Parser)]
struct Arguments {
    /// How long faults are caused, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Repeats the random decisions of an earlier run (the timing of the machine still varies).
    #[arg(long)]
    seed: Option<u64>,
    /// Breaks a cluster of three nodes with this many servers of NATS (1 or 3), instead of one server.
    #[arg(long)]
    brokers: Option<usize>,
    /// The flag that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("torture: {} s, seed {seed}", arguments.seconds);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(target).unwrap();
    // Kept unless the run succeeds, also where it panics.
    let folder = tempfile::tempdir_in(target).unwrap().keep();
    println!("torture: the stores are in {}", folder.display());
    let mut random = ChaCha8Rng::seed_from_u64(seed);

    raise_file_limit();
    let mut system = match arguments.brokers {
        None => System::single(&folder).await,
        Some(brokers) => {
            let cluster = cluster::Cluster::begin(&folder, brokers).await;
            System::Cluster(Box::new(cluster))
        }
    };
    let at = system.address();
    let (phase, phases) = watch::channel(Phase::Breaking);
    let (written, mut finished) = mpsc::unbounded_channel();
    let shared = Shared {
        history: History::default(),
        address: at.clone(),
        phase: phases,
        written,
        rooms: (0..ROOMS).map(|number| format!("room-{number}")).collect(),
    };
    let mut clients = JoinSet::new();
    for number in 0..WRITERS + READERS {
        let seed = random.random();
        let client = Client::new(number, number < WRITERS, seed, &shared).await;
        clients.spawn(client.run());
    }
    let beside = match system.setting(shared.phase.clone()) {
        Some(setting) => Some(Workloads::start(&setting, &mut random).await),
        None => None,
    };

    let span = Duration::from_secs(arguments.seconds);
    let (since, every) = (Instant::now(), KILL_EVERY.min(span / (KILLS + 1)));
    let mut faults = 0;
    while since.elapsed() < span || faults < 10 {
        sleep(every.mul_f64(random.random_range(0.7..1.3))).await;
        system.fault(&mut random).await;
        faults += 1;
    }
    println!(
        "torture: {faults} faults{} in {:.0} s; now everybody catches up",
        system.faults(),
        since.elapsed().as_secs_f64()
    );
    phase.send_replace(Phase::Finishing);
    system.mended().await;
    let writers = async {
        for _ in 0..WRITERS {
            finished.recv().await;
        }
    };
    let acknowledged = timeout(SETTLE_WITHIN, writers).await.is_ok();
    let address = *at.borrow();
    let (mut logs, mut heads) = (BTreeMap::new(), BTreeMap::new());
    for room in &shared.rooms {
        let acknowledged = shared.history.acknowledged(room);
        let since = Instant::now();
        // The node that answers may not be the one that acknowledged the last messages, and apply them a moment later.
        let log = loop {
            let log = read_log(address, room).await;
            let ids: HashSet<_> = log.messages.iter().map(|message| message.id).collect();
            if acknowledged.is_subset(&ids) || since.elapsed() > READ_BY_ALL_WITHIN {
                break log;
            }
            sleep(Duration::from_millis(100)).await;
        };
        heads.extend(log.messages.last().map(|last| (room.clone(), last.offset)));
        logs.insert(room.clone(), log);
    }
    phase.send_replace(Phase::Heads(heads));
    let readers = async {
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client reports, it does not fail");
        }
    };
    let settled = timeout(SETTLE_WITHIN, readers).await.is_ok();
    let mut report = checker::check(&shared.history.take(), &logs);
    for (done, what) in [
        (acknowledged, "not everything written was acknowledged"),
        (settled, "not everybody got everything"),
    ] {
        if !done {
            let violation = format!("{what} within {SETTLE_WITHIN:?} of quiet");
            report.violations.push(violation);
        }
    }
    let (mut summaries, mut found) = (vec![], vec![]);
    if let Some(beside) = beside {
        let (outcomes, texts) = beside.finish().await;
        for outcome in outcomes {
            summaries.push(outcome.summary);
            found.push(outcome.violations);
        }
        found.push(system.compare(&texts).await);
        found.push(crowd::run(address).await);
    }
    found.push(report.violations);
    found.push(system.end().await);
    let violations: usize = found.iter().map(Vec::len).sum();
    println!(
        "torture: {} written, {} acknowledgements, {} in the logs, {} subscriptions ({} recovered), {} deliveries",
        report.written,
        report.acknowledged,
        report.logged,
        report.subscriptions,
        report.recovered,
        report.delivered
    );
    println!("torture: closes by code (0: broken): {:?}", report.closed);
    for summary in summaries {
        println!("{summary}");
    }
    for violation in found.iter().flat_map(|found| found.iter().take(PRINTED)) {
        println!("VIOLATION {violation}");
    }
    println!("torture: {violations} violations, {faults} faults, seed {seed}");
    if violations > 0 {
        return ExitCode::FAILURE;
    }
    std::fs::remove_dir_all(folder).unwrap();
    ExitCode::SUCCESS
}

/// A crowd has thousands of sockets, and Caddy, which inherits the limit, two for each.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The whole log of a room, page by page, as plain requests return it.
async fn read_log(addr: SocketAddr, room: &str) -> RoomLog {
    let http = reqwest::Client::new();
    let token = socket::guest(addr).await;
    let (mut messages, mut before) = (vec![], 1_u64 << 52);
    loop {
        let path = format!("/api/chat/rooms/{room}/messages?limit=200&before={before}");
        let request = http.get(format!("http://{addr}{path}")).bearer_auth(&token);
        let page: Value = request.send().await.unwrap().json().await.unwrap();
        for message in page["messages"].as_array().unwrap() {
            before = message["offset"].as_u64().unwrap();
            messages.push(Logged {
                offset: before,
                id: message["id"].as_str().unwrap().parse().unwrap(),
                text: message["text"].as_str().unwrap().to_owned(),
            });
        }
        if page["more"] == false {
            messages.reverse();
            let epoch = page["epoch"].as_str().unwrap().to_owned();
            return RoomLog { epoch, messages };
        }
    }
}
