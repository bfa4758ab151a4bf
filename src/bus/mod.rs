//! The bus: what is appended to a log is on disk before its sender hears so, and whoever follows the log hears of it after.
//!
//! Four things, and each feature picks what its data is worth:
//!
//! - **Logs** (messages of a room, updates of a document, events of a job): [`Bus::append`], then [`Bus::read`] by offset or
//!   [`Follower`] for what is there and what comes. Durable, in one order, exactly once by the id that the client made.
//! - **Latest values** (read marks, states): [`Bus::put_latest`], [`Bus::latest`]. Durable, the newest one wins.
//! - **Compaction**: [`Bus::compact`] puts a snapshot in the place of old events, [`Bus::forget`] drops those of an age.
//! - **Volatile** (somebody types): [`Bus::publish`], [`Bus::listen`]. Never stored; a slow listener misses some.
//!
//! A subscription delivers no events. It wakes, and the woken one reads the log from where it stands: there is no queue that
//! could overflow, a wake too many costs nothing, what was missed and what is new come the same way, and a follower that is
//! slow reads larger pages. The read is answered from the page cache, once for all members of a room.
//!
//! ```no_run
//! # async fn example(bus: wirewise::bus::SharedBus) -> Result<(), wirewise::bus::BusError> {
//! use wirewise::bus::{Follower, NewEvent};
//! let stored = bus.append(NewEvent::new("chat/lobby", uuid::Uuid::now_v7(), "hello")).await?;
//! let mut follower = Follower::new(bus.clone(), "chat/lobby", stored.event.offset - 1);
//! let events = follower.next(100).await?; // waits until there is one
//! # Ok(()) }
//! ```

pub mod embedded;
mod fan_out;
#[cfg(test)]
mod tests;
pub mod words;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use realtime::position::{Epoch, Position};

/// What features hold.
pub type SharedBus = Arc<dyn Bus>;
/// The answer of the bus. It borrows nothing, and what was asked goes on when it is dropped.
pub type Answer<T> = BoxFuture<'static, Result<T, BusError>>;

/// One read returns no more bytes than this, unless a single event is larger.
pub const READ_BYTES: usize = 256 * 1024;

/// Storage and fan-out behind one face. Offsets grow within a log and begin above zero; nobody assumes steps of one.
pub trait Bus: Send + Sync {
    /// Names the history that all offsets belong to: new with a new store, and with every restore from a backup.
    fn epoch(&self) -> Epoch;

    /// Stores an event at the end of its log. The answer means: on disk. Calls are stored in the order in which they were
    /// made. An id that the log holds already is not stored again: the answer is what it was stored as.
    fn append(&self, event: NewEvent) -> Answer<Appended>;

    /// What a log holds. An unknown name is a log that holds nothing.
    fn head(&self, log: &str) -> Answer<Head>;

    /// Up to `limit` events after an offset, oldest first. [`BusError::Forgotten`] when not all of them are held any more.
    fn read(&self, log: &str, after: u64, limit: usize) -> Answer<Page>;

    /// Up to `limit` events before an offset, newest first.
    fn read_before(&self, log: &str, before: u64, limit: usize) -> Answer<Page>;

    /// How many events a log holds after one offset and up to another, but for those of one author.
    fn count(&self, log: &str, after: u64, upto: u64, except: Option<Uuid>) -> Answer<u64>;

    /// Events in which all words of a text occur (`words.rs` says what is a word), newest first. Any text will do; it is no
    /// query language. The index is written after the events: the newest are found about a tenth of a second later.
    /// [`BusError::TimedOut`] when the search takes too long.
    fn search(&self, log: &str, text: &str, limit: usize) -> Answer<Page>;

    /// Up to `limit` logs whose names begin with `prefix`, the lately written first.
    fn logs(&self, prefix: &str, limit: usize) -> Answer<Vec<LogSummary>>;

    /// Puts a snapshot in the place of all events up to `upto`, if the log's head is still the one the snapshot was made at
    /// ([`BusError::HeadMoved`] otherwise).
    fn compact(&self, log: &str, upto: u64, snapshot: Bytes, expected_head: u64) -> Answer<()>;

    /// The newest snapshot of a log and the offset that it covers.
    fn snapshot(&self, log: &str) -> Answer<Option<Snapshot>>;

    /// Drops some of a log's oldest events that were stored before a time (Unix milliseconds). Says how many; 0 when none
    /// is left.
    fn forget(&self, log: &str, before: u64) -> Answer<u64>;

    /// Stores the newest value of a key; an empty value removes the key.
    fn put_latest(&self, key: &str, value: Bytes) -> Answer<()>;

