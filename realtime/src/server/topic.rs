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
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use serde::Serialize;

use super::{
    frame::frame,
    history::{Entry, Feed},
};
pub use super::{
    reader::{Pending, Reader},
    selection::{Delivery, Filter, REPLAY_CAP, Selection},
};
use crate::position::{Epoch, Position};

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
            feed: Arc::new(Feed::new(delivery, capacity, position)),
        }
    }

    /// The position of the newest event; offset 0 before the first.
    pub fn head(&self) -> Position {
        let history = self.feed.history();
        history.position(history.head)
    }

    /// The head, if the topic has ended.
    pub fn end_position(&self) -> Option<Position> {
        let history = self.feed.history();
        history.ended.then(|| history.position(history.head))
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
        let (epoch, first) = (head.epoch.clone(), head.offset + 1);
        let mut events = Events {
            head,
            events: vec![],
            end: false,
        };
        let result = change(&mut state, &mut events);
        let head = self.feed.append(first, events.events, events.end);
        (result, Position::new(epoch, head))
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
            epoch: history.epoch.clone(),
            replaced: history.replaced,
            delivery: self.feed.delivery,
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

    /// Reads the state, its position, whether the topic has ended, and the newest events, up to `limit` of them. `read` also
    /// gets the offset before the first of them.
    pub(super) fn copy<R>(
        &self,
        limit: usize,
        read: impl FnOnce(&S, Position, bool, u64, &[Bytes]) -> R,
    ) -> R {
        let state = self.state();
        let (position, ended, after, frames) = {
            let history = self.feed.history();
            let newest = history.ring.iter();
            let newest = newest.skip(history.ring.len().saturating_sub(limit));
            let after = newest.clone().next().map(|entry| entry.offset - 1);
            let frames: Vec<_> = newest.map(|entry| entry.frame.clone()).collect();
            let after = after.unwrap_or(history.head);
            (history.position(history.head), history.ended, after, frames)
        };
        read(&state, position, ended, after, &frames)
    }

    /// The head, whether the topic has ended, and the events after a position, if all of them are held and no more than
    /// `limit`.
    pub(super) fn events_after(
        &self,
        after: &Position,
        limit: usize,
    ) -> Option<(Position, bool, Vec<Bytes>)> {
        let history = self.feed.history();
        self.feed.missed(&history, after, &Selection::all())?;
        let frames: Vec<_> = history
            .after(after.offset)
            .map(|entry| entry.frame.clone())
            .collect();
        let head = history.position(history.head);
        (frames.len() <= limit).then_some((head, history.ended, frames))
    }

    /// Replaces the state and the history by those of another process. Readers are ended, and their clients start from
    /// the state, unless they can resume in the new history.
    pub(super) fn replace(
        &self,
        state: S,
        position: Position,
        entries: Vec<Entry<K>>,
        ended: bool,
    ) {
        let mut held = self.state();
        *held = state;
        self.feed.replace(position, entries, ended);
    }

    /// Begins a new history with the state as it is. Readers are ended; their clients come back and get the state.
    pub fn begin_anew(&self) {
        let held = self.state();
        let position = Position::new(Epoch::random(), 0);
        self.feed.replace(position, vec![], false);
        drop(held);
    }

    /// Applies events that another process published, and publishes them under the offsets that they have there. `apply`
    /// returns them, and whether the topic ends with them.
    pub(super) fn apply_published(&self, apply: impl FnOnce(&mut S) -> (Vec<Entry<K>>, bool)) {
        let mut state = self.state();
        let (entries, end) = apply(&mut state);
        self.feed.push(entries, end);
    }

    /// A poisoned lock is used all the same: what a change that panicked has written stays, and its events are not
    /// published.
    fn state(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
