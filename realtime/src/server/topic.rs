//! A topic: a bounded history ring, an epoch, an increasing offset, and readers that each hold only a cursor.
//!
//! An event is encoded once; the ring and all readers share its bytes. A reader *pulls*: whenever its connection can
//! accept more, it requests the events after its cursor. So replay and live delivery are the same read, and no event
//! can be lost between them. A stalled reader costs only its cursor, however many events it has missed.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::sync::watch;

use super::frame::frame;
use crate::position::{Epoch, Position};

/// A client that missed more events than this gets the state instead: a longer replay takes longer than starting anew.
pub const REPLAY_CAP: usize = 1_000;

/// Which events are delivered to a reader that cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Every event. If the ring no longer holds a reader's next event, the reader is ended; the client resumes or
    /// starts anew.
    EveryEvent,
    /// The newest event of each key, in ascending offset order.
    LatestPerKey,
}

/// A published history and its readers. Cheap to clone; all clones share one topic.
pub struct Topic<K>(Arc<SharedTopic<K>>);

impl<K> Clone for Topic<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct SharedTopic<K> {
    epoch: Epoch,
    delivery: Delivery,
    capacity: usize,
    /// A std mutex: it is held for a few pushes or clones and never across an await.
    history: Mutex<History<K>>,
    /// Wakes the readers. tokio shards the waiters, so that waking them does not contend for one lock.
    woken: watch::Sender<()>,
    connections: Arc<AtomicUsize>,
}

struct History<K> {
    head: u64,
    ended: bool,
    ring: VecDeque<Entry<K>>,
    /// The newest event of each key by offset; only for [`Delivery::LatestPerKey`].
    latest: BTreeMap<u64, Entry<K>>,
    latest_of: HashMap<K, u64>,
}

#[derive(Clone)]
struct Entry<K> {
    offset: u64,
    key: K,
    frame: Bytes,
}

/// Selects the events of a reader by key.
pub type Filter<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// The result of a resume.
pub enum Opening<K> {
    /// Every event after the client's position is still held; `replayed` selected events follow, oldest first.
    Recovered { reader: Reader<K>, replayed: usize },
    /// The client must start from a state that the feature sends; see [`Topic::read_from`].
    Fresh(Filter<K>),
}

/// One reader of a topic.
pub struct Reader<K> {
    topic: Topic<K>,
    filter: Filter<K>,
    /// Keys whose state the client got when this reader began. Events for these keys up to `began` are covered by that
    /// state and are skipped.
    stated: Filter<K>,
    woken: watch::Receiver<()>,
    /// The head when this reader began. Every event up to here is replayed while the ring holds it.
    began: u64,
    /// Every event up to here was delivered or filtered out.
    cursor: u64,
    /// The offset of the last event delivered, or where the reader began.
    written: u64,
}

