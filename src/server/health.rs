//! `/readyz`: whether this server should get traffic, and every reason that an operator wants to know.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use bytes::Bytes;
use realtime::server::Drain;
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    background::Supervisor,
    bus::{Health, SharedBus},
    routes::Remark,
};

pub const READY_ROUTE: &str = "/readyz";

/// Between two tries to write to a storage that refuses. Without traffic nothing else would find out that it recovered.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// What the probe writes, under a name that no feature uses.
const PROBE_KEY: &str = "health/probe";

/// Where the answer comes from.
#[derive(Clone)]
pub struct Reporter {
    pub drain: Drain,
    pub bus: SharedBus,
    pub background: Supervisor,
    pub remarks: Arc<[Remark]>,
}

/// What `/readyz` answers: 200 where `ready`, else 503.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// A sentence each. A server may be ready and have some: a feed that is stale is a reason, and no reason to go away.
    pub reasons: Vec<String>,
}

/// Reads what is known already: it asks neither the storage nor any task.
pub async fn ready(State(reporter): State<Reporter>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&reporter);
    let status = match readiness.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(readiness))
}

fn readiness(reporter: &Reporter) -> Readiness {
    // Why not, and what else there is to say.
    let (mut against, mut besides) = (vec![], vec![]);
    if reporter.drain.is_draining() {
        against.push("The server is leaving.".to_owned());
    }
    match &*reporter.bus.health().borrow() {
        Health::Well => {}
        Health::Refused(why) => {
            against.push(format!("The storage refused the last write: {why}."));
        }
        Health::Broken => against.push("The storage takes no writes any more.".into()),
    }
    for failing in reporter.background.failing() {
        let task = failing.task;
        match failing.keeps_failing {
            true => against.push(format!("The task \"{task}\" keeps failing.")),
            false => besides.push(format!("The task \"{task}\" failed and was started again.")),
        }
    }
    besides.extend(reporter.remarks.iter().filter_map(|remark| remark()));
    Readiness {
        ready: against.is_empty(),
        reasons: [against, besides].concat(),
    }
}

/// Writes a little whenever the storage refused the last write, until it takes one again. Ends with the bus.
pub async fn probe_storage(bus: SharedBus) {
    let mut health = bus.health();
    let refused = |health: &Health| matches!(health, Health::Refused(_));
    while health.wait_for(refused).await.is_ok() {
        sleep(PROBE_EVERY).await;
        // Its outcome is what it is for, and that is in the bus's health.
        let _ = bus.put_latest(PROBE_KEY, Bytes::from_static(b"1")).await;
    }
}

/// Resolves with a sentence when the storage takes no writes any more.
pub async fn storage_broken(bus: &SharedBus) -> String {
    let mut health = bus.health();
    let broken = |health: &Health| *health == Health::Broken;
    if health.wait_for(broken).await.is_err() {
        // Closed in order: no reason to leave.
        std::future::pending::<()>().await;
    }
    "The storage broke while it wrote, and nothing can be stored any more. The log says why.".into()
}
