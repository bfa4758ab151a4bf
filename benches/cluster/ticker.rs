//! How long a price takes from the node that has the feed to a client of another node.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::StreamExt;
use tokio::time::timeout_at;

use super::{figures::Percentiles, nodes::System};

/// When each event arrived.
type Arrivals = HashMap<String, Instant>;

/// Compares when the clients of the nodes got the same event. The node whose clients mostly get it first has the feed.
pub async fn measure(system: &System, span: Duration) -> Option<Percentiles> {
    let until = tokio::time::Instant::now() + span;
    let addresses: Vec<SocketAddr> = system.nodes.iter().map(|node| node.addr).collect();
    if addresses.len() < 2 {
        return None;
    }
    let listening = addresses.into_iter().map(|address| listen(address, until));
    let arrivals: Vec<Arrivals> = futures::future::join_all(listening).await;
    // The ids have the epoch: prices of two feeds have none in common.
    let common: Vec<&String> = arrivals[0]
        .keys()
        .filter(|id| arrivals.iter().all(|of_node| of_node.contains_key(*id)))
        .collect();
    let owner = (0..arrivals.len()).max_by_key(|node| {
        let is_first = |id: &&&String| {
            arrivals
                .iter()
                .all(|of_node| arrivals[*node][**id] <= of_node[**id])
        };
        common.iter().filter(is_first).count()
    })?;
    let mut delays = vec![];
    for (node, of_node) in arrivals.iter().enumerate() {
        if node != owner {
            // One that the other node's client read first took no time that this can see.
            let delay = |id: &&String| of_node[*id].saturating_duration_since(arrivals[owner][*id]);
            delays.extend(common.iter().map(delay));
        }
    }
    Percentiles::of(delays)
}

async fn listen(address: SocketAddr, until: tokio::time::Instant) -> Arrivals {
    let answer = reqwest::get(format!("http://{address}/api/ticker/events")).await;
    let mut chunks = answer.unwrap().bytes_stream();
    let (mut arrivals, mut rest) = (Arrivals::new(), String::new());
    let mut id = None;
    while let Ok(Some(chunk)) = timeout_at(until, chunks.next()).await {
        let now = Instant::now();
        rest.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        while let Some((line, after)) = rest.split_once('\n') {
            if let Some(value) = line.strip_prefix("id: ") {
                id = Some(value.to_owned());
            } else if line == "event: price"
                && let Some(id) = id.take()
            {
                arrivals.insert(id, now);
            }
            rest = after.to_owned();
        }
    }
    arrivals
}
