//! Answers `/readyz`: whether this server should receive traffic, and every reason that an operator needs to know.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use bytes::Bytes;
use realtime::server::Drain;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

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
    match &*reporter.bus.health().borrow() {
        Health::Well => {}
        Health::Refused(why) => {
            unready.push(format!("The storage refused the last write: {why}."));
        }
        Health::Broken => unready.push("The storage takes no writes any more.".into()),
    }
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
