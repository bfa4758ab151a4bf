//! What is measured. A round measures every workload with every peer once.

pub mod delivery;
mod memory;
mod pages;
mod storm;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::{
    check::Violation,
    peer::{Bench, Peer},
    servers::raw::Fault,
};

/// The figures of one peer in one workload. The tables name them (`report/tables.rs`).
#[derive(Debug, Clone)]
pub struct Row {
    pub workload: &'static str,
    pub peer: Peer,
    pub figures: BTreeMap<&'static str, f64>,
}

#[derive(Debug, Clone, Default)]
pub struct Round {
    /// What a delivery over raw TCP cost before and after the other measurements, in microseconds.
    pub calibration: Vec<f64>,
    pub rows: Vec<Row>,
}

pub const EVENTS: &str = "events";
pub const TICKS: &str = "ticks";
pub const CHAT: &str = "chat";
pub const SATURATION: &str = "saturation";
pub const MEMORY: &str = "memory";
pub const STORM: &str = "storm";
pub const PAGES: &str = "pages";

const STREAMS: [Peer; 3] = [Peer::Wirewise, Peer::AxumSse, Peer::NodeSse];
const ROOMS: [Peer; 6] = [
    Peer::RawTcp,
    Peer::Wirewise,
    Peer::AxumSocket,
    Peer::Ws,
    Peer::SocketIo,
    Peer::UWebSockets,
];

type Step = fn(&Bench, Peer) -> Result<Vec<Row>>;

/// Shows that the checks work, before they are relied upon: a delivery is lost, and one comes twice.
pub fn prove(bench: &Bench) -> Result<()> {
    for fault in [Fault::Lose, Fault::Double] {
        match delivery::faulty(bench, fault) {
            Ok(_) => bail!(
                "The checks are broken: they did not find a fault that was planted ({fault:?})."
            ),
            Err(found) if found.chain().any(|cause| cause.is::<Violation>()) => {
                println!("planted, and found ({fault:?}): {found:#}");
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// Measures a round. The peers take turns at the first place.
pub fn round(bench: &Bench, index: usize) -> Result<Round> {
    let turn = |peers: &[Peer]| {
        let mut peers = peers.to_vec();
        let first = index % peers.len();
        peers.rotate_left(first);
        peers
    };
    let steps: [(&str, Step, Vec<Peer>); 6] = [
        (EVENTS, delivery::events, turn(&STREAMS)),
        (
            TICKS,
            delivery::ticks,
            turn(&[&STREAMS[..], &[Peer::RawTcp]].concat()),
        ),
        (CHAT, delivery::chat, turn(&ROOMS)),
        (
            MEMORY,
            memory::measure,
            turn(&[&STREAMS[..], &ROOMS[2..]].concat()),
        ),
        (STORM, storm::measure, turn(&STREAMS)),
        (PAGES, pages::measure, vec![Peer::Wirewise]),
    ];
    let mut round = Round::default();
    round.rows = calibrate(bench, &mut round.calibration)?;
    let only = bench.options.only.as_deref();
    for (workload, step, peers) in steps {
        if only.is_some_and(|only| only != workload) {
            continue;
        }
        for peer in peers {
            let rows = step(bench, peer).with_context(|| format!("{workload}, {}", peer.name()))?;
            rows.iter().for_each(say);
            round.rows.extend(rows);
        }
    }
    calibrate(bench, &mut round.calibration)?;
    Ok(round)
}

/// Measures raw TCP.
fn calibrate(bench: &Bench, calibration: &mut Vec<f64>) -> Result<Vec<Row>> {
    let rows = delivery::events(bench, Peer::RawTcp).context("events, raw TCP")?;
    rows.iter().for_each(say);
    calibration.extend(rows.iter().filter_map(|row| row.figures.get("cpu_us")));
    Ok(rows)
}

fn say(row: &Row) {
    let figures = row
        .figures
        .iter()
        .map(|(name, value)| format!("{name} {value:.2}"));
    println!(
        "{}, {}: {}",
        row.workload,
        row.peer.name(),
        figures.collect::<Vec<_>>().join(", ")
    );
}
