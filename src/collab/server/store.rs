//! A document's log on the bus: verified updates, and from time to time a snapshot that replaces the older ones.
//!
//! An event holds the updates gathered for one write, each as the y-websocket message `Update`.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{
    document::{Document, Refusal},
    offload::INLINE_BYTES,
};
use crate::{
    bus::{BusError, Event, Follower, Head, NewEvent, SharedBus, Snapshot},
    collab::protocol::{self, Clocks, Message},
};

/// The prefix of the log names of all documents.
const PREFIX: &str = "collab/";
/// The bytes of snapshots that one update may cost.
const SNAPSHOT_SHARE: usize = 1024;
/// The number of events read at once.
pub const PAGE: usize = 256;
/// How often loading is begun anew because another node compacts the log meanwhile.
const ATTEMPTS: usize = 3;

/// A document's log. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    bus: SharedBus,
    log: Arc<str>,
}

/// Why a document is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("what is stored cannot be read: {0}")]
    Damaged(String),
    #[error("too many documents are open")]
    Crowded,
}

/// A document as it was stored, with the unsaved updates.
pub struct Loaded {
    pub document: Document,
    /// The clocks of what is stored.
    pub stored: Clocks,
    /// The document holds all events up to this offset.
    pub upto: u64,
    /// An event builds on updates that the log does not hold.
    pub is_partial: bool,
    /// The growth of the log since its last snapshot, ...
    pub growth: Growth,
    /// ... which ended at this offset.
    pub floor: u64,
    /// What a peer lacks who has the clocks that the caller named.
    pub lacking: Option<Vec<u8>>,
}

/// The growth of a log since its last snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    pub updates: usize,
    pub bytes: usize,
}

impl Growth {
    /// Whether a snapshot of this many bytes is worth writing. The larger it is, the more updates share its cost.
    pub fn is_large(self, snapshot: usize) -> bool {
        self.updates > 500.max(snapshot / SNAPSHOT_SHARE) || self.bytes > 1024 * 1024
    }

    pub fn add(&mut self, bytes: usize) {
        self.updates += 1;
        self.bytes += bytes;
    }
}

/// What is read to build a document.
struct Parts {
    snapshot: Option<Snapshot>,
    events: Vec<Event>,
    unsaved: Vec<Bytes>,
    /// The state vector of a peer.
    known: Option<Vec<u8>>,
}

impl Parts {
    fn bytes(&self) -> usize {
        let events = self.events.iter().map(|event| event.bytes.len());
        events.sum::<usize>()
            + self
                .snapshot
                .as_ref()
                .map_or(0, |snapshot| snapshot.bytes.len())
            + self.unsaved.iter().map(Bytes::len).sum::<usize>()
    }

    fn build(self) -> Result<Loaded, LoadError> {
        let (mut document, mut growth) = (Document::default(), Growth::default());
        let mut is_partial = false;
        if let Some(snapshot) = &self.snapshot {
            is_partial = document.restore(&snapshot.bytes)?.incomplete;
        }
        for event in &self.events {
            for update in updates(event) {
                let update = update?;
                is_partial |= document.restore(update)?.incomplete;
                growth.add(update.len());
            }
        }
        let stored = document.clocks().clone();
        for update in &self.unsaved {
            document.restore(update)?;
        }
        let known = self.known.as_deref();
        let floor = self.snapshot.map_or(0, |snapshot| snapshot.offset);
        Ok(Loaded {
            lacking: known.map(|known| document.difference(known)).transpose()?,
            document,
            stored,
            upto: self.events.last().map_or(floor, |event| event.offset),
            is_partial,
            growth,
            floor,
        })
    }
}

impl Store {
    pub fn new(bus: SharedBus, document: &str) -> Self {
        let log = format!("{PREFIX}{document}").into();
        Self { bus, log }
    }

    /// Whether nothing was ever written.
    pub async fn is_empty(&self) -> Result<bool, BusError> {
        Ok(self.head().await?.head == 0)
    }

    /// The range of offsets that the log holds.
    pub async fn head(&self) -> Result<Head, BusError> {
        self.bus.head(&self.log).await
    }

    /// The bus that the log is on.
    pub fn bus(&self) -> &SharedBus {
        &self.bus
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        &self.log
    }

    /// Reads the events after an offset.
    pub fn follow(&self, after: u64) -> Follower {
        Follower::new(self.bus.clone(), &self.log, after)
    }

    /// Builds the document from its snapshot, the events after it, and updates that are not stored yet. `known`: the state
    /// vector of a peer who is to be sent what it lacks.
    pub async fn load(
        &self,
        unsaved: Vec<Bytes>,
        known: Option<Vec<u8>>,
    ) -> Result<Loaded, LoadError> {
        let mut attempts = 1;
        let (snapshot, events) = loop {
            match self.read().await {
                Err(BusError::Forgotten { .. }) if attempts < ATTEMPTS => attempts += 1,
                read => break read?,
            }
        };
        let parts = Parts {
            snapshot,
            events,
            unsaved,
            known,
        };
        if parts.bytes() <= INLINE_BYTES {
            return parts.build();
        }
        let built = tokio::task::spawn_blocking(|| parts.build()).await;
        built.unwrap_or_else(|error| Err(LoadError::Damaged(error.to_string())))
    }

    /// The snapshot of the log and the events after it.
    async fn read(&self) -> Result<(Option<Snapshot>, Vec<Event>), BusError> {
        let snapshot = self.bus.snapshot(&self.log).await?;
        let mut after = snapshot.as_ref().map_or(0, |snapshot| snapshot.offset);
        let mut events = vec![];
        loop {
            let page = self.bus.read(&self.log, after, PAGE).await?;
            events.extend(page.events);
            after = events.last().map_or(after, |event| event.offset);
            if !page.more {
                return Ok((snapshot, events));
            }
        }
    }

    /// Appends updates as one event. On success they are on disk. Trying again with the same id is harmless.
    pub async fn append(&self, id: Uuid, updates: &[Bytes]) -> Result<u64, BusError> {
        let messages = updates.iter().map(|update| Message::Update(update));
        let bytes: Vec<u8> = messages.flat_map(|message| message.encode()).collect();
        let event = NewEvent::new(&*self.log, id, bytes);
        Ok(self.bus.append(event).await?.event.offset)
    }

    /// Replaces all events up to `head` with a snapshot, if `head` is still the head.
    pub async fn compact(&self, head: u64, snapshot: Vec<u8>) -> Result<(), BusError> {
        self.bus
            .compact(&self.log, head, snapshot.into(), head)
            .await
    }
}

/// The updates in an event of a document's log.
pub fn updates(event: &Event) -> impl Iterator<Item = Result<&[u8], LoadError>> {
    protocol::decode(&event.bytes).map(|message| match message {
        Ok(Message::Update(update)) => Ok(update),
        _ => {
            let words = format!("event {} is no update", event.offset);
            Err(LoadError::Damaged(words))
        }
    })
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        Self::Damaged(refusal.to_string())
    }
}
