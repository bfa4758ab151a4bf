//! A hundred thousand deliveries a second: single events, ticks, and messages of a room, which also runs at its limit.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{CHAT, EVENTS, Row, SATURATION, TICKS};
use crate::{
    drive::{Look, Measured, Pace, Plan, drive},
    peer::{Bench, Peer, Stage},
    publisher::TICK,
    servers::raw::Fault,
};

const DELIVERIES: f64 = 100_000.0;
const STREAMS: usize = 500;
const MEMBERS: usize = 300;
/// Messages that are on their way at saturation: enough for a client that looks once a millisecond, and fewer than any peer
/// drops.
const WINDOW: u64 = 128;

pub fn events(bench: &Bench, peer: Peer) -> Result<Vec<Row>> {
    let mut stage = bench.prices(peer, STREAMS, 1)?;
    Ok(vec![paced(bench, peer, EVENTS, &mut stage)?])
}

pub fn ticks(bench: &Bench, peer: Peer) -> Result<Vec<Row>> {
    let mut stage = bench.prices(peer, STREAMS, TICK)?;
    Ok(vec![paced(bench, peer, TICKS, &mut stage)?])
}

pub fn chat(bench: &Bench, peer: Peer) -> Result<Vec<Row>> {
    let mut stage = bench.room(peer, MEMBERS)?;
    let paced = paced(bench, peer, CHAT, &mut stage)?;
    let measured = measure(
        bench,
        &mut stage,
        Pace::Window(WINDOW),
        Look::EveryMillisecond,
    )?;
    let figures = [
        ("rate", measured.deliveries_per_second),
        ("cpu_us", measured.server_us_per_delivery),
        ("client_busy", measured.client_busy),
    ];
    let saturation = Row {
        workload: SATURATION,
        peer,
        figures: BTreeMap::from(figures),
    };
    Ok(vec![paced, saturation])
}

/// Events over raw TCP, of which one is lost or comes twice.
pub fn faulty(bench: &Bench, fault: Fault) -> Result<Measured> {
    let mut stage = bench.faulty(fault, STREAMS)?;
    let rate = Pace::Rate(DELIVERIES / STREAMS as f64);
    measure(bench, &mut stage, rate, Look::EveryMillisecond)
}

/// Both clients: one that looks, and one that is woken.
fn paced(bench: &Bench, peer: Peer, workload: &'static str, stage: &mut Stage) -> Result<Row> {
    let rate = DELIVERIES / stage.load.len() as f64 / stage.publisher.joined() as f64;
    let looking = measure(bench, stage, Pace::Rate(rate), Look::EveryMillisecond)?;
    let woken = measure(bench, stage, Pace::Rate(rate), Look::Woken)?;
    let figures = [
        ("rate", looking.deliveries_per_second),
        ("cpu_us", looking.server_us_per_delivery),
        ("p50_us", looking.p50_us),
        ("p99_us", looking.p99_us),
        ("pieces", looking.pieces_per_publish),
        ("client_busy", looking.client_busy),
        ("woken_cpu_us", woken.server_us_per_delivery),
        ("woken_p50_us", woken.p50_us),
        ("woken_p99_us", woken.p99_us),
    ];
    Ok(Row {
        workload,
        peer,
        figures: BTreeMap::from(figures),
    })
}

fn measure(bench: &Bench, stage: &mut Stage, pace: Pace, look: Look) -> Result<Measured> {
    let scale = bench.options.scale();
    let plan = Plan {
        pace,
        look,
        warm_up: scale.warm_up,
        span: scale.span,
    };
    drive(
        &mut stage.load,
        &mut stage.publisher,
        stage.server.id(),
        plan,
    )
}
