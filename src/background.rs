//! Background tasks under a supervisor: none of them ends unseen.
//!
//! Every task has a name. A panic is logged and counted (`wirewise_task_panics`, labelled with the name), and then one of
//! three things happens, which the caller chooses:
//!
//! - [`Supervisor::run`]: the task starts again, with backoff. `/readyz` names the tasks that failed lately.
//! - [`Supervisor::essential`]: the server cannot go on without the task. It drains, and the process ends with a sentence and
//!   a failure code, so that whatever supervises the process starts it anew.
//! - [`Supervisor::once`] and [`Supervisor::guard`]: the task has no second run. Its caller says what its end means.

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

/// A run that lasted this long was a good one: the next failure counts as the first.
const STABLE: Duration = Duration::from_secs(60);
/// A failure is reported this long: the longest backoff, and a run that was not a good one.
const REPORTED: Duration = Duration::from_secs(90);
/// A task that failed so often in a row keeps failing.
const KEEPS_FAILING: u32 = 3;

/// Supervises tasks. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    drain: Drain,
    /// A std mutex: it is held for one map operation.
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

    /// Runs a task until it returns. `begin` makes its future, and makes it anew after each panic.
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
                // Within the guard also what `begin` itself does.
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

    /// Runs a task that nobody waits for and that has no second run.
    pub fn once(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        tokio::spawn(async move { this.guard(name, task).await });
    }

    /// Waits for a task; `None` where it panicked.
    pub async fn guard<T>(&self, name: &'static str, task: impl Future<Output = T>) -> Option<T> {
        // What the task holds is dropped by the panic. What it shares with others is behind locks, each of which says what
        // a panic leaves behind.
        let ended = AssertUnwindSafe(task).catch_unwind().await;
        ended.map_err(|panic| log(name, panic.as_ref())).ok()
    }

    /// Resolves with a sentence when the server cannot go on.
    pub async fn broken(&self) -> String {
        let mut broken = self.0.broken.subscribe();
        // The sender lives in `self`.
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

    /// Several tasks may have one name, as rooms do: the one that fails most counts.
    fn report(&self, name: &'static str, in_a_row: u32) {
        let last = Instant::now();
        let mut failures = self.failures();
        let known = failures
            .get(name)
            .filter(|known| known.last.elapsed() < REPORTED);
        let in_a_row = known.map_or(in_a_row, |known| known.in_a_row.max(in_a_row));
        failures.insert(name, Failures { in_a_row, last });
    }

    /// A panic while the lock was held leaves the map whole.
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
        panic = words_of(panic),
        "a background task panicked"
    );
}

/// The words of a panic.
pub fn words_of(panic: &dyn Any) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Panics so many times, then waits for ever.
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
    async fn a_task_that_keeps_panicking_is_tried_with_backoff_and_said_to_keep_failing() {
        let supervisor = Supervisor::default();
        let (runs, begin) = panics(u32::MAX);
        supervisor.run("probe", begin);
        sleep(Duration::from_secs(300)).await;
        let runs = runs.load(Ordering::Relaxed);
        assert!((10..=30).contains(&runs), "{runs} runs in five minutes");
        assert!(supervisor.failing()[0].keeps_failing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_where_the_task_is_made_counts_too_and_nothing_starts_again_while_draining() {
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
    async fn a_guarded_task_that_panics_has_no_answer() {
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
