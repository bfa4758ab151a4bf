//! The trait of a job's task, and the simplest task: a countdown.

pub mod checksum;
pub mod race;

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::job::Job;
use crate::progress::result::CountdownResult;

/// The task of a job.
pub trait Task: Send + 'static {
    /// The `result` of the `done` event.
    type Result: Serialize + Send + 'static;

    /// Runs to the end, and reports its progress to `job`. When the job is cancelled, the future is dropped at an
    /// await, so cleanup belongs in `Drop`. Code that blocks checks [`Job::is_cancelled`].
    fn run(self, job: Job) -> impl Future<Output = Result<Self::Result, JobError>> + Send;
}

/// Why a job failed, in a sentence for its owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

impl JobError {
    /// What the owner of a job reads when it failed by a defect of the server.
    pub const DEFECT: &'static str =
        "The job broke; this is a defect of the server, and it is logged there.";

    /// The error for a defect of the server. Its text is logged, and the owner reads that the server is at fault.
    pub fn broke(error: impl Display) -> Self {
        tracing::error!(%error, "a job broke");
        Self(Self::DEFECT.into())
    }
}

/// A countdown of `steps` steps that take `step` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Countdown {
    pub steps: u64,
    pub step: Duration,
}

impl Task for Countdown {
    type Result = CountdownResult;

    async fn run(self, job: Job) -> Result<CountdownResult, JobError> {
        let started = Instant::now();
        let mut steps = tokio::time::interval(self.step);
        steps.tick().await;
        for done in 1..=self.steps {
            steps.tick().await;
            job.progress(done, &format!("step {done} of {}", self.steps));
        }
        Ok(CountdownResult {
            steps: self.steps,
            elapsed_ms: started.elapsed().as_millis() as u64,
        })
    }
}
