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
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::inspector::counterpart::CompareEvent;
use realtime::{
    position::{Epoch, Position},
    server::{
        Delivery, Drain, Topic,
        queue::{OutQueue, encode},
        topic::REPLAY_CAP,
    },
};

/// Twenty pulses a second: enough for a 99th percentile within seconds, too few to be a load.
const PERIOD: Duration = Duration::from_millis(50);
const PERIOD_US: u64 = PERIOD.as_micros() as u64;
/// Pulses by which the clock of another server may be ahead: a second.
const AHEAD: u32 = 20;
/// The feed goes on for this long after the last listener disconnected, so that a client that drops both connections
/// misses something.
const LINGER: Duration = Duration::from_secs(10);

/// The feed. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Feed(Arc<Pulses>);

struct Pulses {
    topic: Topic<()>,
    /// Whether the clock counts the pulses ([`Feed::of_cluster`]).
    is_counted_by_clock: bool,
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
        Self::of(Position::new(Epoch::random(), 0), false)
    }
}

impl Feed {
    /// The feed of a server in a cluster. All servers count the pulses by their clocks, under one epoch, so a client that comes
    /// back to another server resumes there. Each publishes all of them, with listeners or without.
    pub fn of_cluster(epoch: Epoch) -> Self {
        let held = pulses_until(now_us()).saturating_sub(REPLAY_CAP as u64);
        Self::of(Position::new(epoch, held), true)
    }

    fn of(position: Position, is_counted_by_clock: bool) -> Self {
        Self(Arc::new(Pulses {
            topic: Topic::after((), Delivery::EveryEvent, REPLAY_CAP, position),
            is_counted_by_clock,
            sockets: Mutex::default(),
            next_socket: AtomicU64::default(),
            woken: Notify::new(),
        }))
    }

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

    /// Publishes until the server drains.
    pub async fn run(self, drain: Drain) {
        if self.0.is_counted_by_clock {
            let publishing = async {
                loop {
                    self.publish_until(now_us());
                    sleep(PERIOD - Duration::from_micros(now_us() % PERIOD_US)).await;
                }
            };
            tokio::select! {
                () = publishing => {}
                () = drain.started() => {}
            }
        } else {
            self.run_while_heard(drain).await;
        }
    }

    /// Publishes the pulses that are due at a time (Unix microseconds). After a long sleep of the machine no more than the
    /// topic holds at once, so that the others are made up for in the next rounds. A clock that was set back makes a pause.
    fn publish_until(&self, now_us: u64) {
        let due = pulses_until(now_us).saturating_sub(self.0.topic.head().offset);
        for _ in 0..due.min(REPLAY_CAP as u64) {
            self.publish();
        }
    }

    /// Waits until this server has what a client has that comes from another one, whose clock may be ahead.
    pub async fn reach(&self, after: Option<&Position>) {
        let Some(after) = after.filter(|_| self.0.is_counted_by_clock) else {
            return;
        };
        let is_behind = || {
            let head = self.0.topic.head();
            head.epoch == after.epoch && head.offset < after.offset
        };
        for _ in 0..AHEAD {
            if !is_behind() {
                return;
            }
            sleep(PERIOD).await;
        }
    }

    /// Publishes while there are listeners.
    async fn run_while_heard(&self, drain: Drain) {
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

/// How many pulses there were since 1970.
fn pulses_until(now_us: u64) -> u64 {
    now_us / PERIOD_US
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
    use realtime::server::Selection;

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

    #[test]
    fn a_client_that_comes_back_to_another_server_resumes_there() {
        let epoch = Epoch::random();
        let (one, two) = (Feed::of_cluster(epoch.clone()), Feed::of_cluster(epoch));
        let now = now_us();
        one.publish_until(now);
        let seen = one.topic().head();
        two.publish_until(now);
        two.publish_until(now + 3 * PERIOD_US);
        let opened = two
            .topic()
            .open(Some(&seen), Selection::all(), |(), _| Vec::<()>::new());
        assert_eq!(opened.recovered, Some(3));
    }

    #[test]
    fn what_a_clock_that_jumped_has_left_out_is_made_up_for_in_rounds() {
        let feed = Feed::of_cluster(Epoch::random());
        let later = now_us() + 2_500 * PERIOD_US;
        let due = pulses_until(later);
        let mut rounds = 0;
        while published(&feed) < due {
            feed.publish_until(later);
            rounds += 1;
        }
        assert_eq!(rounds, 4, "the first thousand are those before the start");
        feed.publish_until(later - 100 * PERIOD_US);
        assert_eq!(published(&feed), due);
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
