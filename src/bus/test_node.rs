//! Two nodes of a cluster within one test: they share an embedded bus and hear each other's announcements.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use super::{
    Answer, Appended, Bus, BusError, Departures, Head, Health, LogSummary, NewEvent, Page,
    Snapshot, Volatile, Wakes, embedded::Embedded,
};
use realtime::position::Epoch;

/// The bus of one of two nodes.
pub struct TestNode {
    bus: Arc<Embedded>,
    node: Uuid,
    other: Uuid,
    /// Appends are refused, as while the log cannot be reached.
    pub is_away: AtomicBool,
    /// What this node announces is lost.
    pub is_mute: AtomicBool,
    /// Reports that a node left the cluster.
    pub departures: broadcast::Sender<Uuid>,
}

/// Two nodes with their storage in a folder. Their ids are 1 and 2.
pub fn two_nodes(folder: &Path) -> [Arc<TestNode>; 2] {
    let bus = Arc::new(Embedded::open(folder).expect("an empty folder"));
    let [one, two] = [1, 2].map(Uuid::from_u128);
    [(one, two), (two, one)].map(|(node, other)| {
        Arc::new(TestNode {
            bus: bus.clone(),
            node,
            other,
            is_away: AtomicBool::new(false),
            is_mute: AtomicBool::new(false),
            departures: broadcast::Sender::new(8),
        })
    })
}

/// A subject as one node listens to it.
fn subject_at(node: Uuid, subject: &str) -> String {
    format!("{node} {subject}")
}

impl Bus for TestNode {
    fn node(&self) -> Option<Uuid> {
        Some(self.node)
    }

    fn append(&self, event: NewEvent) -> Answer<Appended> {
        if self.is_away.load(Ordering::Relaxed) {
            let refused = Err(BusError::Unavailable("the node is cut".into()));
            return futures::future::ready(refused).boxed();
        }
        self.bus.append(event)
    }

    fn departures(&self) -> Departures {
        Departures(Some(self.departures.subscribe()))
    }

    fn publish(&self, subject: &str, bytes: Bytes) {
        self.announce(subject, bytes.clone());
        self.bus.publish(&subject_at(self.node, subject), bytes);
    }

    fn announce(&self, subject: &str, bytes: Bytes) {
        if !self.is_mute.load(Ordering::Relaxed) {
            self.bus.publish(&subject_at(self.other, subject), bytes);
        }
    }

    fn listen(&self, subject: &str) -> Volatile {
        self.bus.listen(&subject_at(self.node, subject))
    }

    fn read(&self, log: &str, after: u64, limit: usize) -> Answer<Page> {
        self.bus.read(log, after, limit)
    }

    fn subscribe(&self, log: &str) -> Wakes {
        self.bus.subscribe(log)
    }

    fn epoch(&self) -> Epoch {
        self.bus.epoch()
    }

    fn head(&self, log: &str) -> Answer<Head> {
        self.bus.head(log)
    }

    fn read_before(&self, log: &str, before: u64, limit: usize) -> Answer<Page> {
        self.bus.read_before(log, before, limit)
    }

    fn count(&self, log: &str, after: u64, upto: u64, except: Option<Uuid>) -> Answer<u64> {
        self.bus.count(log, after, upto, except)
    }

    fn search(&self, log: &str, text: &str, limit: usize) -> Answer<Page> {
        self.bus.search(log, text, limit)
    }

    fn logs(&self, prefix: &str, limit: usize) -> Answer<Vec<LogSummary>> {
        self.bus.logs(prefix, limit)
    }

    fn compact(&self, log: &str, upto: u64, snapshot: Bytes, head: u64) -> Answer<()> {
        self.bus.compact(log, upto, snapshot, head)
    }

    fn snapshot(&self, log: &str) -> Answer<Option<Snapshot>> {
        self.bus.snapshot(log)
    }

    fn forget(&self, log: &str, before: u64) -> Answer<u64> {
        self.bus.forget(log, before)
    }

    fn claim(&self, key: &str) -> Answer<bool> {
        self.bus.claim(key)
    }

    fn put_latest(&self, key: &str, value: Bytes) -> Answer<()> {
        self.bus.put_latest(key, value)
    }

    fn latest(&self, prefix: &str) -> Answer<Vec<(String, Bytes)>> {
        self.bus.latest(prefix)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.bus.health()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.bus.close()
    }
}
