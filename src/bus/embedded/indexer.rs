//! Updates the search index on its own thread: it receives the names of changed logs and indexes them until they are
//! complete.

use std::{
    collections::BTreeSet,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::index::Index;

/// Pause between two rounds while there are changes: one transaction for all of them costs little more than one for a
/// single message. The first change after an idle time is indexed at once.
const ROUND: Duration = Duration::from_millis(100);
/// Pause after a failed attempt to index a log. It doubles after each failure, up to [`LONGEST_RETRY`]. The other logs
/// wait as long for their next step.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// The indexing thread. It ends soon after it is closed or dropped; the remaining work is done after the next start.
pub struct Indexer {
    changes: Arc<Changes>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Logs that have changed since the thread last took them.
#[derive(Default)]
pub struct Changes {
    /// A std mutex: it is held for operations on the set.
    state: Mutex<State>,
    changed: Condvar,
    /// Apart from `changed`, so that a pause between two rounds is not interrupted by each message.
    closing: Condvar,
}

#[derive(Default)]
struct State {
    logs: BTreeSet<String>,
    closed: bool,
}

impl Indexer {
    /// Starts the thread, which first adds what the index lacks. `lock` is held as long as the thread writes.
    pub fn start(index: Index, lock: impl Send + 'static) -> io::Result<Self> {
        let changes = Arc::<Changes>::default();
        let thread = thread::Builder::new().name("search-index".into()).spawn({
            let changes = changes.clone();
            move || {
                let _lock = lock;
                run(index, &changes);
            }
        })?;
        Ok(Self {
            changes,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub fn changes(&self) -> Arc<Changes> {
        self.changes.clone()
    }

    /// Stops the thread. The returned handle can be joined to wait until the thread has released the index.
    pub fn close(&self) -> Option<thread::JoinHandle<()>> {
        self.changes.close();
        self.thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.changes.close();
    }
}

impl Changes {
    pub fn add<'a>(&self, logs: impl IntoIterator<Item = &'a str>) {
        let mut state = self.state();
        for log in logs {
            if !state.logs.contains(log) {
                state.logs.insert(log.to_owned());
            }
        }
        self.changed.notify_one();
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
        self.closing.notify_one();
    }

    /// Moves the changed logs into `due`. Waits for a change unless some are due already. Returns false once it is
    /// closed.
    fn take(&self, due: &mut BTreeSet<String>) -> bool {
        let idle = |state: &mut State| due.is_empty() && state.logs.is_empty() && !state.closed;
        let mut state = self
            .changed
            .wait_while(self.state(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        due.append(&mut mem::take(&mut state.logs));
        !state.closed
    }

    /// Waits for this long, or until it is closed.
    fn wait_or_close(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return;
            }
            let waited = self.closing.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A poisoned lock is used all the same: the set is consistent after a panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(mut index: Index, changes: &Changes) {
    // `None` until the names of all logs were read: at the start every log is due.
    let mut due: Option<BTreeSet<String>> = None;
    let mut retry = RETRY;
    loop {
        let failed = match &mut due {
            None => match index.logs() {
                Ok(logs) => {
                    due = Some(logs.into_iter().collect());
                    continue;
                }
                Err(error) => Err(error.to_string()),
            },
            Some(due) => {
                if !changes.take(due) {
                    return;
                }
                round(&mut index, due)
            }
        };
        let has_more = due.as_ref().is_some_and(|due| !due.is_empty());
        match failed {
            Ok(()) if has_more => retry = RETRY,
            Ok(()) => {
                retry = RETRY;
                changes.wait_or_close(ROUND);
            }
            Err(error) => {
                tracing::warn!(error, "the search index could not be written; trying again");
                changes.wait_or_close(retry);
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
        if changes.state().closed {
            return;
        }
    }
}

/// Executes one step for each due log, so that a long log does not delay the others. Complete logs are removed from
/// `due`.
fn round(index: &mut Index, due: &mut BTreeSet<String>) -> Result<(), String> {
    let mut outcome = Ok(());
    due.retain(|log| {
        // A panic counts as a failed step: the transaction was rolled back, and the thread continues.
        let failed = match catch_unwind(AssertUnwindSafe(|| index.step(log))) {
            Ok(Ok(more)) => return more,
            Ok(Err(error)) => {
                index.give_up_if_damaged(&error);
                error.to_string()
            }
            Err(_) => "a panic".to_owned(),
        };
        outcome = Err(format!("{log}: {failed}"));
        true
    });
    outcome
}
