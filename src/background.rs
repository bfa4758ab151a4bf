//! Runs background tasks under a supervisor, so that none of them ends unnoticed.
//!
//! Every task has a name. A panic is logged and counted (`wirewise_task_panics`, labelled with the name). The caller
//! chooses what follows:
//!
//! - [`Supervisor::run`]: the task starts again, with backoff. `/readyz` names the tasks that failed lately.
//! - [`Supervisor::essential`]: the server cannot go on without the task. The server drains, and the process ends with
//!   a sentence and a failure code, so that the supervisor of the process starts it again.
//! - [`Supervisor::once`] and [`Supervisor::guard`]: the task is not started again. The caller decides what its end
//!   means.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use realtime::{backoff::Backoff, server::Drain};

/// A run that lasted this long was stable: the next failure counts as the first.
const STABLE: Duration = Duration::from_secs(60);
/// A failure is reported for this long: the longest backoff, plus one run that was not stable.
const REPORTED: Duration = Duration::from_secs(90);
/// A task that failed this often in a row is reported as one that keeps failing.
const KEEPS_FAILING: u32 = 3;

/// Supervises tasks. Cheap to clone; all clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    drain: Drain,
    /// A std mutex, because it is held for one map operation only.
    failures: Mutex<BTreeMap<&'static str, Failures>>,
    /// Why the server cannot go on.
    broken: watch::Sender<Option<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    in_a_row: u32,
    last: Instant,
}

/// A task that failed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    pub task: &'static str,
    /// It has failed several times in a row.
    pub keeps_failing: bool,
}

impl Supervisor {
    /// Tasks are not started again once `drain` has started.
    pub fn new(drain: Drain) -> Self {
        Self(Arc::new(Tasks {
            drain,
            ..Tasks::default()
        }))
    }

