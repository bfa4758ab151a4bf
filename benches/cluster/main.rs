//! Measures one server beside one, two and three nodes on NATS (`make bench-cluster`): deliveries a second, CPU time of a
//! delivery, and the time until a message, an acknowledgement, a read mark and a price are there.
//!
//! The clients are in this process, `nats-server` and each node are processes of their own. The CPU time is the count of the
//! kernel for the nodes and for `nats-server`; that of the clients is not in it. The tables go into `benches/RESULTS.md`.
//!
//! The costs of single steps, which `benches/scale` computes with, are measured at two nodes of which one has all members.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be taken ends with the reason"
)]

mod announcements;
mod costs;
mod figures;
mod flood;
mod load;
#[path = "../shared/markers.rs"]
mod markers;
#[path = "../../src/tests/nats_server.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod nats_server;
mod nodes;
#[path = "../../src/tests/process.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod process;
#[path = "../shared/processor.rs"]
mod processor;
mod quiet;
mod report;
#[path = "../torture/socket.rs"]
mod socket;
mod ticker;

use std::{path::Path, time::Duration};

use clap::Parser;
use costs::Costs;
use figures::{Percentiles, Spent};
use load::{Load, Members};
use nodes::System;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::time::sleep;

/// How long each measurement takes, unless `--seconds` says otherwise.
const SECONDS: u64 = 10;
/// The time until everybody has heard of everybody.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Parser)]
struct Arguments {
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// What the measured server was built from, for the heading of the tables. Without it the commit of this checkout.
    #[arg(long)]
    built_from: Option<String>,
    /// Prints the tables, and leaves the document alone.
    #[arg(long)]
    print: bool,
    /// Measures and prints only the costs of single steps.
    #[arg(long)]
    costs: bool,
    /// The flag that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was measured of one system.
pub struct Measured {
    pub name: String,
    /// The nodes without a message, with all members connected.
    pub idle: Spent,
    pub steady: Load,
    pub limit: Load,
    pub quiet: quiet::Quiet,
    /// Prices: the delay behind the owner of the ticker. `None` with one node, or where nodes have prices of their own.
    pub prices: Option<Percentiles>,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    raise_file_limit();
    let began = std::time::Instant::now();
    let span = Duration::from_secs(arguments.seconds);
    let mut conditions = report::Conditions::new(arguments.built_from);
    // The folder is beside the build, not in /tmp, which often is not on a disk.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(target).unwrap();
    let mut measured = vec![];
    let systems: &[usize] = if arguments.costs { &[] } else { &[0, 1, 2, 3] };
    for nodes in systems.iter().copied() {
        conditions.look();
        let folder = tempfile::tempdir_in(target).unwrap();
        let system = System::start(folder.path(), nodes).await;
        eprintln!("measuring: {}", system.name());
        measured.push(measure(&system, span).await);
        system.end().await;
    }
    eprintln!("measuring: the costs of single steps");
    conditions.look();
    let folder = tempfile::tempdir_in(target).unwrap();
    let costs = Costs::measure(folder.path(), span).await;
    conditions.look();
    let text = report::text(&conditions, &measured, &costs, began.elapsed());
    println!("{text}");
    if !arguments.print && !arguments.costs {
        markers::write("benches/RESULTS.md", "make bench-cluster", &text);
    }
}

async fn measure(system: &System, span: Duration) -> Measured {
    let members = Members::join(system, system.nodes.len(), load::ROOMS, load::MEMBERS).await;
    sleep(SETTLE).await;
    let before = system.spent().await;
    sleep(span).await;
    let idle = system.spent().await.since(&before);
    let steady = members.steady(system, span).await;
    let limit = members.at_the_limit(system, span).await;
    drop(members);
    // The members leave 5 s after their sockets; then nothing but the quiet room is left.
    sleep(Duration::from_secs(5) + SETTLE).await;
    let (quiet, prices) = tokio::join!(quiet::measure(system), ticker::measure(system, span));
    Measured {
        name: system.name(),
        idle,
        steady,
        limit,
        quiet,
        prices,
    }
}

fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
