//! Runs jobs: a few at a time, a bounded number in line, and whatever happens each one ends.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::job::{Job, Outcome};
use crate::{api::ApiError, realtime::server::Drain};

/// Jobs that may wait for their turn.
const WAITING: usize = 64;
/// Finished jobs that are remembered; beyond it the oldest are forgotten.
const REMEMBERED: usize = 1_000;
/// When a refused start may be tried again, in seconds.
const RETRY_SECONDS: u64 = 5;

/// What a job does.
pub trait Task: Send + 'static {
    /// Runs to the end. It stops at an await when the job is cancelled; what it must tidy up, it does on drop.
    fn run(self, job: Job) -> impl Future<Output = Result<Value, JobError>> + Send;
}

/// Why a job failed, in a sentence for its owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

/// A countdown: so many steps, so long each. The simplest thing that takes a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Countdown {
    pub steps: u64,
    pub step: Duration,
}

/// All jobs of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    /// A std mutex: it is held for map operations only.
    jobs: Mutex<HashMap<Uuid, Job>>,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    history: usize,
    drain: Drain,
}

impl Jobs {
    pub fn new(at_once: usize, history: usize, drain: Drain) -> Self {
        Self(Arc::new(Inner {
            jobs: Mutex::default(),
            running: Arc::new(Semaphore::new(at_once)),
            waiting: AtomicUsize::new(0),
            history,
            drain,
        }))
    }

    pub fn get(&self, id: Uuid) -> Option<Job> {
        self.jobs().get(&id).cloned()
    }

    /// A user's jobs, newest first.
    pub fn of(&self, owner: Uuid) -> Vec<Job> {
        let mut mine: Vec<Job> = self
            .jobs()
            .values()
            .filter(|job| job.owner() == owner)
            .cloned()
            .collect();
        mine.sort_by_key(|job| std::cmp::Reverse(job.started_at()));
        mine
    }

    /// Starts a countdown.
    pub fn countdown(&self, owner: Uuid, countdown: Countdown) -> Result<Job, ApiError> {
        let job = Job::new(
            "countdown",
            owner,
            Some(countdown.steps),
            "steps",
            self.0.history,
        );
        self.start(job, countdown)
    }

    /// Puts a job in line, or says that the line is full.
    pub fn start(&self, job: Job, task: impl Task) -> Result<Job, ApiError> {
        let permit = self.0.running.clone().try_acquire_owned().ok();
        if permit.is_none() && self.0.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            let error = format!(
                "{WAITING} jobs wait for their turn already. Try again when some have ended."
            );
            return Err(ApiError::too_many(error, RETRY_SECONDS));
        }
        self.remember(job.clone());
        let (this, started) = (self.clone(), job.clone());
        tokio::spawn(async move {
            let permit = match permit {
                Some(permit) => Some(permit),
                None => {
                    let permit = tokio::select! {
                        permit = this.0.running.clone().acquire_owned() => permit.ok(),
                        () = started.cancelled() => None,
                    };
                    this.0.waiting.fetch_sub(1, Ordering::Relaxed);
                    permit
                }
            };
            let outcome = match permit {
                Some(_permit) => this.run_to_end(&started, task).await,
                None => Outcome::Cancelled,
            };
            started.end(outcome);
        });
        Ok(job)
    }

    async fn run_to_end(&self, job: &Job, task: impl Task) -> Outcome {
        job.start();
        // A task of its own, so that a panic ends the job and not the bar.
        let mut running = tokio::spawn(task.run(job.clone()));
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = job.cancelled() => {
                running.abort();
                return Outcome::Cancelled;
            }
        };
        match ended {
            Ok(Ok(result)) => Outcome::Done(result),
            Ok(Err(error)) => Outcome::Failed(error.0),
            Err(error) => {
                tracing::error!(job.id = %job.id(), %error, "a job panicked");
                Outcome::Failed(
                    "The job broke; this is a defect of the server, and it is logged there.".into(),
                )
            }
        }
    }

    fn remember(&self, job: Job) {
        let mut jobs = self.jobs();
        while jobs.len() >= REMEMBERED {
            let finished = jobs
                .values()
                .filter(|job| job.topic().end_position().is_some());
            let Some(oldest) = finished.min_by_key(|job| job.started_at()).map(Job::id) else {
                break;
            };
            jobs.remove(&oldest);
        }
        jobs.insert(job.id(), job);
    }

    pub fn drain(&self) -> &Drain {
        &self.0.drain
    }

    /// A panic while the lock was held leaves the map whole.
    fn jobs(&self) -> MutexGuard<'_, HashMap<Uuid, Job>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task for Countdown {
    async fn run(self, job: Job) -> Result<Value, JobError> {
        let started = std::time::Instant::now();
        let mut steps = tokio::time::interval(self.step);
        steps.tick().await;
        for done in 1..=self.steps {
            steps.tick().await;
            job.progress(done, &format!("step {done} of {}", self.steps));
        }
        Ok(json!({ "steps": self.steps, "elapsed_ms": started.elapsed().as_millis() as u64 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::message::JobStatus;

    struct Panics;

    impl Task for Panics {
        async fn run(self, _job: Job) -> Result<Value, JobError> {
            panic!("on purpose");
        }
    }

    fn job() -> Job {
        Job::new("test", Uuid::new_v4(), None, "steps", 10)
    }

    async fn ended(job: &Job) -> JobStatus {
        let opening = job.topic().read_from(0, Box::new(|()| true));
        let mut reader = opening;
        while job.topic().end_position().is_none() {
            let _ = reader.take(usize::MAX);
            reader.changed().await;
        }
        job.view().progress.status
    }

    #[tokio::test]
    async fn a_job_that_panics_has_failed() {
        let jobs = Jobs::new(1, 10, Drain::default());
        let job = jobs.start(job(), Panics).unwrap();
        assert_eq!(ended(&job).await, JobStatus::Failed);
        assert!(job.view().error.unwrap().contains("defect"));
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_wait_for_their_turn_and_a_full_line_is_refused() {
        let jobs = Jobs::new(1, 10, Drain::default());
        let countdown = Countdown {
            steps: 2,
            step: Duration::from_millis(100),
        };
        let owner = Uuid::new_v4();
        let all: Vec<Job> = (0..=WAITING)
            .map(|_| jobs.countdown(owner, countdown).unwrap())
            .collect();
        let refusal = jobs.countdown(owner, countdown).err().unwrap();
        assert_eq!(
            (refusal.status, refusal.retry_after),
            (Some(429), Some(RETRY_SECONDS))
        );
        all[1].cancel();
        assert_eq!(
            ended(&all[1]).await,
            JobStatus::Cancelled,
            "also while it waits"
        );
        for (index, job) in all.iter().enumerate().filter(|(index, _)| *index != 1) {
            assert_eq!(ended(job).await, JobStatus::Done, "job {index}");
        }
        assert_eq!(jobs.of(owner).len(), WAITING + 1);
    }
}