    /// Runs a task until it returns. `begin` creates its future, and creates a new one after each panic.
    pub fn run<F>(
        &self,
        name: &'static str,
        mut begin: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send,
    {
        let this = self.clone();
        tokio::spawn(async move {
            let mut in_a_row = 0;
            loop {
                let began = Instant::now();
                // The guard also covers panics of `begin` itself.
                if this.guard(name, async { begin().await }).await.is_some() {
                    return;
                }
                in_a_row = if began.elapsed() < STABLE {
                    in_a_row + 1
                } else {
                    1
                };
                this.report(name, in_a_row);
                let delay = Backoff::default().delay_ms(in_a_row - 1, false, rand::random());
                tracing::warn!(
                    task = name,
                    in_a_row,
                    delay_ms = delay,
                    "a background task starts again"
                );
                tokio::select! {
                    () = sleep(Duration::from_millis(delay)) => {}
                    () = this.0.drain.started() => return,
                }
            }
        })
    }

    /// Runs a task without which the server cannot go on: [`Supervisor::broken`] resolves when it panics.
    pub fn essential(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            if this.guard(name, task).await.is_none() {
                let sentence = format!(
                    "The {name} broke, and the server cannot go on without it. The log says why."
                );
                this.0.broken.send_replace(Some(sentence));
            }
        })
    }

    /// Runs a task that nothing waits for and that is not started again.
    pub fn once(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        tokio::spawn(async move { this.guard(name, task).await });
    }

    /// Waits for a task; `None` if it panicked.
    pub async fn guard<T>(&self, name: &'static str, task: impl Future<Output = T>) -> Option<T> {
        // A panic drops what the task owns. What it shares with others is behind locks, and each lock documents what a
        // panic leaves behind.
        let ended = AssertUnwindSafe(task).catch_unwind().await;
        ended.map_err(|panic| log(name, panic.as_ref())).ok()
    }

    /// Resolves with a sentence when the server cannot go on.
    pub async fn broken(&self) -> String {
        let mut broken = self.0.broken.subscribe();
        // Cannot fail: the sender lives in `self`.
        let sentence = broken.wait_for(Option::is_some).await;
        sentence
            .ok()
            .and_then(|sentence| sentence.clone())
            .unwrap_or_default()
    }

    /// The tasks that failed lately, by name.
    pub fn failing(&self) -> Vec<Failing> {
        let mut failures = self.failures();
        failures.retain(|_, failures| failures.last.elapsed() < REPORTED);
        let failing = |(task, failures): (&&'static str, &Failures)| Failing {
            task,
            keeps_failing: failures.in_a_row >= KEEPS_FAILING,
        };
        failures.iter().map(failing).collect()
    }

    /// Several tasks may share a name, as rooms do. The one that failed most often counts.
    fn report(&self, name: &'static str, in_a_row: u32) {
        let last = Instant::now();
        let mut failures = self.failures();
        let known = failures
            .get(name)
            .filter(|known| known.last.elapsed() < REPORTED);
        let in_a_row = known.map_or(in_a_row, |known| known.in_a_row.max(in_a_row));
        failures.insert(name, Failures { in_a_row, last });
    }

    /// A panic while the lock is held leaves the map intact.
    fn failures(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Failures>> {
        self.0
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(name: &'static str, panic: &(dyn Any + Send)) {
    metrics::counter!("wirewise_task_panics", "task" => name).increment(1);
    tracing::error!(
        task = name,
        panic = panic_message(panic),
        "a background task panicked"
    );
}

/// The message of a panic.
pub fn panic_message(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Panics `times` times, then waits for ever.
    fn panics(
        times: u32,
    ) -> (
        Arc<AtomicU32>,
        impl FnMut() -> futures::future::BoxFuture<'static, ()>,
    ) {
        let runs = Arc::<AtomicU32>::default();
        let counter = runs.clone();
        let begin = move || {
            let run = counter.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(run >= times, "on purpose");
                std::future::pending().await
            }
            .boxed()
        };
        (runs, begin)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_starts_again_and_is_reported_for_a_while() {
        let supervisor = Supervisor::default();
        let (runs, begin) = panics(1);
        supervisor.run("probe", begin);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        let once = Failing {
            task: "probe",
            keeps_failing: false,
        };
        assert_eq!(supervisor.failing(), [once]);
        sleep(REPORTED).await;
        assert_eq!(supervisor.failing(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_keeps_panicking_is_started_with_backoff_and_reported_to_keep_failing() {
        let supervisor = Supervisor::default();
        let (runs, begin) = panics(u32::MAX);
        supervisor.run("probe", begin);
        sleep(Duration::from_secs(300)).await;
        let runs = runs.load(Ordering::Relaxed);
        assert!((10..=30).contains(&runs), "{runs} runs in five minutes");
        assert!(supervisor.failing()[0].keeps_failing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_begin_counts_too_and_nothing_starts_again_while_draining() {
        let drain = Drain::default();
        let supervisor = Supervisor::new(drain.clone());
        let task = supervisor.run("probe", || -> std::future::Ready<()> {
            panic!("on purpose")
        });
        tokio::task::yield_now().await;
        drain.start();
        task.await.unwrap();
        assert_eq!(supervisor.failing().len(), 1);
    }

    #[tokio::test]
    async fn an_essential_task_that_panics_breaks_the_server_and_one_that_returns_does_not() {
        let supervisor = Supervisor::default();
        supervisor.essential("good one", async {}).await.unwrap();
        assert!(supervisor.broken().now_or_never().is_none());
        supervisor.essential("bad one", async { panic!("on purpose") });
        assert!(supervisor.broken().await.contains("The bad one broke"));
    }

    #[tokio::test]
    async fn a_guarded_task_that_panics_returns_none() {
        let supervisor = Supervisor::default();
        assert_eq!(supervisor.guard("probe", async { 7 }).await, Some(7));
        assert_eq!(
            supervisor
                .guard("probe", async { panic!("on purpose") })
                .await,
            None::<u8>
        );
    }
}
