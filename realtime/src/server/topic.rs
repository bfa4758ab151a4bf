//! A topic: a state, a bounded history ring, an epoch, an increasing offset, and readers that each hold only a cursor.
//!
//! The topic owns the state that its events describe. A change of the state and its events are published in one step,
//! and a client that cannot resume gets the state as it is at its first position. So a state that is newer or older than
//! its position cannot be sent.
//!
//! An event is encoded once; the ring and all readers share its bytes. A reader *pulls*: whenever its connection can
//! accept more, it requests the events after its cursor. So replay and live delivery are the same read, and no event
//! can be lost between them. A stalled reader costs only its cursor, however many events it has missed.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::poll_fn,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::{
    frame::frame,
    signal::{Signal, Signals},
};
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

/// A state `S`, the published history of its changes, and the readers. A topic without a state has `S = ()`.
///
/// Every event has a key `K`, by which readers select events and [`Delivery::LatestPerKey`] replaces older ones. A topic
/// whose events need none has `K = ()`. Cheap to clone; all clones share one topic.
pub struct Topic<S, K = ()> {
    /// A std mutex: it is held while a change is made and encoded, or a snapshot is taken, and never across an await.
    /// It is locked before the history, so that the history belongs to the state for as long as it is held.
    state: Arc<Mutex<S>>,
    feed: Arc<Feed<K>>,
}

impl<S, K> Clone for Topic<S, K> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            feed: self.feed.clone(),
        }
    }
}

/// The part of a topic that its readers share. They do not depend on the state.
struct Feed<K> {
    epoch: Epoch,
    delivery: Delivery,
    capacity: usize,
    /// A std mutex: it is held for a few pushes or clones and never across an await.
    history: Mutex<History<K>>,
    /// Wakes the readers.
    readers: Signals,
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

/// Decides by its key whether an event is meant.
pub type Filter<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// The events that a client wants.
pub struct Selection<K> {
    wanted: Filter<K>,
    /// Keys whose state the client gets in any case.
    stated: Option<Filter<K>>,
}

impl<K> Selection<K> {
    /// All events.
    pub fn all() -> Self {
        Self::of(|_| true)
    }

    /// The events whose key `wanted` accepts.
    pub fn of(wanted: impl Fn(&K) -> bool + Send + Sync + 'static) -> Self {
        Self {
            wanted: Box::new(wanted),
            stated: None,
        }
    }

    /// The client gets the state of these keys also where it resumes, because it did not receive them before. Their
    /// events up to the head are neither replayed nor counted.
    pub fn with_state_of(mut self, stated: impl Fn(&K) -> bool + Send + Sync + 'static) -> Self {
        self.stated = Some(Box::new(stated));
        self
    }
}

/// A reader at its first position, and what a client gets before its events.
pub struct Opened<K> {
    /// It begins at the client's position if `recovered` is `Some`, otherwise at the position of the state.
    pub reader: Reader<K>,
    /// `Some(n)`: every event after the client's position is still held, and `n` of them follow, oldest first. `None`: the
    /// client starts from the state.
    pub recovered: Option<usize>,
    /// The encoded events of the snapshot.
    pub state: Vec<Bytes>,
}

/// The events of one change; see [`Topic::change`].
pub struct Events<K, E> {
    head: Position,
    events: Vec<(K, E)>,
    end: bool,
}

impl<K, E> Events<K, E> {
    /// Publishes an event once the change is made. Events are published in the order in which they are pushed.
    pub fn push(&mut self, key: K, event: E) {
        self.head.offset += 1;
        self.events.push((key, event));
    }

    /// Ends the topic after these events; see [`Topic::end`].
    pub fn end(&mut self) {
        self.end = true;
    }

    /// The position of the last event pushed; before the first, the head.
    pub fn position(&self) -> &Position {
        &self.head
    }
}

/// One reader of a topic.
pub struct Reader<K> {
    feed: Arc<Feed<K>>,
    wanted: Filter<K>,
    /// Keys whose state the client got when this reader began. Events for these keys up to `began` are covered by that
    /// state and are skipped.
    stated: Option<Filter<K>>,
    signal: Arc<Signal>,
    /// There may be more to take, although nothing was published since the last time.
    has_more: bool,
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
    /// No event is pending that the reader wants: wait for [`Reader::changed`].
    Nothing,
    /// The ring no longer holds the reader's next event. End the connection; the client reconnects and gets what is
    /// still available.
    Lagged,
    /// The topic has ended, and every event was delivered.
    Ended,
}

impl<S> Topic<S> {
    /// Changes the state and publishes the event that describes the change. Returns the event's position.
    ///
    /// `change` runs while the state is locked, so it must be quick and must not use this topic.
    pub fn publish<E: Serialize>(&self, change: impl FnOnce(&mut S) -> E) -> Position {
        self.publish_all(|state| [((), change(state))])
    }
}

impl<E: Clone + Serialize> Topic<E> {
    /// A topic whose state is its newest event: every event replaces the state. The ring holds 1,000 events.
    pub fn latest(event: E) -> Self {
        Self::new(event, Delivery::LatestPerKey, REPLAY_CAP)
    }

