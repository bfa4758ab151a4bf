//! Drives a server with a load, and measures a span of it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    check::Violation,
    load::{Load, PATIENCE},
    machine::processor_time,
    publisher::Publisher,
};

/// How the client learns that something arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It looks once a millisecond and otherwise sleeps. Nothing wakes it, so that waking it costs the server nothing.
    EveryMillisecond,
    /// It waits for what arrives. The processor time of waking it is charged to the server that wrote.
    Woken,
}

#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many times a second, whether or not the server keeps up (open loop).
    Rate(f64),
    /// As fast as the server delivers: so many messages are on their way.
    Window(u64),
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub pace: Pace,
    pub look: Look,
    pub warm_up: Duration,
    pub span: Duration,
}

#[derive(Debug, Clone)]
pub struct Measured {
    pub deliveries_per_second: f64,
    pub server_us_per_delivery: f64,
    /// The part of its core that the client used. Near 1 the client is the limit, not the server.
    pub client_busy: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Chunks or frames for each publishing: what the server joined. Zero where the transport has no frames.
    pub pieces_per_publish: f64,
}

struct Snapshot {
    at: Instant,
    received: u64,
    server: Duration,
    client: Duration,
    pieces: u64,
}

fn snapshot(load: &Load, server: u32) -> Result<Snapshot> {
    Ok(Snapshot {
        at: Instant::now(),
        received: load.totals.received,
        server: processor_time(server)?,
        client: processor_time(std::process::id())?,
        pieces: load.pieces(),
    })
}

const MILLISECOND: u64 = 1_000;

pub fn drive(
    load: &mut Load,
    publisher: &mut Publisher,
    server: u32,
    plan: Plan,
) -> Result<Measured> {
    let already = load.totals.received;
    let (before, after, published) = match plan.pace {
        Pace::Rate(rate) => at_rate(load, publisher, server, plan, rate)?,
        Pace::Window(window) => saturated(load, publisher, server, plan, window)?,
    };
    let due = published * publisher.joined() * load.len() as u64;
    drain(load, already + due)?;
    let received = (after.received - before.received) as f64;
    let seconds = (after.at - before.at).as_secs_f64();
    let publishes = received / load.len() as f64 / publisher.joined() as f64;
    Ok(Measured {
        deliveries_per_second: received / seconds,
        server_us_per_delivery: (after.server - before.server).as_secs_f64() * 1e6 / received,
        client_busy: (after.client - before.client).as_secs_f64() / seconds,
        p50_us: load.totals.latency.value_at_quantile(0.5) as f64,
        p99_us: load.totals.latency.value_at_quantile(0.99) as f64,
        pieces_per_publish: (after.pieces - before.pieces) as f64 / load.len() as f64 / publishes,
    })
}

/// Publishes on a schedule. Every message carries the time when it was due, not when it was sent: a client that is late
/// counts as latency and hides nothing.
fn at_rate(
    load: &mut Load,
    publisher: &mut Publisher,
    server: u32,
    plan: Plan,
    rate: f64,
) -> Result<(Snapshot, Snapshot, u64)> {
    let warm_ups = (plan.warm_up.as_secs_f64() * rate) as u64;
    let all = warm_ups + (plan.span.as_secs_f64() * rate) as u64;
    let clock = load.clock;
    let begin = clock.now() + 2 * MILLISECOND;
    let due = |index: u64| begin + (index as f64 * 1e6 / rate) as u64;
    load.totals.timed_from = due(warm_ups);
    load.totals.latency.reset();
    let mut before = None;
    let mut next_look = begin;
    let mut sent = 0;
    loop {
        while sent < all && due(sent) <= clock.now() {
            if sent == warm_ups {
                before = Some(snapshot(load, server)?);
            }
            publisher.publish(load, due(sent))?;
            sent += 1;
        }
        if sent == all && due(all) <= clock.now() {
            let before = before.context("the warm-up is longer than the run")?;
            return Ok((before, snapshot(load, server)?, sent));
        }
        match plan.look {
            Look::EveryMillisecond => {
                if next_look <= clock.now() {
                    next_look = clock.now() + MILLISECOND;
                    load.look(Some(Duration::ZERO))?;
                }
                let wait = next_look.min(due(sent)).saturating_sub(clock.now());
                sleep(Duration::from_micros(wait));
            }
            // The system's wait has milliseconds. The last one before a publishing is spent looking, so that this one
            // is in time.
            Look::Woken => {
                let wait = due(sent).saturating_sub(clock.now()) / MILLISECOND;
                load.look(Some(Duration::from_millis(wait.saturating_sub(1))))?;
            }
        }
    }
}

/// Publishes as fast as the server delivers.
fn saturated(
    load: &mut Load,
    publisher: &mut Publisher,
    server: u32,
    plan: Plan,
    window: u64,
) -> Result<(Snapshot, Snapshot, u64)> {
    let clock = load.clock;
    let already = load.totals.received;
    let measured_from = Instant::now() + plan.warm_up;
    let end = measured_from + plan.span;
    load.totals.timed_from = u64::MAX;
    let mut before = None;
    let mut sent = 0;
    while Instant::now() < end {
        let delivered = (load.totals.received - already) / load.len() as u64 / publisher.joined();
        while sent < delivered + window {
            publisher.publish(load, clock.now())?;
            sent += 1;
        }
        if before.is_none() && Instant::now() >= measured_from {
            load.totals.latency.reset();
            load.totals.timed_from = clock.now();
            before = Some(snapshot(load, server)?);
        }
        match plan.look {
            Look::EveryMillisecond => {
                sleep(Duration::from_millis(1));
                load.look(Some(Duration::ZERO))?;
            }
            Look::Woken => load.look(Some(Duration::from_millis(1)))?,
        }
    }
    let before = before.context("the warm-up is longer than the run")?;
    Ok((before, snapshot(load, server)?, sent))
}

/// Waits until everything that was published has arrived.
pub fn drain(load: &mut Load, due: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while load.totals.received < due {
        if Instant::now() > deadline {
            let missing = due - load.totals.received;
            let sentence = format!(
                "{missing} deliveries are missing {PATIENCE:?} after the last message was sent"
            );
            return Err(Violation(sentence).into());
        }
        load.look(Some(Duration::from_millis(10)))?;
    }
    if load.totals.received > due {
        let many = load.totals.received - due;
        return Err(Violation(format!("{many} deliveries are too many")).into());
    }
    Ok(())
}
