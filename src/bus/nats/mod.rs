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
mod link;
mod outcomes;
mod publisher;
mod record;
mod streams;
#[cfg(test)]
#[path = "nats_tests.rs"]
mod tests;

use std::{
    io,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::{broadcast, watch},
    time::{interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use self::link::Address;
use self::{
    feed::{Feed, Progress},
    link::Link,
    outcomes::{Outcome, Outcomes},
    publisher::Publisher,
    record::Record,
    streams::Tail,
};
use super::{
    Answer, Appended, Bus, BusError, Changes, Event, Head, Health, LogSummary, NewEvent, Page,
    Snapshot, Volatile, Wakes,
    embedded::{self, Embedded, replica::Applied},
};
use realtime::{position::Epoch, server::now_ms};

/// How long this node's replica may take to apply what the stream has acknowledged. Then the writer tries again, with the
/// same id.
const APPLIES_WITHIN: Duration = Duration::from_secs(5);
/// How long the last volatile messages may take at the end.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often the epoch of the stream is compared with this node's: another node may have renewed it.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// Changes of latest values by which a reader may lag behind before it has to read all values again.
const CHANGES: usize = 1_024;

/// The bus of one node of several.
pub struct Nats {
    shared: Arc<Shared>,
    publisher: Publisher,
    log: Arc<Outcomes>,
    latest: Arc<Outcomes>,
    changes: broadcast::Sender<(String, Bytes)>,
    /// Ends the tasks.
    _tasks: DropGuard,
}

/// What the tasks of the bus share.
struct Shared {
    link: Link,
    replica: Embedded,
    epoch: Epoch,
    /// Identifies this node among the senders of volatile messages.
    node: Uuid,
    replicas: usize,
    health: watch::Sender<Health>,
    closed: CancellationToken,
}

/// How the bus is opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: Address,
    /// How many servers of a NATS cluster hold each stream. Counts when the streams are made.
    pub replicas: usize,
    /// The operator's word that the server syncs each write.
    pub synced: bool,
    pub storage: embedded::Options,
}

/// Why the bus cannot be opened, as one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "NATS cannot be reached at {servers}: {error}. Start it, or name another address with --bus."
    )]
    Unreachable { servers: String, error: String },
    #[error("The file {} of --bus-credentials cannot be used: {error}.", .path.display())]
    Credentials { path: PathBuf, error: io::Error },
    #[error(
        "NATS takes messages of at most {most} bytes, and a snapshot of a shared text can have {needed}. Set max_payload: 16MB in its configuration."
    )]
    SmallPayload { most: usize, needed: usize },
    #[error("The stream {name} of NATS cannot be used: {error}. Is JetStream enabled?")]
    Stream { name: String, error: String },
    #[error(
        "The stream {name} of NATS was not made by Wirewise (its description is \"{description}\")."
    )]
    Foreign { name: String, description: String },
    #[error("The replica did not read the whole stream: {0}.")]
    NotCaughtUp(String),
    #[error(transparent)]
    Replica(#[from] embedded::OpenError),
    #[error(transparent)]
    Read(#[from] BusError),
}

impl Nats {
    /// Connects, makes the streams that do not exist, and brings the replica in the data folder up to date.
    pub async fn open(data_dir: &Path, options: Options) -> Result<Self, OpenError> {
        if !options.synced && options.replicas < 3 {
            tracing::warn!(
                "NATS syncs its files every two minutes unless it is told otherwise: a power cut may lose acknowledged \
                 messages. Have it sync each write (deploy/nats.conf) and say so with --bus-synced, or run three servers \
                 and set --bus-replicas 3."
            );
        }
        let link = Link::open(&options.address).await?;
        streams::make(&link.jetstream, options.replicas).await?;
        let mut epoch = streams::ends(&link.jetstream).await?.epoch;
        let mut replica = Embedded::replica(data_dir, &epoch, options.storage)?;
        if lost_tail(&link, &replica).await? {
            tracing::error!(
                "the stream has lost events that this node holds; its epoch is renewed"
            );
            epoch = streams::renew_epoch(&link.jetstream, &epoch).await?;
            replica.close().await;
            drop(replica);
            replica = Embedded::replica(data_dir, &epoch, options.storage)?;
        }
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            health: watch::Sender::new(replica.health().borrow().clone()),
            replica,
            epoch,
            node: Uuid::new_v4(),
            replicas: options.replicas,
            closed: closed.clone(),
            link,
        });
        let (changes, _) = broadcast::channel(CHANGES);
        let log = Arc::<Outcomes>::default();
        let latest = Arc::<Outcomes>::default();
        let mut progress = vec![];
        for (name, outcomes) in [(streams::LOG, &log), (streams::LATEST, &latest)] {
            let last = shared.replica.last_applied(name).await?;
            outcomes.begin_after(last.sequence);
            let (sender, receiver) = watch::channel(Progress::default());
            progress.push(receiver);
            let feed = Feed {
                name,
                shared: shared.clone(),
                outcomes: outcomes.clone(),
                progress: sender,
                changes: changes.clone(),
            };
            let shared = shared.clone();
            tokio::spawn(async move {
                let feeding = shared.closed.run_until_cancelled(feed.run());
                if AssertUnwindSafe(feeding).catch_unwind().await.is_err() {
                    // The panic hook has logged it. Without the feed the replica stands still.
                    shared.health.send_replace(Health::Broken);
                }
            });
        }
        let bus = Self {
            publisher: Publisher::start(shared.link.clone()),
            shared: shared.clone(),
            log,
            latest,
            changes,
            _tasks: closed.clone().drop_guard(),
        };
        let subscription = format!("{}>", record::VOLATILE_PREFIX);
        let volatile = shared.link.client.subscribe(subscription).await;
        let volatile = volatile.map_err(|error| OpenError::NotCaughtUp(error.to_string()))?;
        for task in [
            shared.clone().deliver(volatile).boxed(),
            shared.clone().compare_epochs().boxed(),
            shared.clone().watch_health(progress.clone()).boxed(),
        ] {
            let closed = closed.clone();
            tokio::spawn(async move { closed.run_until_cancelled(task).await });
        }
        shared.catch_up(progress).await?;
        Ok(bus)
    }

    /// Removes the messages of a log from the stream that no replica needs any more: those before `kept`. A replica that
    /// joins later begins with what stands there.
    fn purge(shared: Arc<Shared>, log: &str, kept: u64) -> BoxFuture<'static, ()> {
        let subject = record::log_subject(log);
        async move {
            let purged = match streams::stream(&shared.link.jetstream, streams::LOG).await {
                Ok(stream) => {
                    let purge = stream.purge().filter(subject).sequence(kept);
                    purge.await.map(drop).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = purged {
                // The next snapshot or floor of the log purges these messages too.
                tracing::warn!(error, "old messages could not be removed from the stream");
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
            return match timeout(APPLIES_WITHIN, outcomes.reached(sequence)).await {
                Ok(true) => Ok((sequence, None)),
                _ => Err(not_applied()),
            };
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

fn not_applied() -> BusError {
    BusError::Unavailable("the replica of this node has not read the event yet".into())
}

/// Whether a stream has lost what the replica has applied.
async fn lost_tail(link: &Link, replica: &Embedded) -> Result<bool, OpenError> {
    let ends = streams::ends(&link.jetstream).await?;
    for (name, end) in [(streams::LOG, ends.log), (streams::LATEST, ends.latest)] {
        let last = replica.last_applied(name).await?;
        if last.sequence == 0 {
            continue;
        }
        let stream = streams::stream(&link.jetstream, name).await?;
        if streams::tail(&stream, end, &last).await? == Tail::Lost {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Shared {
    /// Compares the stream with the replica after a reconnect. Returns the epoch of the stream if the history is another
    /// one than the replica's.
    async fn check_history(&self) -> Result<Option<Epoch>, OpenError> {
        // The store of NATS may have been removed.
        streams::make(&self.link.jetstream, self.replicas).await?;
        let mut epoch = streams::ends(&self.link.jetstream).await?.epoch;
        if epoch == self.epoch && lost_tail(&self.link, &self.replica).await? {
            tracing::error!(
                "the stream has lost events that this node holds; its epoch is renewed"
            );
            epoch = streams::renew_epoch(&self.link.jetstream, &epoch).await?;
        }
        Ok((epoch != self.epoch).then_some(epoch))
    }

    /// The history of the stream is another one: the parts of the server have to be opened again.
    fn renewed(&self, epoch: &Epoch) {
        tracing::warn!(
            before = self.epoch.as_str(),
            now = epoch.as_str(),
            "the history of the stream is another one; the replica is built anew"
        );
        self.health.send_replace(Health::Renewed);
    }

    /// Waits until the replica has applied everything that the streams held at the start.
    async fn catch_up(&self, progress: Vec<watch::Receiver<Progress>>) -> Result<(), OpenError> {
        let mut health = self.health.subscribe();
        let caught_up = async {
            for mut progress in progress {
                // The sender ends with the feed, which ends when the history is another one.
                let _ = progress.wait_for(|progress| progress.has_caught_up).await;
            }
        };
        tokio::select! {
            () = caught_up => Ok(()),
            Ok(_) = health.wait_for(|health| *health == Health::Renewed) => {
                Err(OpenError::NotCaughtUp("its history became another one meanwhile".into()))
            }
            Ok(broken) = async { self.replica.health().wait_for(|health| *health != Health::Well).await.map(|health| health.clone()) } => {
                Err(OpenError::NotCaughtUp(format!("{broken:?}")))
            }
        }
    }

    /// Delivers the volatile messages of other nodes.
    async fn deliver(self: Arc<Self>, mut messages: async_nats::Subscriber) {
        while let Some(message) = messages.next().await {
            let read = record::read_volatile(self.node, &message.subject, &message.payload);
            if let Some((subject, bytes)) = read {
                self.replica.publish(&subject, bytes);
            }
        }
    }

    async fn compare_epochs(self: Arc<Self>) {
        let mut rounds = interval(COMPARE_EVERY);
        loop {
            rounds.tick().await;
            if !self.link.is_up() {
                continue;
            }
            // A failure is seen by the feeds too.
            if let Ok(ends) = streams::ends(&self.link.jetstream).await
                && ends.epoch != self.epoch
            {
                self.renewed(&ends.epoch);
                return;
            }
        }
    }

    /// Derives the health of the bus from the connection, the feeds and the replica.
    async fn watch_health(self: Arc<Self>, mut progress: Vec<watch::Receiver<Progress>>) {
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

impl Bus for Nats {
    fn node(&self) -> Option<Uuid> {
        Some(self.shared.node)
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch.clone()
    }

    fn append(&self, event: NewEvent) -> Answer<Appended> {
        let written = write(&self.publisher, &self.log, Record::event(&event));
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
            let ends = match outcomes.has_reached(offset) {
                true => return Ok(()),
                false => streams::ends(&shared.link.jetstream).await,
            };
            let ends = ends.map_err(|error| BusError::Unavailable(error.to_string()))?;
            if ends.log < offset {
                return Ok(());
            }
            match timeout(APPLIES_WITHIN, outcomes.reached(offset)).await {
                Ok(true) => Ok(()),
                _ => Err(not_applied()),
            }
        }
        .boxed()
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
        let (publisher, outcomes) = (self.publisher.clone(), self.log.clone());
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
            Self::purge(shared, &log, kept).await;
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
        let (publisher, outcomes) = (self.publisher.clone(), self.log.clone());
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
                Self::purge(shared, &log, kept).await;
            }
            Ok(dropped)
        }
        .boxed()
    }

    fn put_latest(&self, key: &str, value: Bytes) -> Answer<()> {
        let written = write(&self.publisher, &self.latest, Record::latest(key, value));
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
        let queued = self.publisher.publish(record);
        let link = self.shared.link.clone();
        async move {
            let own = queued?.await.unwrap_or(Err(BusError::Closed))?.sequence;
            let unavailable = |error: String| BusError::Unavailable(error);
            let stream = streams::stream(&link.jetstream, streams::CLAIMS).await;
            let stream = stream.map_err(|error| unavailable(error.to_string()))?;
            // The order of the stream decides, up to the own claim.
            let first = stream.get_first_raw_message_by_subject(&subject, 1).await;
            let first = first.map_err(|error| unavailable(error.to_string()))?;
            Ok(first.sequence == own)
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
        let message = record::volatile(self.shared.node, &bytes);
        self.publisher
            .send(record::volatile_subject(subject), message);
    }

    fn listen(&self, subject: &str) -> Volatile {
        self.shared.replica.listen(subject)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.publisher.close();
        let (shared, publisher) = (self.shared.clone(), self.publisher.clone());
        async move {
            // What was announced last, a farewell among it, leaves before the connection ends.
            let _ = timeout(FAREWELL, publisher.flush()).await;
            shared.closed.cancel();
            shared.replica.close().await;
        }
        .boxed()
    }
}