    /// All keys that begin with `prefix` and their values, by key.
    fn latest(&self, prefix: &str) -> Answer<Vec<(String, Bytes)>>;

    /// Wakes after each commit to a log. Subscribe first, then read, and nothing lies between the two.
    fn subscribe(&self, log: &str) -> Wakes;

    /// Tells all listeners of a subject; stored nowhere.
    fn publish(&self, subject: &str, bytes: Bytes);

    /// Hears what is published from now on.
    fn listen(&self, subject: &str) -> Volatile;

    /// How the storage takes writes, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;

    /// Writes what waits, refuses what comes later, and lets go of the storage.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// How the storage takes writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// The last write was stored, or none was asked for yet.
    #[default]
    Well,
    /// The last write was refused, and why.
    Refused(String),
    /// The writer panicked: nothing is stored any more.
    Broken,
}

/// Why the bus did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// May succeed later: keep what you have and try again.
    #[error("the storage is away: {0}")]
    Unavailable(String),
    /// The server leaves; to a client that is the same as being away.
    #[error("the storage is closed")]
    Closed,
    #[error("events up to offset {floor} are no longer held")]
    Forgotten { floor: u64 },
    #[error("the head of the log is {head} by now")]
    HeadMoved { head: u64 },
    /// The write itself is at fault: the same one again is refused again.
    #[error("the storage does not take this: {0}")]
    Refused(String),
    #[error("the search took longer than it may")]
    TimedOut,
}

/// What is to be appended.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub log: String,
    /// Made by whoever wants the event stored, and kept until it is: it makes a second try harmless. Any id will do; those in
    /// the order of time (`Uuid::now_v7`) are stored about twice as fast as random ones.
    pub id: Uuid,
    pub bytes: Bytes,
    /// Whose event it is, for [`Bus::count`].
    pub author: Option<Uuid>,
}

/// What [`Bus::search`] finds.
#[derive(Clone, Copy, Debug)]
pub struct Searchable {
    /// Events of the logs whose names begin with this.
    pub prefix: &'static str,
    /// The text of an event; `None` where it has none.
    pub text: fn(&[u8]) -> Option<String>,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub offset: u64,
    pub id: Uuid,
    /// Unix milliseconds; never falls within a log.
    pub at: u64,
    pub bytes: Bytes,
}

/// What an append came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub event: Event,
    /// False when the log held the id already.
    pub new: bool,
}

/// What a log holds: everything after `floor`, up to `head`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub floor: u64,
    pub head: u64,
}

/// A piece of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<Event>,
    /// There were others in the direction of the read.
    pub more: bool,
}

/// A log in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    pub log: String,
    pub head: u64,
}

/// What stands for all events up to `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub offset: u64,
    pub bytes: Bytes,
}

/// Resolves when a log has grown.
#[derive(Clone, Debug)]
pub struct Wakes(watch::Receiver<u64>);

/// What is published to a subject.
#[derive(Debug)]
pub struct Volatile(broadcast::Receiver<Bytes>);

/// Reads a log from an offset on: what is there, then what comes, each event once and in order.
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

impl Head {
    /// Whether everything after a position is held.
    pub fn continues(&self, epoch: &Epoch, position: &Position) -> bool {
        position.epoch == *epoch && (self.floor..=self.head).contains(&position.offset)
    }
}

impl Wakes {
    /// Resolves when the log has events after an offset that were committed since the subscription.
    pub async fn past(&mut self, offset: u64) -> Result<(), BusError> {
        match self.0.wait_for(|head| *head > offset).await {
            Ok(_) => Ok(()),
            Err(_) => Err(BusError::Closed),
        }
    }
}

impl Volatile {
    /// The next one; `None` when the bus is closed. Those that this listener was too slow for are skipped.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.0.recv().await {
                Ok(bytes) => return Some(bytes),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Those that are here already.
    pub fn waiting(&mut self) -> Vec<Bytes> {
        let count = self.0.len();
        (0..count).filter_map(|_| self.0.try_recv().ok()).collect()
    }
}

impl Follower {
    /// Begins after an offset.
    pub fn new(bus: SharedBus, log: &str, after: u64) -> Self {
        // Before the first read, or what is committed between the two would wake nobody.
        let wakes = bus.subscribe(log);
        Self {
            bus,
            log: log.to_owned(),
            after,
            wakes,
        }
    }

    /// Up to `limit` next events, at least one: waits for it. Safe to cancel.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<Event>, BusError> {
        loop {
            let page = self.bus.read(&self.log, self.after, limit).await?;
            if let Some(last) = page.events.last() {
                self.after = last.offset;
                return Ok(page.events);
            }
            self.wakes.past(self.after).await?;
        }
    }
}
