//! The feed of the live comparison: one task with one clock publishes the pulses, each encoded once for either
//! transport.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::inspector::counterpart::CompareEvent;
use realtime::server::{
    Delivery, Drain, Topic,
    queue::{OutQueue, encode},
    topic::REPLAY_CAP,
};

/// Twenty pulses a second: enough for a 99th percentile within seconds, too few to be a load.
const PERIOD: Duration = Duration::from_millis(50);
/// The feed goes on for this long after the last listener disconnected, so that a client that drops both connections
/// misses something.
const LINGER: Duration = Duration::from_secs(10);

/// The feed. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Feed(Arc<Pulses>);

struct Pulses {
    topic: Topic<()>,
    /// A std mutex: it is held for one push per socket and never across an await.
    sockets: Mutex<BTreeMap<u64, OutQueue>>,
    next_socket: AtomicU64,
    woken: Notify,
}

/// A socket that receives the pulses until this is dropped.
pub struct Listener {
    feed: Feed,
    id: u64,
}

impl Default for Feed {
    fn default() -> Self {
        Self(Arc::new(Pulses {
            topic: Topic::new((), Delivery::EveryEvent, REPLAY_CAP),
            sockets: Mutex::default(),
            next_socket: AtomicU64::default(),
            woken: Notify::new(),
        }))
    }
}

impl Feed {
    pub fn topic(&self) -> &Topic<()> {
        &self.0.topic
    }

    /// Sends the pulses to a socket from now on.
    pub fn listen(&self, queue: OutQueue) -> Listener {
        let id = self.0.next_socket.fetch_add(1, Ordering::Relaxed);
        self.sockets().insert(id, queue);
        self.wake();
        Listener {
            feed: self.clone(),
            id,
        }
    }

    /// Wakes the feed for a new listener, which may be the first.
    pub fn wake(&self) {
        self.0.woken.notify_one();
    }

    /// Publishes while there are listeners, until the server drains.
    pub async fn run(self, drain: Drain) {
        let mut pulse = interval(PERIOD);
        // Missed ticks are not made up for.
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut active_until = Instant::now();
        loop {
            if self.listeners() > 0 {
                active_until = Instant::now() + LINGER;
            }
            let is_active = Instant::now() < active_until;
            tokio::select! {
                _ = pulse.tick(), if is_active => self.publish(),
                () = self.0.woken.notified(), if !is_active => {}
                () = drain.started() => return,
            }
        }
    }

    fn listeners(&self) -> usize {
        self.0.topic.connection_count() + self.sockets().len()
    }

    fn publish(&self) {
        let message = self.0.topic.change(|(), events| {
            let pulse = CompareEvent::Pulse {
                sequence: events.position().offset + 1,
                sent_us: now_us(),
            };
            let message = encode(&pulse);
            events.push((), pulse);
            message
        });
        for queue in self.sockets().values() {
            queue.push(message.clone());
        }
    }

    /// Ignores poisoning: a panic while the lock was held leaves the map whole, and a queue has a lock of its own.
    fn sockets(&self) -> MutexGuard<'_, BTreeMap<u64, OutQueue>> {
        self.0
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.sockets().remove(&self.id);
    }
}

/// Unix microseconds.
fn now_us() -> u64 {
    // A clock before 1970 is broken, and then zero is as good as any answer.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(feed: &Feed) -> u64 {
        feed.topic().head().offset
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_published_while_nobody_listens() {
        let feed = Feed::default();
        let running = tokio::spawn(feed.clone().run(Drain::default()));
        tokio::time::sleep(LINGER * 3).await;
        assert_eq!(published(&feed), 0);

        let listener = feed.listen(OutQueue::default());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!((20..=21).contains(&published(&feed)), "twenty a second");
        drop(listener);
        tokio::time::sleep(LINGER + PERIOD).await;
        let after = published(&feed);
        assert!(after >= 200, "a break of the last listener is no silence");
        tokio::time::sleep(LINGER * 3).await;
        assert_eq!(published(&feed), after);

        let _listener = feed.listen(OutQueue::default());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(published(&feed) >= after + 20, "it wakes again");
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_was_dropped_is_sent_nothing_more() {
        let feed = Feed::default();
        let (one, two) = (OutQueue::default(), OutQueue::default());
        let (first, _second) = (feed.listen(one.clone()), feed.listen(two.clone()));
        assert_eq!(feed.listeners(), 2);
        feed.publish();
        drop(first);
        feed.publish();
        // What was published while each listened.
        assert_eq!(one.take().await.messages.len(), 1);
        assert_eq!(two.take().await.messages.len(), 2);
        assert_eq!(feed.listeners(), 1);
    }
}
