//! The bus stores events in durable logs, keeps latest values, and fans out volatile messages.
//!
//! An append is acknowledged only once it is on disk; subscribers of the log are notified after that.
//!
//! The bus offers four kinds of storage and delivery; each feature chooses the guarantees that its data needs:
//!
//! - **Logs** (messages of a room, updates of a document, events of a job): [`Bus::append`] stores; [`Bus::read`] reads
//!   by offset, and [`Follower`] reads stored and new events. Durable, totally ordered, exactly once by the id that the
//!   client made.
//! - **Latest values** (read marks, states): [`Bus::put_latest`], [`Bus::latest`]. Durable; the newest value wins.
//! - **Compaction**: [`Bus::compact`] replaces old events with a snapshot, [`Bus::forget`] drops events older than a
//!   time.
//! - **Volatile** (typing): [`Bus::publish`], [`Bus::listen`]. Never stored; a slow listener misses some messages.
//!
//! A subscription delivers no events. It wakes the subscriber, which asks for the events after its own offset. So there
//! is no queue that could overflow, a spurious wake costs nothing, and a slow follower gets larger pages. The newest
//! events are kept in memory for as long as the log has subscribers, so that a follower that has everything before them
//! reads nothing from the storage.
//!
//! ```no_run
//! # async fn example(bus: wirewise::bus::SharedBus) -> Result<(), wirewise::bus::BusError> {
//! use wirewise::bus::{Follower, NewEvent};
//! let stored = bus.append(NewEvent::new("chat/lobby", uuid::Uuid::now_v7(), "hello")).await?;
//! let mut follower = Follower::new(bus.clone(), "chat/lobby", stored.event.offset - 1);
//! let events = follower.next(100).await?; // waits until there is one
//! # Ok(()) }
//! ```

pub mod announcement;
pub mod carrier;
mod cluster;
pub mod embedded;
mod event;
mod fan_out;
pub mod nats;
mod recent;
#[cfg(test)]
#[allow(clippy::expect_used, reason = "in a test it is an assertion")]
pub mod test_node;
#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
pub mod words;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};
use uuid::Uuid;

use self::recent::Recent;
pub use self::{
    cluster::{ANSWERS_WITHIN, Departures, Lease, Ownership, Question, Questions, SILENT_AFTER},
    event::Event,
};
use realtime::position::Epoch;

pub use realtime::server::channel::Head;

/// The handle to the bus that features hold.
pub type SharedBus = Arc<dyn Bus>;
/// The answer of the bus. It borrows nothing, and dropping it does not cancel the operation.
pub type Answer<T> = BoxFuture<'static, Result<T, BusError>>;

/// Most bytes that one read returns, unless a single event is larger.
pub const READ_BYTES: usize = 256 * 1024;

/// Storage and fan-out behind one interface. Offsets increase within a log and begin above zero; callers must not
/// assume steps of one.
pub trait Bus: Send + Sync {
    /// Identifies this server among those that share the bus. `None`: no other server writes to the logs, or hears what is
    /// announced.
    fn node(&self) -> Option<Uuid> {
        None
    }

    /// Identifies the history that all offsets belong to. A new store and every restore from a backup get a new epoch.
    fn epoch(&self) -> Epoch;

    /// Stores an event at the end of its log. It is on disk when the answer arrives. Events are stored in the order of
    /// the calls. If the log already holds the id, nothing is stored, and the answer is the event as it was stored
    /// before.
    fn append(&self, event: NewEvent) -> Answer<Appended>;

    /// Waits until this server has read its log up to an offset that another one has handed out.
    /// [`BusError::Unavailable`] if that takes too long. Returns at once for an offset that does not exist, and on a bus of
    /// one process.
    fn reach(&self, _offset: u64) -> Answer<()> {
        Box::pin(async { Ok(()) })
    }

    /// Waits until this server has all latest values that any server had stored before the call. As [`Bus::reach`]
    /// otherwise.
    fn reach_latest(&self) -> Answer<()> {
        Box::pin(async { Ok(()) })
    }

    /// The range of offsets that a log holds. An unknown name is an empty log.
    fn head(&self, log: &str) -> Answer<Head>;

    /// Up to `limit` events after an offset, oldest first. [`BusError::Forgotten`] if some of them are no longer held.
    fn read(&self, log: &str, after: u64, limit: usize) -> Answer<Page>;

    /// Up to `limit` events before an offset, newest first.
    fn read_before(&self, log: &str, before: u64, limit: usize) -> Answer<Page>;

