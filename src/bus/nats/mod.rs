//! Implements the bus for several nodes: the log is a stream of NATS JetStream, and each node's SQLite is a replica of it.
//!
//! A write is published to the stream (`publisher.rs`, in the form of `record.rs`). Every node reads the stream in order
//! and applies it to its replica (`feed.rs`, `embedded/replica.rs`), from which all reads are answered. Order, storage,
//! replication and failover are JetStream's. `streams.rs` makes the streams and recognises their history, `link.rs` is
//! the connection.
//!
//! - An acknowledgement means: the stream has the event, and this node's replica has applied it. An event's offset is its
//!   sequence in the stream, so offsets do not increase by one.
//! - Without a connection writes are refused as unavailable, and reads are answered from the replica.
//! - Latest values are a second stream with one message a key. Claims are a third: the first message of a subject wins.
//! - If the stream has lost events that the replica holds, the epoch is renewed ([`Health::Renewed`]).

mod feed;
mod lease;
mod link;
mod open;
mod outcomes;
mod presence;
mod publisher;
mod questions;
mod record;
mod removals;
mod streams;
mod tasks;
#[cfg(test)]
#[path = "nats_tests.rs"]
mod tests;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use self::{
    lease::Competitor,
    link::Link,
    outcomes::{Outcome, Outcomes},
    presence::Presence,
    publisher::Publisher,
    record::Record,
    streams::Ends,
};
pub use self::{
    link::Address,
    open::{OpenError, Options},
};
use super::{
    ANSWERS_WITHIN, Answer, Appended, Bus, BusError, Changes, Departures, Event, Head, Health,
    Lease, LogSummary, NewEvent, Ownership, Page, Questions, Snapshot, Volatile, Wakes,
    embedded::{Embedded, replica::Applied},
};
use realtime::{position::Epoch, server::now_ms};

/// How long this node's replica may take to apply what the stream has acknowledged. Then the writer tries again, with the
/// same id.
const APPLIES_WITHIN: Duration = Duration::from_secs(5);
/// How long the last volatile messages may take at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// The bus of one node of several.
pub struct Nats {
    shared: Arc<Shared>,
    log: Arc<Outcomes>,
    latest: Arc<Outcomes>,
    changes: broadcast::Sender<(String, Bytes)>,
    /// Ends the tasks.
    _tasks: DropGuard,
}

/// What the tasks of the bus share.
struct Shared {
    link: Link,
    publisher: Publisher,
    replica: Embedded,
    epoch: Epoch,
    /// Identifies this node among the senders of volatile messages.
    node: Uuid,
    replicas: usize,
    health: watch::Sender<Health>,
    presence: Mutex<Presence>,
    departures: broadcast::Sender<Uuid>,
    closed: CancellationToken,
}

impl Nats {
    /// Removes the messages of a log from the stream that no replica needs any more: those before `kept`. A replica that
    /// joins later begins with what stands there.
    fn remove_before(shared: Arc<Shared>, log: &str, kept: u64) -> BoxFuture<'static, ()> {
        let subject = record::log_subject(log);
        async move {
            let jetstream = &shared.link.jetstream;
            let removed = streams::remove_before(jetstream, streams::LOG, &subject, kept).await;
            if let Err(error) = removed {
                // The next snapshot or floor of the log removes these messages too.
                tracing::warn!(%error, "old messages could not be removed from the stream");
            }
        }
        .boxed()
    }
}

/// Publishes a message, and waits until this node's replica has applied it. Returns its sequence and its outcome; no
/// outcome if the stream has seen its id before, or if it was applied too long ago. Queued before this returns.
fn write(
    publisher: &Publisher,
    outcomes: &Arc<Outcomes>,
    record: Record,
) -> Answer<(u64, Option<Applied>)> {
    let queued = publisher.publish(record);
    let outcomes = outcomes.clone();
    async move {
        let acknowledged = queued?.await.unwrap_or(Err(BusError::Closed))?;
        let sequence = acknowledged.sequence;
        if acknowledged.duplicate {
            // The message with this id that the stream has may be on its way to this node still.
            reached(&outcomes, sequence).await?;
            return Ok((sequence, None));
        }
        match outcomes.of(sequence) {
            Outcome::Known(applied) => Ok((sequence, Some(applied))),
            Outcome::Past => Ok((sequence, None)),
            Outcome::Coming(coming) => match timeout(APPLIES_WITHIN, coming).await {
                Ok(Ok(applied)) => Ok((sequence, Some(applied))),
                _ => Err(not_applied()),
            },
        }
    }
    .boxed()
}