    /// Publishes an event, which becomes the state.
    pub fn set(&self, event: E) -> Position {
        self.publish(|newest| {
            *newest = event;
            newest.clone()
        })
    }
}

impl<S, K: Clone + Eq + Hash> Topic<S, K> {
    /// A topic with this state, whose ring holds `capacity` events.
    pub fn new(state: S, delivery: Delivery, capacity: usize) -> Self {
        Self::after(state, delivery, capacity, Position::new(Epoch::random(), 0))
    }

    /// A topic that continues a history after `position`, to which `state` belongs. It holds no events up to there; they
    /// are kept elsewhere. Stored events after `position` that are published again, in their order, get the offsets that they
    /// had, and clients can resume from them.
    ///
    /// Every event has to be stored before it is published. If a process ends after clients have seen an event that is not
    /// stored, the next one gives its offset to another event, and those clients miss it without being told. For the same
    /// reason a history that is restored from a backup needs a new epoch ([`Epoch::random`]).
    pub fn after(state: S, delivery: Delivery, capacity: usize, position: Position) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            feed: Arc::new(Feed {
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
                readers: Signals::default(),
                connections: Arc::default(),
            }),
        }
    }

    /// The position of the newest event; offset 0 before the first.
    pub fn head(&self) -> Position {
        self.feed.position(self.feed.history().head)
    }

    /// The head, if the topic has ended.
    pub fn end_position(&self) -> Option<Position> {
        let history = self.feed.history();
        history.ended.then(|| self.feed.position(history.head))
    }

    /// The counter of open connections; it exists as long as any reader.
    pub fn connections(&self) -> &Arc<AtomicUsize> {
        &self.feed.connections
    }

    /// The number of open connections.
    pub fn connection_count(&self) -> usize {
        self.feed.connections.load(Ordering::Relaxed)
    }

    /// Reads the state and the position that it belongs to. `read` must be quick and must not use this topic.
    pub fn read<R>(&self, read: impl FnOnce(&S, Position) -> R) -> R {
        let state = self.state();
        read(&state, self.head())
    }

    /// Changes the state and publishes the events that describe the change, in order and with one wake-up for all of them.
    /// Returns the position of the last. After [`Topic::end`] nothing more is published.
    ///
    /// `change` runs while the state is locked, so it must be quick and must not use this topic.
    pub fn publish_all<E: Serialize, I: IntoIterator<Item = (K, E)>>(
        &self,
        change: impl FnOnce(&mut S) -> I,
    ) -> Position {
        let (_, position) = self.apply(|state, events| {
            for (key, event) in change(state) {
                events.push(key, event);
            }
        });
        position
    }

    /// Like [`Topic::publish_all`], for a change that decides while it is made which events it publishes. Returns what
    /// `change` returns.
    pub fn change<E: Serialize, R>(
        &self,
        change: impl FnOnce(&mut S, &mut Events<K, E>) -> R,
    ) -> R {
        self.apply(change).0
    }

    fn apply<E: Serialize, R>(
        &self,
        change: impl FnOnce(&mut S, &mut Events<K, E>) -> R,
    ) -> (R, Position) {
        let mut state = self.state();
        let head = self.head();
        let first = head.offset + 1;
        let mut events = Events {
            head,
            events: vec![],
            end: false,
        };
        let result = change(&mut state, &mut events);
        let head = self.feed.append(first, events);
        (result, self.feed.position(head))
    }

    /// Ends the topic: readers get the remaining events and end. A client that opens it later from no position gets the
    /// state and the last event.
    pub fn end(&self) {
        self.change(|_, events: &mut Events<K, ()>| events.end());
    }

    /// Opens a reader for a client at position `after`.
    ///
    /// The client is recovered if the epoch is this topic's, the offset is not in the future, every event after it is still
    /// in the ring, and at most [`REPLAY_CAP`] selected events were missed. Otherwise it gets a snapshot: `snapshot` makes
    /// its events from the state, for the keys that its second argument accepts. The snapshot's position is the head. In a
    /// topic that has ended it is the position before the last event, which then follows, so that a client learns of the
    /// end: the last event has to be one that may follow a state that includes it.
    ///
    /// `snapshot` runs while the state is locked, so it must be quick and must not use this topic.
    pub fn open<E: Serialize>(
        &self,
        after: Option<&Position>,
        selection: Selection<K>,
        snapshot: impl FnOnce(&S, &dyn Fn(&K) -> bool) -> Vec<E>,
    ) -> Opened<K> {
        // Held until the snapshot is taken: nothing is published between it and the beginning of the reader.
        let state = self.state();
        let history = self.feed.history();
        let resumed = after.and_then(|after| self.feed.missed(&history, after, &selection));
        let from = match (resumed, after) {
            (Some(_), Some(after)) => after.offset,
            _ if history.ended && !history.ring.is_empty() => history.head - 1,
            _ => history.head,
        };
        let reader = Reader {
            feed: self.feed.clone(),
            signal: self.feed.readers.add(),
            has_more: true,
            began: if resumed.is_some() {
                history.head
            } else {
                from
            },
            cursor: from,
            written: from,
            wanted: selection.wanted,
            stated: selection.stated.filter(|_| resumed.is_some()),
        };
        drop(history);
        let events = match (&resumed, &reader.stated) {
            (None, _) => snapshot(&state, &reader.wanted),
            (Some(_), Some(stated)) => snapshot(&state, stated),
            (Some(_), None) => vec![],
        };
        drop(state);
        // At the reader's own position, so that the client does not skip the events that are replayed.
        let position = reader.written();
        Opened {
            state: events
                .iter()
                .map(|event| frame(Some(&position), event))
                .collect(),
            reader,
            recovered: resumed,
        }
    }

    /// A poisoned lock is used all the same: what a change that panicked has written stays, and its events are not
    /// published.
    fn state(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Feed<K> {
    fn position(&self, offset: u64) -> Position {
        Position::new(self.epoch.clone(), offset)
    }

    /// Appends the events of a change, the first at the offset `first`. Only one change at a time calls it, because a
    /// change holds the state. So the events can be encoded before the history is locked, and the readers, which need only
    /// the history, do not wait for that. Returns the new head.
    fn append<E: Serialize>(&self, first: u64, events: Events<K, E>) -> u64 {
        if (events.events.is_empty() && !events.end) || self.history().ended {
            return self.history().head;
        }
        let entries: Vec<_> = (first..)
            .zip(events.events)
            .map(|(offset, (key, event))| Entry {
                offset,
                key,
                frame: frame(Some(&self.position(offset)), &event),
            })
            .collect();
        let mut history = self.history();
        history.ended = events.end;
        for entry in entries {
            history.head = entry.offset;
            history.push(entry, self.delivery, self.capacity);
        }
        let head = history.head;
        drop(history);
        self.readers.publish();
        head
    }

    /// How many selected events a client at `after` has missed; `None` if it cannot resume.
    fn missed(
        &self,
        history: &History<K>,
        after: &Position,
        selection: &Selection<K>,
    ) -> Option<usize> {
        let held = after.epoch == self.epoch
            && after.offset <= history.head
            && history.holds_all_after(after.offset);
        if !held {
            return None;
        }
        let stated = selection.stated.as_ref();
        let missed = history.after(after.offset).filter(|entry| {
            let covered = stated.is_some_and(|stated| stated(&entry.key));
            !covered && (selection.wanted)(&entry.key)
        });
        let replayed = missed.take(REPLAY_CAP + 1).count();
        (replayed <= REPLAY_CAP).then_some(replayed)
    }

    /// A poisoned lock is used all the same: the ring is consistent both before and after a push.
    fn history(&self) -> MutexGuard<'_, History<K>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
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

impl<K: Clone + Eq + Hash> Reader<K> {
    /// Takes pending events, up to about `budget` bytes (at least one event).
    pub fn take(&mut self, budget: usize) -> Pending {
        // Marked as seen before the history is read, so that an event published meanwhile wakes this reader again.
        if !self.signal.take_published() && !self.has_more {
            return Pending::Nothing;
        }
        let mut batch = Batch {
            frames: vec![],
            bytes: 0,
            budget,
        };
        let feed = self.feed.clone();
        let history = feed.history();
        let conflates = feed.delivery == Delivery::LatestPerKey;
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
        self.has_more = batch.is_full() || history.ended;
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
        let stated = |stated: &Filter<K>| stated(&entry.key);
        let covered = entry.offset <= self.began && self.stated.as_ref().is_some_and(stated);
        !covered && (self.wanted)(&entry.key)
    }

    /// Resolves when something may have been published since the last [`Reader::take`].
    pub async fn changed(&mut self) {
        poll_fn(|context| {
            self.signal.register(context.waker());
            match self.has_more || self.signal.is_published() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// What wakes the task of this reader, for a task that waits for other sources too.
    pub(super) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// The position for a heartbeat, which the caller then writes. If no selected event is pending, it is the head, so
    /// that a quiet or filtered stream can still be resumed. Otherwise it is the last position written, since a
    /// client's id covers every event before it.
    pub fn position(&mut self) -> Position {
        let feed = self.feed.clone();
        let history = feed.history();
        // If a missed event is no longer in the ring, then the newest event of its key is pending, or later events are.
        let pending = match feed.delivery {
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
        self.feed.position(self.written)
    }
}

impl<K> Drop for Reader<K> {
    fn drop(&mut self) {
        self.feed.readers.remove(&self.signal);
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
