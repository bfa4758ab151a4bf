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
    bus::{BusError, Event, NewEvent, SharedBus},
    collab::protocol::{self, Message},
};

/// The prefix of the log names of all documents.
const PREFIX: &str = "collab/";
/// The bytes of snapshots that one update may cost.
const SNAPSHOT_SHARE: usize = 1024;
/// The number of events read at once.
const PAGE: usize = 256;

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

/// A document as it was stored.
pub struct Loaded {
    pub document: Document,
    /// The growth of the log since its last snapshot.
    pub growth: Growth,
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

impl Loaded {
    fn make(
        snapshot: Option<&[u8]>,
        events: &[Event],
        unsaved: &[Bytes],
    ) -> Result<Self, LoadError> {
        let (mut document, mut growth) = (Document::default(), Growth::default());
        if let Some(snapshot) = snapshot {
            restore(&mut document, snapshot)?;
        }
        for event in events {
            for message in protocol::decode(&event.bytes) {
                let Ok(Message::Update(update)) = message else {
                    let words = format!("event {} is no update", event.offset);
                    return Err(LoadError::Damaged(words));
                };
                restore(&mut document, update)?;
                growth.add(update.len());
            }
        }
        for update in unsaved {
            restore(&mut document, update)?;
        }
        Ok(Self { document, growth })
    }
}

impl Store {
    pub fn new(bus: SharedBus, document: &str) -> Self {
        let log = format!("{PREFIX}{document}").into();
        Self { bus, log }
    }

    /// Whether nothing was ever written.
    pub async fn is_empty(&self) -> Result<bool, BusError> {
        Ok(self.bus.head(&self.log).await?.head == 0)
    }

    /// Builds the document from its snapshot, the events after it, and updates that are not stored yet.
    pub async fn load(&self, unsaved: Vec<Bytes>) -> Result<Loaded, LoadError> {
        let snapshot = self.bus.snapshot(&self.log).await?;
        let mut after = snapshot.as_ref().map_or(0, |snapshot| snapshot.offset);
        let mut events = vec![];
        loop {
            let page = self.bus.read(&self.log, after, PAGE).await?;
            events.extend(page.events);
            after = events.last().map_or(after, |event| event.offset);
            if !page.more {
                break;
            }
        }
        let snapshot = snapshot.map(|snapshot| snapshot.bytes);
        let bytes = events.iter().map(|event| event.bytes.len()).sum::<usize>()
            + snapshot.as_ref().map_or(0, |snapshot| snapshot.len())
            + unsaved.iter().map(Bytes::len).sum::<usize>();
        let make = move || Loaded::make(snapshot.as_deref(), &events, &unsaved);
        if bytes <= INLINE_BYTES {
            return make();
        }
        let made = tokio::task::spawn_blocking(make).await;
        made.unwrap_or_else(|error| Err(LoadError::Damaged(error.to_string())))
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

fn restore(document: &mut Document, update: &[u8]) -> Result<(), LoadError> {
    let damaged = |refusal: Refusal| LoadError::Damaged(refusal.to_string());
    document.restore(update).map_err(damaged)
}
