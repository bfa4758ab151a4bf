//! The same deliveries a second for all: single events, ticks, and messages of a room, which also runs at its limit.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::{CHAT, EVENTS, Row, SATURATION, TICKS};
use crate::{
    drive::{Look, Measured, Pace, Plan, drive},
    peer::{Bench, Peer, Stage},
    publisher::TICK,
    servers::raw::Fault,
};

/// Deliveries a second: the first of these that the machine affords.
pub const RATES: [f64; 4] = [100_000.0, 50_000.0, 25_000.0, 12_500.0];
/// The part of its core that raw TCP may use. Where it is as busy as the others, all of them write what has piled up, and a
/// comparison of what a delivery costs says nothing.
const AFFORDABLE: f64 = 0.6;
/// The part of what is due that has to be delivered within the time.
const KEPT_UP: f64 = 0.99;
pub const STREAMS: usize = 500;
pub const MEMBERS: usize = 300;
/// Messages that are on their way at saturation: enough for a client that looks once a millisecond, and fewer than any peer
/// drops.
const WINDOW: u64 = 128;

/// The highest of [`RATES`] that leaves raw TCP time to spare.
pub fn affordable(bench: &Bench) -> Result<f64> {
    for deliveries in RATES {
        let mut stage = bench.prices(Peer::RawTcp, STREAMS, 1)?;
        let rate = Pace::Rate(deliveries / STREAMS as f64);
        let raw = measure(bench, &mut stage, rate, Look::EveryMillisecond)?;
        let kept_up = raw.deliveries_per_second / deliveries;
        let busy = raw.server_us_per_delivery * raw.deliveries_per_second / 1e6;
        println!(
            "{deliveries:.0} deliveries a second: raw TCP makes {:.1} % of them, and its core is in use for {:.0} %",
            kept_up * 100.0,
            busy * 100.0
        );
        if kept_up >= KEPT_UP && busy <= AFFORDABLE {
            return Ok(deliveries);
        }
    }
    bail!("This machine is too slow, or busy with something else: raw TCP does not keep up.")
}

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
    let rate = Pace::Rate(bench.deliveries / STREAMS as f64);
    measure(bench, &mut stage, rate, Look::EveryMillisecond)
}

/// Both clients: one that looks, and one that is woken.
fn paced(bench: &Bench, peer: Peer, workload: &'static str, stage: &mut Stage) -> Result<Row> {
    let rate = bench.deliveries / stage.load.len() as f64 / stage.publisher.joined() as f64;
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
