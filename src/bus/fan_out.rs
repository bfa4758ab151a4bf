//! Wakes the subscribers of logs and delivers volatile messages, within this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use super::{
    Volatile, Wakes,
    recent::{Growth, Recent},
};

/// Volatile messages by which a listener may lag behind before it misses some.
const VOLATILE_CAPACITY: usize = 256;

/// Subscribers by log, listeners by subject.
#[derive(Debug, Default)]
pub struct FanOut(Mutex<Channels>);

#[derive(Debug, Default)]
struct Channels {
    logs: HashMap<String, watch::Sender<Recent>>,
    volatile: HashMap<String, broadcast::Sender<Bytes>>,
    closed: bool,
}

impl FanOut {
    pub fn subscribe(&self, log: &str) -> Wakes {
        let mut channels = self.channels();
        if channels.closed {
            return Wakes(watch::channel(Recent::default()).1);
        }
        // Logs without subscribers are removed before the map grows for a new one.
        if channels.logs.len() == channels.logs.capacity() {
            channels.logs.retain(|_, recent| !recent.is_closed());
        }
        let recent = channels.logs.entry(log.to_owned());
        let recent = recent.or_insert_with(|| watch::channel(Recent::default()).0);
        Wakes(recent.subscribe())
    }

    /// Wakes the subscribers of a log that has grown.
    pub fn wake(&self, growth: Growth) {
        if let Some(recent) = self.channels().logs.get(&growth.log) {
            recent.send_modify(|recent| recent.grow(growth));
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
