//! A reader of a topic: it holds only a cursor, and takes the events after it.

use std::{future::poll_fn, hash::Hash, sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};

use super::{
    history::{Entry, Feed},
    selection::{Delivery, Filter},
    signal::Signal,
};
use crate::position::{Epoch, Position};

/// One reader of a topic.
pub struct Reader<K> {
    pub(super) feed: Arc<Feed<K>>,
    /// The history that this reader reads: its epoch, and which one of the feed it is.
    pub(super) epoch: Epoch,
    pub(super) replaced: u64,
    /// The feed's, unless this reader is a mirror's source.
    pub(super) delivery: Delivery,
    pub(super) wanted: Filter<K>,
    /// Keys whose state the client got when this reader began. Events for these keys up to `began` are covered by that
    /// state and are skipped.
    pub(super) stated: Option<Filter<K>>,
    pub(super) signal: Arc<Signal>,
    /// There may be more to take, although nothing was published since the last time.
    pub(super) has_more: bool,
    /// The head when this reader began. Every event up to here is replayed while the ring holds it.
    pub(super) began: u64,
    /// Every event up to here was delivered or filtered out.
    pub(super) cursor: u64,
    /// The offset of the last event delivered, or where the reader began.
    pub(super) written: u64,
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

impl<K: Clone + Eq + Hash> Reader<K> {
    /// Takes pending events, up to about `budget` bytes (at least one event).
    pub fn take(&mut self, budget: usize) -> Pending {
        // Marked as seen before the history is read, so that an event published meanwhile wakes this reader again.
        if !self.signal.take_published() && !self.has_more {
            return Pending::Nothing;
        }
        let mut batch = Batch {
            first: None,
            others: vec![],
            bytes: 0,
            budget,
        };
        let feed = self.feed.clone();
        let history = feed.history();
        if history.replaced != self.replaced {
            return Pending::Lagged;
        }
        let conflates = self.delivery == Delivery::LatestPerKey;
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
            if batch.first.is_none() && history.ended {
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
        if history.replaced != self.replaced {
            return self.written();
        }
        // If a missed event is no longer in the ring, then the newest event of its key is pending, or later events are.
        let pending = match self.delivery {
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
        Position::new(self.epoch.clone(), self.written)
    }
}

impl<K> Drop for Reader<K> {
    fn drop(&mut self) {
        self.feed.readers.remove(&self.signal);
    }
}

/// Frames collected for one write.
struct Batch {
    /// By itself, because a batch often has no other, and then nothing is allocated.
    first: Option<Bytes>,
    others: Vec<Bytes>,
    bytes: usize,
    budget: usize,
}

impl Batch {
    /// Adds a frame. Returns whether the budget is used up.
    fn add(&mut self, frame: Bytes) -> bool {
        self.bytes += frame.len();
        match self.first {
            None => self.first = Some(frame),
            Some(_) => self.others.push(frame),
        }
        self.is_full()
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.budget
    }

    /// A single frame is passed on without a copy; several are joined, because one chunk and one write are cheaper than
    /// many.
    fn into_pending(self) -> Pending {
        let Some(first) = self.first else {
            return Pending::Nothing;
        };
        if self.others.is_empty() {
            return Pending::Events(first);
        }
        let mut joined = BytesMut::with_capacity(self.bytes);
        for frame in [&first].into_iter().chain(&self.others) {
            joined.extend_from_slice(frame);
        }
        Pending::Events(joined.freeze())
    }
}
