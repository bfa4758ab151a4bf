//! What a job does, and the simplest thing that takes a while: a countdown.

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

/// What a job does.
pub trait Task: Send + 'static {
    /// What `done` carries.
    type Result: Serialize + Send + 'static;

    /// Runs to the end, and tells `job` how far it is. It stops at an await when the job is cancelled, and what it must tidy
    /// up, it does on drop; where it blocks, it asks [`Job::is_cancelled`].
    fn run(self, job: Job) -> impl Future<Output = Result<Self::Result, JobError>> + Send;
}

/// Why a job failed, in a sentence for its owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

impl JobError {
    /// What the owner of a job reads when the server broke it.
    pub const DEFECT: &'static str =
        "The job broke; this is a defect of the server, and it is logged there.";

    /// A defect of ours: its words go into the log, and the owner is told that it is not their doing.
    pub fn broke(error: impl Display) -> Self {
        tracing::error!(%error, "a job broke");
        Self(Self::DEFECT.into())
    }
}

/// A countdown: so many steps, so long each.
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
