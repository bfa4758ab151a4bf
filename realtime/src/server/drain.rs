//! Leaving: every stream and socket is told when to come back, and the process is gone within its deadline.
//!
//! axum's own graceful shutdown waits for ever on an open event stream and does not wait at all for sockets; this does
//! neither. The listener closes at once: a refused connection lets every `EventSource` retry, a 503 would end it for good.

use std::{future::Future, time::Duration};

use rand::Rng;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Clients come back spread over these milliseconds, so that the next process does not meet all of them in one instant.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

/// The signal to leave and the tasks that still run. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// Tells everybody to leave.
    pub fn start(&self) {
        self.token.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the server begins to leave.
    pub async fn started(&self) {
        self.token.cancelled().await;
    }

    /// When a client shall come back, in milliseconds: drawn anew for each.
    pub fn retry_ms(&self) -> u64 {
        rand::rng().random_range(RETRY_MS)
    }

    /// Runs a task that [`Drain::finish`] waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Makes [`Drain::finish`] wait until the token is dropped; for tasks that somebody else spawns.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Waits until all tasks have ended or the deadline has passed. Says how many were left behind.
    pub async fn finish(&self, deadline: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(deadline, self.tasks.wait()).await;
        self.tasks.len()
    }
}
