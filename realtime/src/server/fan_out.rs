//! Writes to many connections from few tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::{runtime::Handle, task::JoinSet};

/// Connections to which one task writes. More of them are shared among several tasks, so that all processors write what many
/// connections get, and no task runs for long. A task may also make only 128 writes before tokio lets others run.
const SHARD: usize = 100;

/// Writes to one connection, or wakes its task.
pub trait FanOut: Send + 'static {
    /// Never waits.
    fn write_now(&self);
}

/// Connections to which is still to be written, which is done at the latest when this is dropped.
#[must_use]
pub struct Unwritten<T: FanOut>(Vec<T>);

impl<T: FanOut> Unwritten<T> {
    pub fn new(connections: Vec<T>) -> Self {
        Self(connections)
    }

    /// Writes to all of them. Returns when that is done, so that what comes meanwhile is written together afterwards.
    pub async fn write(mut self) {
        let mut shards = JoinSet::new();
        while self.0.len() > SHARD {
            shards.spawn(self.split_off().write_shard());
        }
        drop(self);
        while shards.join_next().await.is_some() {}
    }

    fn split_off(&mut self) -> Self {
        Self(self.0.split_off(self.0.len().saturating_sub(SHARD)))
    }

    async fn write_shard(self) {}
}

impl<T: FanOut> Drop for Unwritten<T> {
    fn drop(&mut self) {
        for connection in &self.0 {
            // A panic, which is reported where it happens, must not keep the others waiting.
            let _ = catch_unwind(AssertUnwindSafe(|| connection.write_now()));
        }
    }
}

/// Writes to all connections, in tasks of their own. Outside of a runtime it writes at once.
pub fn spawn<T: FanOut>(connections: Vec<T>) {
    let mut unwritten = Unwritten(connections);
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    while !unwritten.0.is_empty() {
        runtime.spawn(unwritten.split_off().write_shard());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    impl FanOut for Arc<AtomicUsize> {
        fn write_now(&self) {
            self.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Panics(Arc<AtomicUsize>);

    impl FanOut for Panics {
        fn write_now(&self) {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
        }
    }

    #[test]
    fn a_panic_does_not_keep_the_others_waiting() {
        let written = Arc::new(AtomicUsize::new(0));
        spawn((0..3).map(|_| Panics(written.clone())).collect());
        assert_eq!(written.load(Ordering::Relaxed), 3);
    }

    const MEMBERS: [usize; 5] = [0, 1, SHARD, SHARD + 1, 5 * SHARD];

    #[tokio::test]
    async fn all_are_written_to_also_by_a_write_that_was_given_up() {
        for members in MEMBERS {
            let written = Arc::new(AtomicUsize::new(0));
            let unwritten = || Unwritten::new(vec![written.clone(); members]);
            unwritten().write().await;
            assert_eq!(written.load(Ordering::Relaxed), members);
            drop(unwritten().write());
            assert_eq!(written.load(Ordering::Relaxed), 2 * members);
        }
    }

    #[test]
    fn all_are_written_to_by_tasks_and_at_once_outside_of_a_runtime() {
        for members in MEMBERS {
            let written = Arc::new(AtomicUsize::new(0));
            spawn(vec![written.clone(); members]);
            assert_eq!(written.load(Ordering::Relaxed), members);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                spawn(vec![written.clone(); members]);
                assert_eq!(
                    written.load(Ordering::Relaxed),
                    members,
                    "the tasks have not run"
                );
                while written.load(Ordering::Relaxed) < 2 * members {
                    tokio::task::yield_now().await;
                }
            });
        }
    }
}