/// Waits until this node's replica has applied the message with a sequence.
async fn reached(outcomes: &Outcomes, sequence: u64) -> Result<(), BusError> {
    match timeout(APPLIES_WITHIN, outcomes.reached(sequence)).await {
        Ok(true) => Ok(()),
        _ => Err(not_applied()),
    }
}

impl Shared {
    async fn ends(&self) -> Result<Ends, BusError> {
        let ends = streams::ends(&self.link.jetstream).await;
        ends.map_err(|error| BusError::Unavailable(error.to_string()))
    }
}

fn not_applied() -> BusError {
    BusError::Unavailable("the replica of this node has not read the event yet".into())
}

impl Bus for Nats {
    fn node(&self) -> Option<Uuid> {
        Some(self.shared.node)
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch.clone()
    }

    fn append(&self, event: NewEvent) -> Answer<Appended> {
        let written = write(&self.shared.publisher, &self.log, Record::event(&event));
        let shared = self.shared.clone();
        async move {
            let (sequence, applied) = written.await?;
            match applied {
                Some(Applied::Event(appended)) => return Ok(appended),
                Some(_) => {
                    return Err(BusError::Refused(
                        "the stream cannot hold this event".into(),
                    ));
                }
                None => {}
            }
            // The stream has seen this id before.
            let held = shared.replica.event(&event.log, event.id).await?;
            let event = held.unwrap_or(Event {
                offset: sequence,
                id: event.id,
                at: now_ms(),
                bytes: event.bytes,
            });
            Ok(Appended { event, new: false })
        }
        .boxed()
    }

    fn reach(&self, offset: u64) -> Answer<()> {
        let (outcomes, shared) = (self.log.clone(), self.shared.clone());
        async move {
            if outcomes.has_reached(offset) || shared.ends().await?.log < offset {
                return Ok(());
            }
            reached(&outcomes, offset).await
        }
        .boxed()
    }

    fn reach_latest(&self) -> Answer<()> {
        let (outcomes, shared) = (self.latest.clone(), self.shared.clone());
        async move { reached(&outcomes, shared.ends().await?.latest).await }.boxed()
    }

    fn head(&self, log: &str) -> Answer<Head> {
        self.shared.replica.head(log)
    }

    fn read(&self, log: &str, after: u64, limit: usize) -> Answer<Page> {
        self.shared.replica.read(log, after, limit)
    }

    fn read_before(&self, log: &str, before: u64, limit: usize) -> Answer<Page> {
        self.shared.replica.read_before(log, before, limit)
    }

    fn count(&self, log: &str, after: u64, upto: u64, except: Option<Uuid>) -> Answer<u64> {
        self.shared.replica.count(log, after, upto, except)
    }

    fn search(&self, log: &str, text: &str, limit: usize) -> Answer<Page> {
        self.shared.replica.search(log, text, limit)
    }

    fn logs(&self, prefix: &str, limit: usize) -> Answer<Vec<LogSummary>> {
        self.shared.replica.logs(prefix, limit)
    }

    fn compact(&self, log: &str, upto: u64, snapshot: Bytes, expected_head: u64) -> Answer<()> {
        let known = self.shared.replica.head_and_time(log);
        let (log, shared) = (log.to_owned(), self.shared.clone());
        let (publisher, outcomes) = (self.shared.publisher.clone(), self.log.clone());
        async move {
            // A snapshot that cannot count is not sent to every node.
            let (head, at) = known.await?;
            if head != expected_head || upto > head {
                return Err(BusError::HeadMoved { head });
            }
            let record = Record::snapshot(&log, upto, head, at, snapshot);
            let (sequence, applied) = write(&publisher, &outcomes, record).await?;
            let Some(Applied::Snapshot(counts)) = applied else {
                return Err(BusError::Unavailable("the snapshot was not seen".into()));
            };
            counts?;
            let kept = shared.replica.first_after(&log, upto).await?;
            let kept = kept.unwrap_or(sequence).min(sequence);
            Self::remove_before(shared, &log, kept).await;
            Ok(())
        }
        .boxed()
    }

    fn snapshot(&self, log: &str) -> Answer<Option<Snapshot>> {
        self.shared.replica.snapshot(log)
    }