    /// The number of events that a log holds after one offset and up to another, without those of the author `except`.
    fn count(&self, log: &str, after: u64, upto: u64, except: Option<Uuid>) -> Answer<u64>;

    /// Events in which all words of a text occur (`words.rs` defines a word), newest first. Any text is valid; there is
    /// no query syntax. The index is written after the events, so the newest ones are found about a tenth of a second
    /// later. [`BusError::TimedOut`] if the search takes too long.
    fn search(&self, log: &str, text: &str, limit: usize) -> Answer<Page>;

    /// Up to `limit` logs whose names begin with `prefix`, the most recently written first.
    fn logs(&self, prefix: &str, limit: usize) -> Answer<Vec<LogSummary>>;

    /// Replaces all events up to `upto` with a snapshot, if the log's head is still `expected_head`, at which the
    /// snapshot was made ([`BusError::HeadMoved`] otherwise).
    fn compact(&self, log: &str, upto: u64, snapshot: Bytes, expected_head: u64) -> Answer<()>;

    /// The newest snapshot of a log and the offset that it covers.
    fn snapshot(&self, log: &str) -> Answer<Option<Snapshot>>;

    /// Drops some of a log's oldest events that were stored before a time (Unix milliseconds). Returns how many; 0 if
    /// none is left.
    fn forget(&self, log: &str, before: u64) -> Answer<u64>;

    /// Stores the newest value of a key; an empty value removes the key.
    fn put_latest(&self, key: &str, value: Bytes) -> Answer<()>;

    /// All keys that begin with `prefix` and their values, sorted by key.
    fn latest(&self, prefix: &str) -> Answer<Vec<(String, Bytes)>>;

    /// The latest values that are changed from now on, each once it is stored here: on a bus of several nodes those that
    /// any of them changes. A bus of one process reports none, because its callers know what they changed.
    fn changes(&self) -> Changes {
        Changes::default()
    }

    /// Claims a key. True for the first caller of all nodes within [`CLAIM_LIFETIME`], false for every other.
    fn claim(&self, key: &str) -> Answer<bool>;

    /// Competes for a key among all nodes for as long as the lease is held: one node at a time owns it. Without other
    /// nodes the caller owns it at once.
    fn lease(&self, _key: &str) -> Lease {
        Lease::owned()
    }

    /// The nodes that left from now on: each has said so, or was silent for [`SILENT_AFTER`]. A bus of one process reports
    /// none.
    fn departures(&self) -> Departures {
        Departures::default()
    }

    /// Whether a node was heard within [`SILENT_AFTER`].
    fn is_present(&self, node: Uuid) -> bool {
        self.node() == Some(node)
    }

    /// Asks the other nodes, and returns the first answer. `None` if none of them answers within [`ANSWERS_WITHIN`], as
    /// on a bus of one process.
    fn ask(&self, _subject: &str, _question: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(async { None })
    }

    /// Receives what other nodes ask about a subject, until it is dropped.
    fn questions(&self, _subject: &str) -> Questions {
        Questions::default()
    }

    /// Wakes the subscriber after each commit to a log. Subscribe before reading, so that no commit is missed in
    /// between.
    fn subscribe(&self, log: &str) -> Wakes;

    /// Sends a message to all listeners of a subject; it is not stored.
    fn publish(&self, subject: &str, bytes: Bytes);

    /// As [`Bus::publish`], to the listeners of other nodes alone. A bus of one process has none.
    fn announce(&self, _subject: &str, _bytes: Bytes) {}

    /// Receives what is published to a subject from now on.
    fn listen(&self, subject: &str) -> Volatile;

    /// The current health of the storage, and its changes.
    fn health(&self) -> watch::Receiver<Health>;

    /// Stores the queued writes, refuses later ones, and releases the storage.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Whether the storage accepts writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// The last commit succeeded, or nothing was written yet.
    #[default]
    Well,
    /// The last commit failed, with the reason.
    Refused(String),
    /// The writer has panicked; nothing more is stored.
    Broken,
    /// The log cannot be reached: writes are refused, and reads are answered from the replica of this node.
    Away { since: Instant },
    /// The replica of this node lacks events that the log held at this moment.
    Behind { since: Instant },
    /// The log has another history by now: its epoch is another one, and the bus has to be opened again.
    Renewed,
}

/// Why an operation of the bus failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// May succeed later: keep the data and try again.
    #[error("the storage is away: {0}")]
    Unavailable(String),
    /// The server shuts down; for a client it is the same as an unavailable storage.
    #[error("the storage is closed")]
    Closed,
    #[error("events up to offset {floor} are no longer held")]
    Forgotten { floor: u64 },
    #[error("the head of the log is {head} by now")]
    HeadMoved { head: u64 },
    /// The write itself is invalid: the same write would be refused again.
    #[error("the storage does not take this: {0}")]
    Refused(String),
    #[error("the search took longer than it may")]
    TimedOut,
}

