//! Wakes the tasks that read a topic.
//!
//! A task has one waker, which is registered once a poll, and a flag for each of two kinds of sources: what is published,
//! which is frequent, and all others, such as a timer or the drain. A source sets its flag and wakes the task. So a task
//! that has nothing to read asks only the flags, and the other sources are polled only after one of them has woken it.
//!
//! What is published need not wake the tasks: where a connection can be polled from outside its task, one task polls those of
//! many readers. That takes less time than a switch to the task of each.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

use futures::task::AtomicWaker;

use tokio::runtime::Handle;

use super::fan_out::{FanOut, WriteNow};

/// A connection that can be polled from outside its task.
pub trait PollNow: Send + Sync {
    /// Sends what can be sent now. False if the task of the connection has to be woken for it.
    fn poll_now(&self) -> bool;
}

/// The flags and the waker of one task.
///
/// As a [`Waker`] it is that of the other sources.
pub struct Signal {
    published: AtomicBool,
    others: AtomicBool,
    task: AtomicWaker,
    /// The connection of the task, if it can be polled from outside.
    connection: OnceLock<Weak<dyn PollNow>>,
    /// Where it is in [`Signals`]; changed only while that is locked.
    place: AtomicUsize,
}

/// The signals of all readers of a topic.
#[derive(Default)]
pub struct Signals(Mutex<Vec<Arc<Signal>>>);

impl Signal {
    /// Wakes this task from now on, and no other. Call it before the flags are read, so that what happens meanwhile wakes
    /// the task.
    pub fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// From now on the connection is polled for what is published, and its task is woken only where that is not enough. Only the
    /// first call has an effect.
    pub fn poll_instead(&self, connection: Weak<dyn PollNow>) {
        let _ = self.connection.set(connection);
    }

    /// Whether something was published since the last [`Signal::take_published`].
    pub fn is_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    /// Whether something was published since the last call.
    pub fn take_published(&self) -> bool {
        self.is_published() && self.published.swap(false, Ordering::AcqRel)
    }

    /// Whether the other sources are to be polled.
    pub fn take_others(&self) -> bool {
        self.others.load(Ordering::Acquire) && self.others.swap(false, Ordering::AcqRel)
    }

    /// The other sources are to be polled the next time that the task runs.
    pub fn poll_others(&self) {
        self.others.store(true, Ordering::Release);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.poll_others();
        self.task.wake();
    }
}

impl WriteNow for Arc<Signal> {
    fn write_now(&self) {
        let connection = self.connection.get().and_then(Weak::upgrade);
        if !connection.is_some_and(|connection| connection.poll_now()) {
            self.task.wake();
        }
    }
}

impl Signals {
    /// Adds a signal, both of whose flags are set.
    pub fn add(&self) -> Arc<Signal> {
        let mut signals = self.lock();
        let signal = Arc::new(Signal {
            published: AtomicBool::new(true),
            others: AtomicBool::new(true),
            task: AtomicWaker::new(),
            connection: OnceLock::new(),
            place: AtomicUsize::new(signals.len()),
        });
        signals.push(signal.clone());
        signal
    }

    pub fn remove(&self, signal: &Arc<Signal>) {
        let mut signals = self.lock();
        let place = signal.place.load(Ordering::Relaxed);
        if signals
            .get(place)
            .is_some_and(|held| Arc::ptr_eq(held, signal))
        {
            signals.swap_remove(place);
            if let Some(moved) = signals.get(place) {
                moved.place.store(place, Ordering::Relaxed);
            }
        }
    }

    /// Something was published.
    pub fn publish(&self) {
        // Outside of a runtime nothing could be polled.
        let runtime = Handle::try_current().ok();
        let mut polled = FanOut::default();
        for signal in self.lock().iter() {
            // A reader that has not read what was published before is woken already.
            if signal.published.swap(true, Ordering::AcqRel) {
                continue;
            }
            match signal.connection.get() {
                Some(_) if runtime.is_some() => polled.add(signal.clone()),
                _ => signal.task.wake(),
            }
        }
        if let Some(runtime) = runtime {
            polled.spawn(&runtime);
        }
    }

    /// A std mutex: it is held while the tasks are woken, and never across an await. A poisoned lock is used all the same.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Signal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn reader(signals: &Signals) -> (Arc<Signal>, Arc<Woken>) {
        let (signal, woken) = (signals.add(), Arc::<Woken>::default());
        signal.register(&woken.clone().into());
        assert!(
            signal.take_published() && signal.take_others(),
            "at first all is polled"
        );
        (signal, woken)
    }

    #[test]
    fn what_is_published_wakes_every_reader_and_the_others_wake_one() {
        let signals = Signals::default();
        let (one, one_woken) = reader(&signals);
        let (two, two_woken) = reader(&signals);
        signals.publish();
        for (signal, woken) in [(&one, &one_woken), (&two, &two_woken)] {
            assert_eq!(woken.0.load(Ordering::Relaxed), 1);
            assert!(signal.is_published() && signal.take_published() && !signal.take_published());
            assert!(!signal.take_others());
        }
        one.register(&one_woken.clone().into());
        Waker::from(one.clone()).wake();
        assert_eq!(one_woken.0.load(Ordering::Relaxed), 2);
        assert!(one.take_others() && !one.take_published() && !two.take_others());
    }

    #[test]
    fn whoever_is_removed_is_not_woken_and_all_others_are() {
        let signals = Signals::default();
        let readers: Vec<_> = (0..5).map(|_| reader(&signals)).collect();
        for place in [0, 4, 2] {
            signals.remove(&readers[place].0);
            // Twice does no harm.
            signals.remove(&readers[place].0);
        }
        signals.publish();
        let woken = readers
            .iter()
            .map(|(_, woken)| woken.0.load(Ordering::Relaxed));
        assert_eq!(woken.collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
        signals.remove(&readers[1].0);
        signals.remove(&readers[3].0);
        assert!(signals.lock().is_empty());
    }
}
