//! The bounded history of a topic, which its readers share. It does not depend on the topic's state.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
};

use bytes::Bytes;
use serde::Serialize;

use super::{
    frame::frame,
    selection::{Delivery, REPLAY_CAP, Selection},
    signal::Signals,
};
use crate::position::{Epoch, Position};

/// The part of a topic that its readers share. They do not depend on the state.
pub struct Feed<K> {
    pub delivery: Delivery,
    pub capacity: usize,
    /// A std mutex: it is held for a few pushes or clones and never across an await.
    pub history: Mutex<History<K>>,
    /// Wakes the readers.
    pub readers: Signals,
    pub connections: Arc<AtomicUsize>,
}

/// The history of a topic.
pub struct History<K> {
    pub epoch: Epoch,
    /// Counts how often the history was replaced. A reader of an earlier one is ended.
    pub replaced: u64,
    pub head: u64,
    pub ended: bool,
    pub ring: VecDeque<Entry<K>>,
    /// The newest event of each key by offset; only for [`Delivery::LatestPerKey`].
    pub latest: BTreeMap<u64, Entry<K>>,
    pub latest_of: HashMap<K, u64>,
}

/// A published event.
#[derive(Clone)]
pub struct Entry<K> {
    pub offset: u64,
    pub key: K,
    pub frame: Bytes,
}

impl<K: Clone + Eq + Hash> Feed<K> {
    /// A feed that continues a history after a position.
    pub fn new(delivery: Delivery, capacity: usize, position: Position) -> Self {
        Self {
            delivery,
            capacity: capacity.max(1),
            history: Mutex::new(History::new(position)),
            readers: Signals::default(),
            connections: Arc::default(),
        }
    }

    /// Appends the events of a change, the first at the offset `first`. Only one change at a time calls it, because a
    /// change holds the state. So the events can be encoded before the history is locked, and the readers, which need only
    /// the history, do not wait for that. Returns the new head.
    pub fn append<E: Serialize>(&self, first: u64, events: Vec<(K, E)>, end: bool) -> u64 {
        let epoch = {
            let history = self.history();
            if (events.is_empty() && !end) || history.ended {
                return history.head;
            }
            history.epoch.clone()
        };
        let entries: Vec<_> = (first..)
            .zip(events)
            .map(|(offset, (key, event))| Entry {
                offset,
                key,
                frame: frame(Some(&Position::new(epoch.clone(), offset)), &event),
            })
            .collect();
        self.push(entries, end)
    }

    /// Appends encoded events, and ends the history with them if `end` says so. Returns the new head.
    pub fn push(&self, entries: Vec<Entry<K>>, end: bool) -> u64 {
        let mut history = self.history();
        history.ended |= end;
        for entry in entries {
            history.head = entry.offset;
            history.push(entry, self.delivery, self.capacity);
        }
        let head = history.head;
        drop(history);
        self.readers.publish();
        head
    }

    /// Replaces the history by another one, which holds `entries` up to `position`. All readers are ended.
    pub fn replace(&self, position: Position, entries: Vec<Entry<K>>, ended: bool) {
        let mut history = self.history();
        let replaced = history.replaced + 1;
        *history = History {
            replaced,
            ended,
            ..History::new(position)
        };
        for entry in entries {
            history.push(entry, self.delivery, self.capacity);
        }
        drop(history);
        self.readers.publish();
    }

    /// How many selected events a client at `after` has missed; `None` if it cannot resume.
    pub fn missed(
        &self,
        history: &History<K>,
        after: &Position,
        selection: &Selection<K>,
    ) -> Option<usize> {
        let held = after.epoch == history.epoch
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
    pub fn history(&self) -> MutexGuard<'_, History<K>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> History<K> {
    fn new(position: Position) -> Self {
        Self {
            epoch: position.epoch,
            replaced: 0,
            head: position.offset,
            ended: false,
            ring: VecDeque::new(),
            latest: BTreeMap::new(),
            latest_of: HashMap::new(),
        }
    }

    pub fn position(&self, offset: u64) -> Position {
        Position::new(self.epoch.clone(), offset)
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

    pub fn holds_all_after(&self, offset: u64) -> bool {
        match self.ring.front() {
            Some(oldest) => oldest.offset <= offset + 1,
            None => offset == self.head,
        }
    }

    pub fn after(&self, offset: u64) -> impl Iterator<Item = &Entry<K>> {
        // The offsets in the ring are consecutive, so the index is a subtraction.
        let first = self.ring.front().map_or(0, |oldest| oldest.offset);
        self.ring
            .iter()
            .skip((offset + 1).saturating_sub(first) as usize)
    }
}
