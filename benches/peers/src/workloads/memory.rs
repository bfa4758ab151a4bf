//! What an idle connection costs: the difference of the resident memory, divided by the connections.

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use anyhow::Result;

use super::{MEMORY, Row};
use crate::{
    check::Marks,
    load::{Load, Opening},
    machine::resident_kib,
    peer::{Bench, Peer},
    process::Server,
};

/// Connections that are open before the first look at the memory: what a server allocates once is not counted.
const FIRST: usize = 50;
/// The members of each room. A single room of all would measure its list of members.
const MEMBERS: usize = 50;
/// The time for a server to come to rest.
const REST: Duration = Duration::from_millis(500);

pub fn measure(bench: &Bench, peer: Peer) -> Result<Vec<Row>> {
    let count = FIRST + bench.options.scale().idle;
    let mut figures = BTreeMap::new();
    if matches!(peer, Peer::Wirewise | Peer::AxumSse | Peer::NodeSse) {
        let server = bench.idle(peer)?;
        let openings = vec![bench.stream(peer, &server); count];
        figures.insert("stream_kib", kib_for_each(bench, &server, openings)?);
    }
    if !matches!(peer, Peer::AxumSse | Peer::NodeSse) {
        let server = bench.idle(peer)?;
        let openings = bench.sockets(peer, &server, count, |_| None)?;
        figures.insert("socket_kib", kib_for_each(bench, &server, openings)?);
    }
    if peer == Peer::Wirewise {
        let server = bench.idle(peer)?;
        let room = |index: usize| Some(format!("room-{}", index / MEMBERS));
        let openings = bench.sockets(peer, &server, count, room)?;
        figures.insert("member_kib", kib_for_each(bench, &server, openings)?);
    }
    Ok(vec![Row {
        workload: MEMORY,
        peer,
        figures,
    }])
}

fn kib_for_each(bench: &Bench, server: &Server, mut openings: Vec<Opening>) -> Result<f64> {
    let mut load = Load::new(Marks::chat(), bench.clock)?;
    let rest = openings.split_off(FIRST);
    load.open(openings, || Ok(()))?;
    let before = at_rest(&mut load, server)?;
    let count = rest.len();
    load.open(rest, || Ok(()))?;
    let after = at_rest(&mut load, server)?;
    Ok((after - before) / count as f64)
}

fn at_rest(load: &mut Load, server: &Server) -> Result<f64> {
    sleep(REST);
    // What came meanwhile is read, so that it does not wait in the server.
    load.look(Some(Duration::ZERO))?;
    resident_kib(server.id())
}
