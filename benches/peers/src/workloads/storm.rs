//! A storm: all streams are cut at once and come back at once, while events go on.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};

use super::{Row, STORM};
use crate::{
    drive::{Look, Pace, Plan, drain, drive},
    greeting::Greeting,
    load::{Load, Opening},
    machine::processor_time,
    peer::{Bench, Peer, Stage},
    publisher::Publisher,
};

/// Events a second, before, during and after. With more of them, Node.js would accept hardly any connection between them.
const RATE: u64 = 2;
const INTERVAL: u64 = 1_000_000 / RATE;
/// The limit for all to be back, and for what they missed to arrive, in microseconds.
const PATIENCE: u64 = 60_000_000;

pub fn measure(bench: &Bench, peer: Peer) -> Result<Vec<Row>> {
    let streams = bench.options.scale().storm;
    let Stage {
        server,
        mut load,
        mut publisher,
    } = bench.prices(peer, streams, 1)?;
    load.remember_ids();
    let calm = Plan {
        pace: Pace::Rate(RATE as f64),
        look: Look::EveryMillisecond,
        warm_up: Duration::from_millis(500),
        span: Duration::from_millis(1_500),
    };
    drive(&mut load, &mut publisher, server.id(), calm)?;
    let already = load.totals.received;
    let opening = bench.stream(peer, &server);
    let resumes = peer == Peer::Wirewise;
    let used = processor_time(server.id())?;
    let began = load.clock.now();
    let published = cut(&mut load, &mut publisher, &opening, resumes)?;
    let used = processor_time(server.id())? - used;
    let due = already + published * streams as u64;
    // What a peer has not resumed is known when the next event has come.
    let due = until_known(&mut load, due)?;
    drain(&mut load, due)?;
    let mut back = load.totals.ready_at.clone();
    back.sort_unstable();
    let after = |time: Option<&u64>| time.map_or(0.0, |at| (at - began) as f64 / 1e3);
    let figures = [
        ("streams", streams as f64),
        ("half_ms", after(back.get(back.len() / 2))),
        ("all_ms", after(back.last())),
        ("cpu_us", used.as_secs_f64() * 1e6 / streams as f64),
        ("lost", load.missing() as f64 / streams as f64),
    ];
    Ok(vec![Row {
        workload: STORM,
        peer,
        figures: BTreeMap::from(figures),
    }])
}

/// Cuts all streams and waits until all are back. Returns the number of events that were published meanwhile, and two more
/// after it.
fn cut(
    load: &mut Load,
    publisher: &mut Publisher,
    opening: &Opening,
    resumes: bool,
) -> Result<u64> {
    let greeting = if resumes {
        Greeting::Resume
    } else {
        Greeting::Wait
    };
    let opening = Opening {
        greeting,
        ..opening.clone()
    };
    let began = load.clock.now();
    let request = opening.request.clone();
    let mut published = 0;
    // A peer is asked as any browser does: with the last id, which it does not understand.
    load.cut(&opening, !resumes, |last_id| {
        resume_request(&request, last_id)
    })?;
    let mut after = 0;
    while after < 2 {
        let now = load.clock.now();
        if now - began > published * INTERVAL {
            publisher.publish(load, now)?;
            published += 1;
            after += u64::from(load.totals.ready == load.len());
        }
        if now - began > PATIENCE {
            let missing = load.len() - load.totals.ready;
            bail!("{missing} streams were not back a minute after they were cut");
        }
        load.look(Some(Duration::from_millis(1)))?;
    }
    Ok(published)
}

/// The request with the header of a client that resumes.
fn resume_request(request: &[u8], last_id: &str) -> Vec<u8> {
    let head = request.strip_suffix(b"\r\n").unwrap_or(request);
    [head, format!("last-event-id: {last_id}\r\n\r\n").as_bytes()].concat()
}

/// Waits until every event has arrived or is known to be missing. Returns how many arrive.
fn until_known(load: &mut Load, due: u64) -> Result<u64> {
    let begin = load.clock.now();
    while load.totals.received + load.missing() < due {
        if load.clock.now() - begin > PATIENCE {
            let unknown = due - load.totals.received - load.missing();
            bail!("{unknown} deliveries are missing a minute after all streams were back");
        }
        load.look(Some(Duration::from_millis(10)))?;
    }
    Ok(due - load.missing())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;

    #[test]
    fn a_resume_adds_one_header() {
        let request = http::request("GET", "/events", &[("accept", "text/event-stream")]);
        let request = String::from_utf8(resume_request(&request, "a-7")).unwrap();
        assert!(
            request.ends_with("event-stream\r\nlast-event-id: a-7\r\n\r\n"),
            "{request}"
        );
    }
}
