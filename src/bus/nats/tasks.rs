//! What a node does beside reads and writes: it delivers the messages of other nodes, says that it is there, and watches
//! its health and the history of the streams.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt};
use tokio::{sync::watch, time::interval};

use super::{
    Shared,
    feed::Progress,
    presence::{BEAT_EVERY, Presence},
    record, streams,
};
use crate::bus::{Bus, Health};
use realtime::position::Epoch;
use uuid::Uuid;

/// How often the epoch of the stream is compared with this node's: another node may have renewed it.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// The subject on which a node says that it is there: empty messages, and [`FAREWELL`] at its end.
const PRESENCE: &str = "nodes";
const FAREWELL: &[u8] = b"gone";

impl Shared {
    /// The history of the stream is another one: the parts of the server have to be opened again.
    pub(super) fn renewed(&self, epoch: &Epoch) {
        tracing::warn!(
            before = self.epoch.as_str(),
            now = epoch.as_str(),
            "the history of the stream is another one; the replica is built anew"
        );
        self.health.send_replace(Health::Renewed);
    }

    /// Delivers the volatile messages of other nodes. Each of them also says that its sender is there.
    pub(super) async fn deliver(self: Arc<Self>, mut messages: async_nats::Subscriber) {
        while let Some(message) = messages.next().await {
            let Some((node, bytes)) = record::read_signed(&message.payload) else {
                continue;
            };
            let Some(subject) = record::read_volatile_subject(&message.subject) else {
                continue;
            };
            if node == self.node {
                continue;
            }
            if subject != PRESENCE {
                self.presence().heard(node, Instant::now());
                self.replica.publish(&subject, bytes);
            } else if bytes == FAREWELL {
                self.departed(node);
            } else {
                self.presence().heard(node, Instant::now());
            }
        }
    }

    /// Says again and again that this node is there, and reports the nodes that no longer say so.
    pub(super) async fn say_present(self: Arc<Self>) {
        let (mut beats, mut link) = (interval(BEAT_EVERY), self.link.state());
        loop {
            tokio::select! {
                _ = beats.tick() => {
                    self.announce(PRESENCE, b"");
                    if self.link.is_up() {
                        let silent = self.presence().expire(Instant::now());
                        silent.into_iter().for_each(|node| self.report(node));
                    }
                }
                changed = link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.presence().reconnected(Instant::now());
                }
            }
        }
    }

    /// Says that this node ends.
    pub(super) fn say_farewell(&self) {
        self.announce(PRESENCE, FAREWELL);
    }

    fn departed(&self, node: Uuid) {
        if self.presence().left(node) {
            self.report(node);
        }
    }

    fn report(&self, node: Uuid) {
        tracing::info!(%node, "a node left");
        // An error means that there are no readers.
        let _ = self.departures.send(node);
    }

    /// A std mutex: it is held for map operations only, and a panic leaves the map intact.
    pub(super) fn presence(&self) -> MutexGuard<'_, Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a volatile message to the other nodes.
    pub(super) fn announce(&self, subject: &str, bytes: &[u8]) {
        let message = record::signed(self.node, bytes);
        self.publisher
            .send(record::volatile_subject(subject), message);
    }

    pub(super) async fn compare_epochs(self: Arc<Self>) {
        let mut rounds = interval(COMPARE_EVERY);
        loop {
            rounds.tick().await;
            if !self.link.is_up() {
                continue;
            }
            // A failure is seen by the feeds too.
            if let Ok(epoch) = streams::epoch(&self.link.jetstream).await
                && epoch != self.epoch
            {
                self.renewed(&epoch);
                return;
            }
        }
    }

    /// Derives the health of the bus from the connection, the feeds and the replica.
    pub(super) async fn watch_health(
        self: Arc<Self>,
        mut progress: Vec<watch::Receiver<Progress>>,
    ) {
        let (mut link, mut replica) = (self.link.state(), self.replica.health());
        loop {
            let behind = progress
                .iter_mut()
                .filter_map(|progress| progress.borrow_and_update().behind.map(|(since, _)| since));
            let behind = behind.min();
            let away = link.borrow_and_update().away_since;
            let health = match (&*replica.borrow_and_update(), away, behind) {
                (Health::Well, Some(since), _) => Health::Away { since },
                (Health::Well, None, Some(since)) => Health::Behind { since },
                (health, _, _) => health.clone(),
            };
            self.health.send_if_modified(|known| {
                let is_final = matches!(known, Health::Renewed | Health::Broken);
                let changed = !is_final && *known != health;
                if changed {
                    *known = health;
                }
                changed
            });
            let fed = futures::future::select_all(
                progress
                    .iter_mut()
                    .map(|progress| progress.changed().boxed()),
            );
            tokio::select! {
                // A feed ends when the history is another one.
                (changed, ..) = fed => if changed.is_err() { return },
                _ = link.changed() => {}
                changed = replica.changed() => if changed.is_err() { return },
            }
        }
    }
}
