//! One thread writes the search index. It hears which logs changed and goes on until the index holds what they hold.

use std::{
    collections::BTreeSet,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::index::Index;

/// Between two rounds while there are changes: one transaction for all of them costs little more than one for each message.
/// The first change after a rest is indexed at once.
const ROUND: Duration = Duration::from_millis(100);
/// Between two tries when a log could not be indexed; twice as long after each, up to [`LONGEST_RETRY`]. The other logs wait
/// as long for their next step.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// The thread. It ends soon after it is closed or dropped; what it did not come to is done after the next start.
pub struct Indexer {
    changes: Arc<Changes>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Logs that changed since the thread last looked.
#[derive(Default)]
pub struct Changes {
    /// A std mutex: it is held for operations on the set.
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    logs: BTreeSet<String>,
    closed: bool,
}

impl Indexer {
    /// Begins with what the index lacks. `lock` is what must be held for as long as the thread writes.
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

    /// The handle ends when the thread has left the index.
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
        self.bell.notify_one();
    }

    fn close(&self) {
        self.state().closed = true;
        self.bell.notify_one();
    }

    /// Moves what changed into `due`. Waits for a change, unless something is due already. False when it is closed.
    fn take(&self, due: &mut BTreeSet<String>) -> bool {
        let idle = |state: &mut State| due.is_empty() && state.logs.is_empty() && !state.closed;
        let mut state = self
            .bell
            .wait_while(self.state(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        due.append(&mut mem::take(&mut state.logs));
        !state.closed
    }

    /// Waits, but no longer than until it is closed.
    fn rest(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return;
            }
            let waited = self.bell.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A panic while the lock was held leaves the set whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(mut index: Index, changes: &Changes) {
    // All, until it is known which of them lack something.
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
        let goes_on = due.as_ref().is_some_and(|due| !due.is_empty());
        match failed {
            Ok(()) if goes_on => retry = RETRY,
            Ok(()) => {
                retry = RETRY;
                changes.rest(ROUND);
            }
            Err(error) => {
                tracing::warn!(error, "the search index could not be written; trying again");
                changes.rest(retry);
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
        if changes.state().closed {
            return;
        }
    }
}

/// One step for each log that is due, so that a long one does not hold up the others. Those that are complete are due no more.
fn round(index: &mut Index, due: &mut BTreeSet<String>) -> Result<(), String> {
    let mut outcome = Ok(());
    due.retain(|log| {
        // A panic is a step that failed: the thread goes on, and the transaction was undone.
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
