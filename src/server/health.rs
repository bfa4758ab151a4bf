//! Answers `/readyz`: whether this server should receive traffic, and every reason that an operator needs to know.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use bytes::Bytes;
use realtime::server::Drain;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{
    background::Supervisor,
    bus::{Health, SharedBus},
    routes::Remark,
};

pub const READY_ROUTE: &str = "/readyz";

/// The time between two test writes to a storage that refuses writes. Without traffic nothing else would notice that it
/// has recovered.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// The key that the probe writes. No feature uses it.
const PROBE_KEY: &str = "health/probe";

/// A bus that is away for longer makes the server unready; another node may reach it.
const AWAY_LIMIT: Duration = Duration::from_secs(30);
/// A node that is further behind its bus is unready.
const BEHIND_LIMIT: Duration = Duration::from_secs(5);

/// What the answer is computed from.
#[derive(Clone)]
pub struct Reporter {
    pub drain: Drain,
    pub bus: SharedBus,
    pub background: Supervisor,
    pub remarks: Arc<[Remark]>,
}

/// The answer of `/readyz`, with status 200 if `ready`, else 503.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// One sentence for each reason. A ready server may have reasons too: a stale feed is reported, but it does not
    /// make the server unready.
    pub reasons: Vec<String>,
}

/// Answers from what is known already. It queries neither the storage nor any task.
pub async fn ready(State(reporter): State<Reporter>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&reporter);
    let status = match readiness.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(readiness))
}

fn readiness(reporter: &Reporter) -> Readiness {
    // Reasons that make the server unready, and remarks that do not.
    let (mut unready, mut remarks) = (vec![], vec![]);
    if reporter.drain.is_draining() {
        unready.push("The server is leaving.".to_owned());
    }
    let (not_ready, remark) = storage(&reporter.bus.health().borrow());
    unready.extend(not_ready);
    remarks.extend(remark);
    for failing in reporter.background.failing() {
        let task = failing.task;
        match failing.keeps_failing {
            true => unready.push(format!("The task \"{task}\" keeps failing.")),
            false => remarks.push(format!("The task \"{task}\" failed and was started again.")),
        }
    }
    remarks.extend(reporter.remarks.iter().filter_map(|remark| remark()));
    Readiness {
        ready: unready.is_empty(),
        reasons: [unready, remarks].concat(),
    }
}

/// Why the storage makes the server unready, and a remark on it that does not.
fn storage(health: &Health) -> (Option<String>, Option<String>) {
    let seconds = |since: &Instant| since.elapsed().as_secs();
    let unready = match health {
        Health::Well => None,
        Health::Refused(why) => Some(format!("The storage refused the last write: {why}.")),
        Health::Broken => Some("The storage takes no writes any more.".into()),
        Health::Away { since } => {
            let sentence = format!(
                "The bus is away for {} s; nothing can be stored.",
                seconds(since)
            );
            return match since.elapsed() > AWAY_LIMIT {
                true => (Some(sentence), None),
                false => (None, Some(sentence)),
            };
        }
        Health::Behind { since } => (since.elapsed() > BEHIND_LIMIT)
            .then(|| format!("This node is {} s behind its bus.", seconds(since))),
        Health::Renewed => Some("The bus has another history; the server opens it anew.".into()),
    };
    (unready, None)
}

/// After a refused write, writes a small value again and again until the storage accepts one. Ends with the bus.
pub async fn probe_storage(bus: SharedBus) {
    let mut health = bus.health();
    let refused = |health: &Health| matches!(health, Health::Refused(_));
    while health.wait_for(refused).await.is_ok() {
        sleep(PROBE_EVERY).await;
        // The result is not needed here: the bus records it in its health.
        let _ = bus.put_latest(PROBE_KEY, Bytes::from_static(b"1")).await;
    }
}

/// Resolves when the bus has another history, and has to be opened again.
pub async fn storage_renewed(bus: &SharedBus) {
    let mut health = bus.health();
    let renewed = |health: &Health| *health == Health::Renewed;
    if health.wait_for(renewed).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Resolves with a sentence when the storage accepts no more writes.
pub async fn storage_broken(bus: &SharedBus) -> String {
    let mut health = bus.health();
    let broken = |health: &Health| *health == Health::Broken;
    if health.wait_for(broken).await.is_err() {
        // The bus was closed in order, which is not a reason to shut down.
        std::future::pending::<()>().await;
    }
    "The storage broke while it wrote, and nothing can be stored any more. The log says why.".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bus_that_is_away_is_a_remark_at_first_and_a_node_may_be_behind_for_a_moment() {
        let since = Instant::now();
        let (away, behind) = (Health::Away { since }, Health::Behind { since });
        let kinds = |health: &Health| {
            let (unready, remark) = storage(health);
            (unready.is_some(), remark.is_some())
        };
        tokio::time::advance(BEHIND_LIMIT).await;
        assert_eq!(kinds(&behind), (false, false));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(kinds(&behind), (true, false));
        assert_eq!(kinds(&away), (false, true));
        tokio::time::advance(AWAY_LIMIT).await;
        assert_eq!(kinds(&away), (true, false));
        assert_eq!(kinds(&Health::Renewed), (true, false));
        assert_eq!(kinds(&Health::Well), (false, false));
    }
}
