//! Graceful shutdown: sends every stream and socket a time to reconnect, and ends the process within a deadline.
//!
//! axum's own graceful shutdown waits for ever on an open event stream and does not wait at all for sockets; this does
//! neither. The listener closes at once: after a refused connection an `EventSource` retries, but a 503 would end it
//! for good.

use std::{future::Future, time::Duration};

use rand::Rng;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Milliseconds over which the reconnects are spread, so that the next process does not get all of them at once.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

/// The shutdown signal and the tasks that still run. Cheap to clone; all clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// Sends the shutdown signal to all streams, sockets and tasks.
    pub fn start(&self) {
        self.token.cancel();
    }

    /// Whether [`Drain::start`] was called on any clone; from then on it stays true.
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the server begins to drain.
    pub async fn started(&self) {
        self.token.cancelled().await;
    }

    /// Milliseconds after which one client shall reconnect; each call draws a new random value.
    pub fn retry_ms(&self) -> u64 {
        rand::rng().random_range(RETRY_MS)
    }

    /// Runs a task that [`Drain::finish`] waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Makes [`Drain::finish`] wait until the token is dropped; for tasks that are spawned elsewhere.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Waits until all tasks have ended or the deadline has passed. Returns how many tasks still run.
    pub async fn finish(&self, deadline: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(deadline, self.tasks.wait()).await;
        self.tasks.len()
    }
}
