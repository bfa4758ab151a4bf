//! Writes to many connections from few tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::extract::ws::Message;
use smallvec::SmallVec;
use tokio::{runtime::Handle, task::JoinSet};

/// Connections to which one task writes. More of them are shared among several tasks, so that all processors write what many
/// connections get, and no task runs for long. It is below 128: tokio answers a task's next write with "pending", to let others
/// run.
const SHARD: usize = 100;

/// A connection to which any task can write.
pub trait WriteNow: Send + 'static {
    /// Writes what the connection takes at once, and wakes the task of the connection if that is not all. It never waits.
    fn write_now(&self);
}

/// Messages in their order. A single one, which is the usual case, takes no memory of its own.
pub type Messages = SmallVec<[Message; 1]>;

/// Writes messages to a socket from any task.
pub trait DirectWrite: Send + Sync {
    /// Writes messages, in their order. False if the connection did not take all of them at once, or failed: the task of the
    /// socket has to flush.
    fn write(&self, messages: Messages) -> bool;
}

/// Connections to which is to be written. They are written to at the latest when this is dropped.
#[must_use]
pub struct FanOut<T: WriteNow>(Vec<T>);

impl<T: WriteNow> Default for FanOut<T> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<T: WriteNow> FanOut<T> {
    pub fn add(&mut self, connection: T) {
        self.0.push(connection);
    }

    /// Writes to all of them. Returns when that is done, so that what comes meanwhile is written together afterwards.
    pub async fn write(mut self) {
        let mut shards = JoinSet::new();
        while self.0.len() > SHARD {
            let shard = self.split_off();
            shards.spawn(async { drop(shard) });
        }
        drop(self);
        while shards.join_next().await.is_some() {}
    }

    /// Writes to all of them in tasks of this runtime.
    pub fn spawn(mut self, runtime: &Handle) {
        while !self.0.is_empty() {
            let shard = self.split_off();
            runtime.spawn(async { drop(shard) });
        }
    }

    fn split_off(&mut self) -> Self {
        Self(self.0.split_off(self.0.len().saturating_sub(SHARD)))
    }
}

impl<T: WriteNow> Drop for FanOut<T> {
    fn drop(&mut self) {
        for connection in &self.0 {
            // A panic, which is reported where it happens, must not keep the others waiting.
            let _ = catch_unwind(AssertUnwindSafe(|| connection.write_now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::task::yield_now;

    use super::*;

    /// Counts its writes. The first one panics.
    #[derive(Clone, Default)]
    struct Panics(Arc<AtomicUsize>);

    impl WriteNow for Panics {
        fn write_now(&self) {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
        }
    }

    fn fan_out(connections: usize) -> (FanOut<Panics>, impl Fn() -> usize) {
        let (mut fan_out, connection) = (FanOut::default(), Panics::default());
        (0..connections).for_each(|_| fan_out.add(connection.clone()));
        (fan_out, move || connection.0.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn all_are_written_to_whatever_panics_or_is_given_up() {
        for connections in [0, 1, SHARD, SHARD + 1, 5 * SHARD] {
            let (written_to, count) = fan_out(connections);
            written_to.write().await;
            assert_eq!(count(), connections);

            let (given_up, count) = fan_out(connections);
            drop(given_up.write());
            assert_eq!(count(), connections);

            let (spawned, count) = fan_out(connections);
            spawned.spawn(&Handle::current());
            assert_eq!(count(), 0, "the tasks have not run");
            while count() < connections {
                yield_now().await;
            }
        }
    }
}
