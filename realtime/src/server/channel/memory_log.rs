//! A log in the memory of the process: the newest messages, up to a number.
//!
//! Its history ends with the process: the next one has another epoch, so a client that comes back is not recovered.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use uuid::Uuid;

use super::log::{Appended, Follow, Head, Log, LogError};
use crate::{channel::Entry, id::SpelledId, position::Epoch, server::now_ms};

/// A log in memory. Offsets increase in steps of one. Cheap to clone; all clones share one log.
pub struct MemoryLog<M>(Arc<Shared<M>>);

struct Shared<M> {
    epoch: Epoch,
    capacity: usize,
    is_same_sender: fn(&M, &M) -> bool,
    /// A std mutex: it is held for a few pushes or clones and never across an await.
    ring: Mutex<Ring<M>>,
    /// The head; wakes the followers.
    head: watch::Sender<u64>,
}

struct Ring<M> {
    floor: u64,
    /// Everything after the floor.
    entries: VecDeque<Entry<M>>,
    /// The offsets of the ids that the ring holds.
    offsets: HashMap<Uuid, u64>,
}

/// Follows a [`MemoryLog`].
pub struct MemoryFollower<M> {
    log: MemoryLog<M>,
    after: u64,
    head: watch::Receiver<u64>,
}

impl<M> Clone for MemoryLog<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> MemoryLog<M> {
    /// An empty log that holds up to `capacity` messages, and at least one. An id is known for as long as its message is
    /// held.
    pub fn new(capacity: usize) -> Self {
        Self::with_senders(capacity, |_, _| true)
    }

    /// Like [`MemoryLog::new`]. A message whose id is stored already is refused, unless `is_same_sender` says that the
    /// stored one, its first argument, has the same sender.
    pub fn with_senders(capacity: usize, is_same_sender: fn(&M, &M) -> bool) -> Self {
        Self(Arc::new(Shared {
            epoch: Epoch::random(),
            capacity: capacity.max(1),
            is_same_sender,
            ring: Mutex::new(Ring {
                floor: 0,
                entries: VecDeque::new(),
                offsets: HashMap::new(),
            }),
            head: watch::Sender::new(0),
        }))
    }

    /// Drops the messages up to an offset.
    pub fn truncate(&self, upto: u64) {
        let mut ring = self.ring();
        while ring.floor < upto && ring.drop_oldest() {}
    }

    /// A poisoned lock is used all the same: at worst an id is known whose message is gone, which `append` checks.
    fn ring(&self) -> MutexGuard<'_, Ring<M>> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Clone + Send + Sync + 'static> MemoryLog<M> {
    fn page(&self, after: u64, limit: usize) -> Result<Vec<Entry<M>>, LogError> {
        let ring = self.ring();
        let Some(skipped) = after.checked_sub(ring.floor) else {
            return Err(LogError::Truncated { floor: ring.floor });
        };
        let entries = ring.entries.iter().skip(skipped as usize);
        Ok(entries.take(limit).cloned().collect())
    }

    fn push(&self, id: SpelledId, message: M) -> Result<Appended, LogError> {
        let mut ring = self.ring();
        let known = ring.offsets.get(&id.value());
        if let Some(stored) = known.and_then(|offset| ring.at(*offset)) {
            if !(self.0.is_same_sender)(&stored.message, &message) {
                let sentence = "Another person's message has this id. Make a new one.";
                return Err(LogError::Refused(sentence.into()));
            }
            let (offset, at) = (stored.offset, stored.at);
            let new = false;
            return Ok(Appended { offset, at, new });
        }
        if ring.entries.len() == self.0.capacity {
            ring.drop_oldest();
        }
        let newest = ring.entries.back().map_or(0, |newest| newest.at);
        let (offset, at) = (ring.head() + 1, now_ms().max(newest));
        ring.offsets.insert(id.value(), offset);
        ring.entries.push_back(Entry {
            offset,
            id,
            at,
            message,
        });
        // Under the lock, so that the heads are sent in order.
        self.0.head.send_replace(offset);
        let new = true;
        Ok(Appended { offset, at, new })
    }
}

impl<M> Ring<M> {
    fn head(&self) -> u64 {
        self.floor + self.entries.len() as u64
    }

    fn at(&self, offset: u64) -> Option<&Entry<M>> {
        self.entries
            .get(offset.checked_sub(self.floor + 1)? as usize)
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.entries.pop_front();
        if let Some(oldest) = &oldest {
            self.floor = oldest.offset;
            self.offsets.remove(&oldest.id.value());
        }
        oldest.is_some()
    }
}

impl<M: Clone + Send + Sync + 'static> Log for MemoryLog<M> {
    type Message = M;
    type Follower = MemoryFollower<M>;

    fn epoch(&self) -> Epoch {
        self.0.epoch.clone()
    }

    async fn head(&self) -> Result<Head, LogError> {
        let ring = self.ring();
        Ok(Head {
            floor: ring.floor,
            head: ring.head(),
        })
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry<M>>, LogError> {
        self.page(after, limit)
    }

    async fn count(&self, after: u64, upto: u64) -> Result<u64, LogError> {
        let ring = self.ring();
        Ok(upto.min(ring.head()).saturating_sub(after.max(ring.floor)))
    }

    async fn before_latest(&self, head: u64, count: usize) -> Result<u64, LogError> {
        Ok(head.saturating_sub(count as u64).max(self.ring().floor))
    }

    async fn append(&self, id: SpelledId, message: M) -> Result<Appended, LogError> {
        self.push(id, message)
    }

    fn follow(&self, after: u64) -> MemoryFollower<M> {
        MemoryFollower {
            log: self.clone(),
            after,
            head: self.0.head.subscribe(),
        }
    }
}

impl<M: Clone + Send + Sync + 'static> Follow for MemoryFollower<M> {
    type Message = M;

