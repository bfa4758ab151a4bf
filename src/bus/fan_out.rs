//! Wakes the subscribers of logs and delivers volatile messages, within this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use super::{Volatile, Wakes};

/// Volatile messages by which a listener may lag behind before it misses some.
const VOLATILE_CAPACITY: usize = 256;

/// Subscribers by log, listeners by subject.
#[derive(Debug, Default)]
pub struct FanOut(Mutex<Channels>);

#[derive(Debug, Default)]
struct Channels {
    heads: HashMap<String, watch::Sender<u64>>,
    volatile: HashMap<String, broadcast::Sender<Bytes>>,
    closed: bool,
}

impl FanOut {
    pub fn subscribe(&self, log: &str) -> Wakes {
        let mut channels = self.channels();
        if channels.closed {
            return Wakes(watch::channel(0).1);
        }
        // Logs without subscribers are removed before the map grows for a new one.
        if channels.heads.len() == channels.heads.capacity() {
            channels.heads.retain(|_, head| !head.is_closed());
        }
        let head = channels.heads.entry(log.to_owned());
        Wakes(head.or_insert_with(|| watch::channel(0).0).subscribe())
    }

    /// Wakes the subscribers of a log that has grown to `head`.
    pub fn wake(&self, log: &str, head: u64) {
        if let Some(sender) = self.channels().heads.get(log) {
            sender.send_replace(head);
        }
    }

    pub fn listen(&self, subject: &str) -> Volatile {
        let mut channels = self.channels();
        if channels.closed {
            return Volatile(broadcast::channel(1).1);
        }
        if channels.volatile.len() == channels.volatile.capacity() {
            channels
                .volatile
                .retain(|_, sender| sender.receiver_count() > 0);
        }
        let sender = channels.volatile.entry(subject.to_owned());
        Volatile(
            sender
                .or_insert_with(|| broadcast::channel(VOLATILE_CAPACITY).0)
                .subscribe(),
        )
    }

    pub fn publish(&self, subject: &str, bytes: Bytes) {
        if let Some(sender) = self.channels().volatile.get(subject) {
            // An error means that there are no listeners.
            let _ = sender.send(bytes);
        }
    }

    /// Ends all subscriptions and listeners: whatever waits on one gets the end.
    pub fn close(&self) {
        *self.channels() = Channels {
            closed: true,
            ..Channels::default()
        };
    }

    /// A std mutex: it is held for one map operation. A poisoned lock is used all the same, since the maps are
    /// consistent.
    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