/// The pending events of a reader.
#[derive(Debug, PartialEq, Eq)]
pub enum Pending {
    /// Encoded events in order, joined for one write.
    Events(Bytes),
    Nothing,
    /// The ring no longer holds the reader's next event. End the connection; the client reconnects and gets what is
    /// still available.
    Lagged,
    /// The topic has ended, and every event was delivered.
    Ended,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Topic<K> {
    /// A topic whose ring holds `capacity` events.
    pub fn new(delivery: Delivery, capacity: usize) -> Self {
        Self::after(delivery, capacity, Position::new(Epoch::random(), 0))
    }

    /// A topic that continues a history after `position`. It holds no events up to there; they are kept elsewhere.
    pub fn after(delivery: Delivery, capacity: usize, position: Position) -> Self {
        Self(Arc::new(SharedTopic {
            epoch: position.epoch,
            delivery,
            capacity: capacity.max(1),
            history: Mutex::new(History {
                head: position.offset,
                ended: false,
                ring: VecDeque::new(),
                latest: BTreeMap::new(),
                latest_of: HashMap::new(),
            }),
            woken: watch::Sender::new(()),
            connections: Arc::default(),
        }))
    }

    /// The position of the newest event; offset 0 before the first.
    pub fn head(&self) -> Position {
        Position::new(self.0.epoch.clone(), self.history().head)
    }

    /// The head, if [`Topic::end`] was called.
    pub fn end_position(&self) -> Option<Position> {
        let history = self.history();
        history
            .ended
            .then(|| Position::new(self.0.epoch.clone(), history.head))
    }

    /// The counter of open connections; it exists as long as any reader.
    pub fn connections(&self) -> &Arc<AtomicUsize> {
        &self.0.connections
    }

    pub fn connection_count(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Publishes one event; see [`Topic::publish_all`].
    pub fn publish(&self, key: K, event: &impl Serialize) -> Position {
        self.publish_all([(key, event)])
    }

    /// Publishes events in order with one wake-up for all of them. Returns the position of the last. After
    /// [`Topic::end`] nothing more is published.
    pub fn publish_all<E: Serialize>(&self, events: impl IntoIterator<Item = (K, E)>) -> Position {
        let position = {
            let mut history = self.history();
            for (key, event) in events {
                if history.ended {
                    break;
                }
                history.head += 1;
                let position = Position::new(self.0.epoch.clone(), history.head);
                let frame = frame(Some(&position), &event);
                history.push(
                    Entry {
                        offset: position.offset,
                        key,
                        frame,
                    },
                    self.0.delivery,
                    self.0.capacity,
                );
            }
            Position::new(self.0.epoch.clone(), history.head)
        };
        self.0.woken.send_replace(());
        position
    }

    /// Ends the topic: readers get the remaining events and end.
    pub fn end(&self) {
        self.history().ended = true;
        self.0.woken.send_replace(());
    }

    /// Begins a reader for a client at position `after`. The client is recovered if the epoch is this topic's, the
    /// offset is not in the future, every event after it is still in the ring, and at most [`REPLAY_CAP`] selected
    /// events were missed.
    pub fn resume(
        &self,
        after: Option<&Position>,
        filter: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Opening<K> {
        self.resume_beside_state(after, filter, |_| false)
    }

    /// Like [`Topic::resume`], for a client that also gets the state of the `stated` keys as of the head. Events for
    /// these keys up to the head are neither replayed nor counted. Nothing may be published until that state has been
    /// read.
    pub fn resume_beside_state(
        &self,
        after: Option<&Position>,
        filter: impl Fn(&K) -> bool + Send + Sync + 'static,
        stated: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Opening<K> {
        let filter: Filter<K> = Box::new(filter);
        let Some(after) = after.filter(|after| after.epoch == self.0.epoch) else {
            return Opening::Fresh(filter);
        };
        let history = self.history();
        if after.offset > history.head || !history.holds_all_after(after.offset) {
            return Opening::Fresh(filter);
        }
        let missed = history.after(after.offset);
        let missed = missed.filter(|entry| filter(&entry.key) && !stated(&entry.key));
        let replayed = missed.take(REPLAY_CAP + 1).count();
        if replayed > REPLAY_CAP {
            return Opening::Fresh(filter);
        }
        let reader = Reader {
            topic: self.clone(),
            filter,
            stated: Box::new(stated),
            woken: self.0.woken.subscribe(),
            began: history.head,
            cursor: after.offset,
            written: after.offset,
        };
        Opening::Recovered { reader, replayed }
    }

    /// Begins a reader right after `offset`, the offset of the state that the client gets first. Read the offset before
    /// the state: an event between the two is then delivered a second time at worst, and never lost.
    pub fn read_from(&self, offset: u64, filter: Filter<K>) -> Reader<K> {
        Reader {
            topic: self.clone(),
            filter,
            stated: Box::new(|_| false),
            woken: self.0.woken.subscribe(),
            began: offset,
            cursor: offset,
            written: offset,
        }
    }

    /// A poisoned lock is used all the same: the ring is consistent both before and after a push.
    fn history(&self) -> MutexGuard<'_, History<K>> {
        self.0
            .history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> History<K> {
    fn push(&mut self, entry: Entry<K>, delivery: Delivery, capacity: usize) {
        if delivery == Delivery::LatestPerKey {
            if let Some(older) = self.latest_of.insert(entry.key.clone(), entry.offset) {
                self.latest.remove(&older);
            }
            self.latest.insert(entry.offset, entry.clone());
        }
        self.ring.push_back(entry);
        if self.ring.len() > capacity {
            self.ring.pop_front();
        }
    }

    fn holds_all_after(&self, offset: u64) -> bool {
        match self.ring.front() {
            Some(oldest) => oldest.offset <= offset + 1,
            None => offset == self.head,
        }
    }

    fn after(&self, offset: u64) -> impl Iterator<Item = &Entry<K>> {
        // The offsets in the ring are consecutive, so the index is a subtraction.
        let first = self.ring.front().map_or(0, |oldest| oldest.offset);
        self.ring
            .iter()
            .skip((offset + 1).saturating_sub(first) as usize)
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Reader<K> {
    /// Takes pending events, up to about `budget` bytes (at least one event).
    pub fn take(&mut self, budget: usize) -> Pending {
        // Marked as seen before the history is read, so that an event published meanwhile wakes this reader again.
        self.woken.borrow_and_update();
        let mut batch = Batch {
            frames: vec![],
            bytes: 0,
            budget,
        };
        let topic = self.topic.clone();
        let history = topic.history();
        let conflates = topic.0.delivery == Delivery::LatestPerKey;
        let holds_all = history.holds_all_after(self.cursor);
        if !conflates && !holds_all {
            return Pending::Lagged;
        }
        if self.cursor < self.began && holds_all {
            let missed = history.after(self.cursor);
            let until = self.began;
            self.take_from(missed.take_while(|entry| entry.offset <= until), &mut batch);
            if !batch.is_full() {
                self.cursor = until;
            }
        }
        // A reader that is too slow even for the replay gets the newest event of each key instead.
        if !batch.is_full() && conflates {
            let newest = history.latest.range(self.cursor + 1..);
            self.take_from(newest.map(|(_, entry)| entry), &mut batch);
        } else if !batch.is_full() {
            self.take_from(history.after(self.cursor), &mut batch);
        }
        if !batch.is_full() {
            self.cursor = history.head;
            if batch.frames.is_empty() && history.ended {
                return Pending::Ended;
            }
        }
        batch.into_pending()
    }

    fn take_from<'a>(&mut self, entries: impl Iterator<Item = &'a Entry<K>>, batch: &mut Batch)
    where
        K: 'a,
    {
        for entry in entries {
            self.cursor = entry.offset;
            if self.wants(entry) {
                self.written = entry.offset;
                if batch.add(entry.frame.clone()) {
                    return;
                }
            }
        }
    }

    fn wants(&self, entry: &Entry<K>) -> bool {
        let covered = entry.offset <= self.began && (self.stated)(&entry.key);
        !covered && (self.filter)(&entry.key)
    }

    /// Resolves when something may have been published since the last [`Reader::take`].
    pub async fn changed(&mut self) {
        // The topic that this reader holds owns the sender, so the sender cannot be dropped.
        let _ = self.woken.changed().await;
    }

    /// The position for a heartbeat, which the caller then writes. If no selected event is pending, it is the head, so
    /// that a quiet or filtered stream can still be resumed. Otherwise it is the last position written, since a
    /// client's id covers every event before it.
    pub fn position(&mut self) -> Position {
        let topic = self.topic.clone();
        let history = topic.history();
        // If a missed event is no longer in the ring, then the newest event of its key is pending, or later events are.
        let pending = match self.topic.0.delivery {
            Delivery::LatestPerKey => history
                .latest
                .range(self.cursor + 1..)
                .any(|(_, entry)| self.wants(entry)),
            Delivery::EveryEvent => {
                !history.holds_all_after(self.cursor)
                    || history.after(self.cursor).any(|entry| self.wants(entry))
            }
        };
        if !pending {
            // Stored, otherwise the next heartbeat would carry an older position as soon as an event is pending.
            self.cursor = history.head;
            self.written = history.head;
        }
        self.written()
    }

    /// The position of the last event delivered; before the first, where the reader began.
    pub fn written(&self) -> Position {
        Position::new(self.topic.0.epoch.clone(), self.written)
    }
}

/// Frames collected for one write.
struct Batch {
    frames: Vec<Bytes>,
    bytes: usize,
    budget: usize,
}

impl Batch {
    /// Adds a frame. Returns whether the budget is used up.
    fn add(&mut self, frame: Bytes) -> bool {
        self.bytes += frame.len();
        self.frames.push(frame);
        self.is_full()
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.budget
    }

    /// A single frame is passed on without a copy; several are joined, because one chunk and one write are cheaper than
    /// many.
    fn into_pending(mut self) -> Pending {
        match self.frames.len() {
            0 => Pending::Nothing,
            1 => Pending::Events(self.frames.remove(0)),
            _ => {
                let mut joined = BytesMut::with_capacity(self.bytes);
                self.frames
                    .iter()
                    .for_each(|frame| joined.extend_from_slice(frame));
                Pending::Events(joined.freeze())
            }
        }
    }
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