/// An event to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub log: String,
    /// Created by the caller and reused until the event is stored, so that a retry stores nothing twice. Any id is
    /// valid; time-ordered ids (`Uuid::now_v7`) are stored about twice as fast as random ones.
    pub id: Uuid,
    pub bytes: Bytes,
    /// The author of the event, for [`Bus::count`].
    pub author: Option<Uuid>,
}

/// Selects the events that [`Bus::search`] finds.
#[derive(Clone, Copy, Debug)]
pub struct Searchable {
    /// Only logs whose names begin with this prefix are searched.
    pub prefix: &'static str,
    /// The text of an event; `None` if it has none.
    pub text: fn(&[u8]) -> Option<String>,
}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub event: Event,
    /// False if the log already held the id.
    pub new: bool,
}

/// One page of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<Event>,
    /// Whether there are more events in the direction of the read.
    pub more: bool,
}

/// A log in the result of [`Bus::logs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    pub log: String,
    pub head: u64,
}

/// A snapshot that replaces all events up to `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub offset: u64,
    pub bytes: Bytes,
}

/// How long a claim counts.
pub const CLAIM_LIFETIME: Duration = Duration::from_secs(30);

/// The changes of latest values ([`Bus::changes`]).
#[derive(Debug, Default)]
pub struct Changes(Option<broadcast::Receiver<(String, Bytes)>>);

/// A change of a latest value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The value of a key; empty if it was removed.
    Value { key: String, value: Bytes },
    /// This reader was too slow for some changes: read all values again.
    Missed,
}

/// A subscription that is woken when a log has grown.
#[derive(Clone, Debug)]
pub struct Wakes(watch::Receiver<Recent>);

/// A listener that receives the messages published to a subject.
#[derive(Debug)]
pub struct Volatile(broadcast::Receiver<Bytes>);

/// Reads a log from an offset on: stored events first, then new ones, each event once and in order.
pub struct Follower {
    bus: SharedBus,
    log: String,
    after: u64,
    wakes: Wakes,
}

impl NewEvent {
    pub fn new(log: impl Into<String>, id: Uuid, bytes: impl Into<Bytes>) -> Self {
        Self {
            log: log.into(),
            id,
            bytes: bytes.into(),
            author: None,
        }
    }

    pub fn by(mut self, author: Uuid) -> Self {
        self.author = Some(author);
        self
    }
}

impl Wakes {
    /// Resolves when the log has events after an offset that were committed since the subscription.
    pub async fn past(&mut self, offset: u64) -> Result<(), BusError> {
        match self.0.wait_for(|recent| recent.head() > offset).await {
            Ok(_) => Ok(()),
            Err(_) => Err(BusError::Closed),
        }
    }

    /// Up to `limit` events after an offset, oldest first; none if there are none. `None` if that is not known without a
    /// read, because no commit since the subscription or not all events after the offset are kept.
    fn after(&self, offset: u64, limit: usize) -> Option<Vec<Event>> {
        self.0.borrow().after(offset, limit)
    }
}

impl Changes {
    fn of(changes: broadcast::Receiver<(String, Bytes)>) -> Self {
        Self(Some(changes))
    }

    /// The next change; `None` once the bus is closed, and at once on a bus of one process.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.as_mut()?.recv().await {
            Ok((key, value)) => Some(Change::Value { key, value }),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change::Missed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Volatile {
    /// The next message; `None` once the bus is closed. Messages for which this listener was too slow are skipped.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.0.recv().await {
                Ok(bytes) => return Some(bytes),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Follower {
    /// Creates a follower that begins after an offset.
    pub fn new(bus: SharedBus, log: &str, after: u64) -> Self {
        // Subscribed before the first read, otherwise a commit between the two would not wake this follower.
        let wakes = bus.subscribe(log);
        Self {
            bus,
            log: log.to_owned(),
            after,
            wakes,
        }
    }

    /// Up to `limit` next events; waits until there is at least one. Safe to cancel.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<Event>, BusError> {
        loop {
            let events = match self.wakes.after(self.after, limit) {
                Some(events) => events,
                None => self.bus.read(&self.log, self.after, limit).await?.events,
            };
            if let Some(last) = events.last() {
                self.after = last.offset;
                return Ok(events);
            }
            self.wakes.past(self.after).await?;
        }
    }
}