    fn forget(&self, log: &str, before: u64) -> Answer<u64> {
        let expired = self.shared.replica.expired(log, before);
        let (log, shared) = (log.to_owned(), self.shared.clone());
        let (publisher, outcomes) = (self.shared.publisher.clone(), self.log.clone());
        async move {
            let Some(expired) = expired.await? else {
                return Ok(0);
            };
            let record = Record::floor(&log, expired.upto, expired.at);
            let (sequence, applied) = write(&publisher, &outcomes, record).await?;
            let Some(Applied::Floor(dropped)) = applied else {
                return Err(BusError::Unavailable("the floor was not seen".into()));
            };
            // Only between two times: what stays must get the time that it has from the stream alone, and the time of an
            // event is at least that of the event before it.
            if expired.is_all {
                let kept = expired.first_kept.unwrap_or(sequence).min(sequence);
                Self::remove_before(shared, &log, kept).await;
            }
            Ok(dropped)
        }
        .boxed()
    }

    fn put_latest(&self, key: &str, value: Bytes) -> Answer<()> {
        let written = write(
            &self.shared.publisher,
            &self.latest,
            Record::latest(key, value),
        );
        written.map(|written| written.map(drop)).boxed()
    }

    fn latest(&self, prefix: &str) -> Answer<Vec<(String, Bytes)>> {
        self.shared.replica.latest(prefix)
    }

    fn changes(&self) -> Changes {
        Changes::of(self.changes.subscribe())
    }

    fn claim(&self, key: &str) -> Answer<bool> {
        let record = Record::claim(key);
        let subject = record.subject.clone();
        let (link, publisher) = (self.shared.link.clone(), self.shared.publisher.clone());
        async move {
            if !link.is_up() {
                return Err(BusError::Unavailable("NATS cannot be reached".into()));
            }
            let stream = streams::stream(&link.jetstream, streams::CLAIMS).await;
            let stream = stream.map_err(|error| BusError::Unavailable(error.to_string()))?;
            // A claim that cannot win is not made. It would stand before the next one of a caller that tries again and
            // again, and so keep the key taken for ever, although its owner is gone.
            if streams::first(&stream, &subject, 1).await?.is_some() {
                return Ok(false);
            }
            let published = publisher.publish(record)?;
            let own = published.await.unwrap_or(Err(BusError::Closed))?.sequence;
            // The order of the stream decides, up to the own claim.
            Ok(streams::first(&stream, &subject, 1).await? == Some(own))
        }
        .boxed()
    }

    fn subscribe(&self, log: &str) -> Wakes {
        self.shared.replica.subscribe(log)
    }

    fn publish(&self, subject: &str, bytes: Bytes) {
        self.announce(subject, bytes.clone());
        self.shared.replica.publish(subject, bytes);
    }

    fn announce(&self, subject: &str, bytes: Bytes) {
        self.shared.announce(subject, &bytes);
    }

    fn lease(&self, key: &str) -> Lease {
        let (ownership, owned) = watch::channel(Ownership::Waiting);
        let cancelled = self.shared.closed.child_token();
        let competitor = Competitor {
            link: self.shared.link.clone(),
            node: self.shared.node,
            subject: record::lease_subject(key),
            ownership,
            released: self.listen(&format!("lease/{key}")),
            cancelled: cancelled.clone(),
        };
        let (shared, key) = (self.shared.clone(), key.to_owned());
        let task = tokio::spawn(async move {
            if competitor.run().await {
                // The others need not wait for their next attempt.
                shared.announce(&format!("lease/{key}"), b"");
            }
        });
        Lease {
            ownership: owned,
            task: Some((cancelled, task)),
        }
    }

    fn departures(&self) -> Departures {
        Departures(Some(self.shared.departures.subscribe()))
    }

    fn is_present(&self, node: Uuid) -> bool {
        node == self.shared.node || self.shared.presence().is_present(node, Instant::now())
    }

    fn ask(&self, subject: &str, question: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        let message = record::signed(self.shared.node, &question);
        let (client, subject) = (
            self.shared.link.client.clone(),
            record::ask_subject(subject),
        );
        async move {
            let answer = timeout(ANSWERS_WITHIN, client.request(subject, message)).await;
            Some(answer.ok()?.ok()?.payload)
        }
        .boxed()
    }

    fn questions(&self, subject: &str) -> Questions {
        let questions = questions::receive(self.shared.clone(), record::ask_subject(subject));
        Questions(Some(questions))
    }

    fn listen(&self, subject: &str) -> Volatile {
        self.shared.replica.listen(subject)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.shared.say_farewell();
        self.shared.publisher.close();
        let shared = self.shared.clone();
        async move {
            // What was announced last, a farewell among it, leaves before the connection ends.
            let _ = timeout(FAREWELL, shared.publisher.flush()).await;
            shared.closed.cancel();
            shared.replica.close().await;
        }
        .boxed()
    }
}