    async fn next(&mut self, limit: usize) -> Result<Vec<Entry<M>>, LogError> {
        loop {
            let entries = self.log.page(self.after, limit)?;
            if let Some(last) = entries.last() {
                self.after = last.offset;
                return Ok(entries);
            }
            let after = self.after;
            let woken = self.head.wait_for(|head| *head > after).await;
            // The sender exists as long as the log, which this follower holds.
            woken.map_err(|_| LogError::Closed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::server::channel::log::Start;

    async fn log_with(capacity: usize, count: u64) -> MemoryLog<u64> {
        let log = MemoryLog::new(capacity);
        for number in 1..=count {
            let appended = log.append(Uuid::new_v4().into(), number).await.unwrap();
            assert_eq!((appended.offset, appended.new), (number, true));
        }
        log
    }

    fn offsets<M>(entries: &[Entry<M>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.offset).collect()
    }

    #[tokio::test]
    async fn an_id_is_stored_once_for_as_long_as_it_is_held() {
        let log = MemoryLog::new(2);
        let id: SpelledId = Uuid::new_v4().into();
        let first = log.append(id.clone(), "hello").await.unwrap();
        let again = log.append(id.clone(), "other").await.unwrap();
        assert_eq!((again.offset, again.at), (first.offset, first.at));
        assert_eq!((first.new, again.new), (true, false));
        let spelled: SpelledId = id.to_string().to_uppercase().parse().unwrap();
        assert!(!log.append(spelled, "hello").await.unwrap().new);
        assert_eq!(log.read(0, 10).await.unwrap()[0].message, "hello");
        for _ in 0..2 {
            log.append(Uuid::new_v4().into(), "later").await.unwrap();
        }
        assert!(log.append(id, "hello").await.unwrap().new, "it was dropped");
        assert_eq!(log.ring().offsets.len(), 2);
    }

    #[tokio::test]
    async fn the_id_of_another_sender_is_refused() {
        let log = MemoryLog::with_senders(2, |stored: &(&str, u64), sent| stored.0 == sent.0);
        let id: SpelledId = Uuid::new_v4().into();
        assert!(log.append(id.clone(), ("Ada", 1)).await.unwrap().new);
        assert!(!log.append(id.clone(), ("Ada", 2)).await.unwrap().new);
        let taken = log.append(id, ("Bob", 1)).await;
        assert!(matches!(taken, Err(LogError::Refused(_))));
    }

    #[tokio::test]
    async fn what_was_dropped_is_not_read_over() {
        let log = log_with(5, 7).await;
        assert_eq!(log.head().await.unwrap(), Head { floor: 2, head: 7 });
        assert_eq!(offsets(&log.read(2, 2).await.unwrap()), [3, 4]);
        let dropped = Err(LogError::Truncated { floor: 2 });
        assert_eq!(log.read(1, 2).await, dropped);
        log.truncate(6);
        assert_eq!(log.head().await.unwrap(), Head { floor: 6, head: 7 });
        log.truncate(99);
        assert_eq!(log.head().await.unwrap(), Head { floor: 7, head: 7 });
        assert_eq!(log.read(7, 2).await.unwrap(), []);
        let next = log.append(Uuid::new_v4().into(), 8).await.unwrap();
        assert_eq!(next.offset, 8);
    }

    #[tokio::test]
    async fn a_follower_gets_stored_and_new_messages_and_learns_of_a_loss() {
        let log = log_with(5, 3).await;
        let mut follower = log.follow(1);
        assert_eq!(offsets(&follower.next(1).await.unwrap()), [2]);
        assert_eq!(offsets(&follower.next(9).await.unwrap()), [3]);
        assert!(follower.next(9).now_or_never().is_none());
        let waiting = tokio::spawn(async move { (follower.next(9).await, follower) });
        tokio::task::yield_now().await;
        log.append(Uuid::new_v4().into(), 4).await.unwrap();
        let (next, mut follower) = waiting.await.unwrap();
        assert_eq!(offsets(&next.unwrap()), [4]);
        for number in 5..=10 {
            log.append(Uuid::new_v4().into(), number).await.unwrap();
        }
        let lost = Err(LogError::Truncated { floor: 5 });
        assert_eq!(follower.next(9).await, lost);
    }

    #[tokio::test]
    async fn a_start_is_recovered_only_if_everything_since_is_held() {
        use crate::position::Position;

        let log = log_with(50, 60).await;
        let position = |offset| Position::new(log.epoch(), offset);
        for (offset, replayed) in [(57, 3), (60, 0), (10, 50)] {
            let start = Start::of(&log, Some(&position(offset)), 5).await.unwrap();
            let joined = &start.joined;
            assert_eq!(
                (joined.recovered, joined.replayed, start.after),
                (true, replayed, offset)
            );
            assert_eq!((joined.head, &joined.epoch), (60, &log.epoch()));
        }
        let foreign = Position::new(Epoch::random(), 57);
        let (dropped, future) = (position(9), position(61));
        for after in [None, Some(&foreign), Some(&dropped), Some(&future)] {
            let start = Start::of(&log, after, 5).await.unwrap();
            let found = (start.joined.recovered, start.joined.replayed, start.after);
            assert_eq!(found, (false, 5, 55), "{after:?}");
        }
        log.truncate(58);
        let start = Start::of(&log, None, 5).await.unwrap();
        assert_eq!((start.joined.replayed, start.after), (2, 58));
    }
}
