//! One job: its state machine (queued, running, then done, failed or cancelled), its rate, its history.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::message::{JobEvent, JobStatus, JobView, Progress};
use crate::realtime::{
    position::Position,
    server::{
        now_ms,
        topic::{Delivery, Topic},
    },
};

/// At most 20 progress events a second: more is only noise to a person. The last one is never lost.
const EVENT_GAP: Duration = Duration::from_millis(50);
/// How much the newest stretch counts in the smoothed rate.
const RATE_WEIGHT: f64 = 0.2;

/// A job. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

struct Inner {
    id: Uuid,
    kind: &'static str,
    owner: Uuid,
    started_at: u64,
    topic: Topic<()>,
    cancel: CancellationToken,
    /// A std mutex: it is held to change the state and publish the change, so that state and position belong together.
    state: Mutex<State>,
}

struct State {
    progress: Progress,
    outcome: Option<Outcome>,
    /// The position before the terminal event: whoever comes to a finished job gets the state there, then its end.
    before_end: u64,
    rate: Rate,
    published: Option<Instant>,
    /// The newest progress is not published yet.
    dirty: bool,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done(Value),
    Failed(String),
    Cancelled,
}

impl Job {
    pub fn new(
        kind: &'static str,
        owner: Uuid,
        total: Option<u64>,
        unit: &str,
        history: usize,
    ) -> Self {
        let progress = Progress {
            status: JobStatus::Queued,
            done: 0,
            total,
            unit: unit.into(),
            eta_ms: None,
            note: String::new(),
        };
        let state = State {
            progress,
            outcome: None,
            before_end: 0,
            rate: Rate::default(),
            published: None,
            dirty: false,
        };
        Self(Arc::new(Inner {
            id: Uuid::new_v4(),
            kind,
            owner,
            started_at: now_ms(),
            topic: Topic::new(Delivery::EveryEvent, history),
            cancel: CancellationToken::new(),
            state: Mutex::new(state),
        }))
    }

    pub fn id(&self) -> Uuid {
        self.0.id
    }

    pub fn owner(&self) -> Uuid {
        self.0.owner
    }

    pub fn started_at(&self) -> u64 {
        self.0.started_at
    }

    pub fn topic(&self) -> &Topic<()> {
        &self.0.topic
    }

    /// Resolves when somebody asked to cancel.
    pub async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }

    /// Asks the job to stop; it ends as cancelled unless it ended before.
    pub fn cancel(&self) {
        self.0.cancel.cancel();
    }

    /// From queued to running.
    pub fn start(&self) {
        let mut state = self.state();
        if state.progress.status == JobStatus::Queued {
            state.progress.status = JobStatus::Running;
            self.publish_progress(&mut state);
        }
    }

    /// Counts up to `done`.
    pub fn progress(&self, done: u64, note: &str) {
        let mut state = self.state();
        if state.progress.status != JobStatus::Running {
            return;
        }
        let now = Instant::now();
        state.rate.add(done, now);
        state.progress.done = done;
        if state.progress.note != note {
            state.progress.note = note.into();
        }
        let left = state.progress.total.map(|total| total.saturating_sub(done));
        state.progress.eta_ms = left.and_then(|left| state.rate.eta_ms(left));
        state.dirty = true;
        if state
            .published
            .is_none_or(|published| now - published >= EVENT_GAP)
        {
            self.publish_progress(&mut state);
        }
    }

    /// Ends the job; only the first end counts.
    pub fn end(&self, outcome: Outcome) {
        let mut state = self.state();
        if state.progress.status.is_final() {
            return;
        }
        if state.dirty {
            self.publish_progress(&mut state);
        }
        state.before_end = self.0.topic.head().offset;
        state.progress.eta_ms = None;
        state.progress.status = outcome.status();
        state.outcome = Some(outcome.clone());
        self.0.topic.publish((), &outcome.event());
        self.0.topic.end();
    }

    /// The state and the position it belongs to: everything after that position is still to come.
    pub fn state_at(&self) -> (Progress, Position) {
        let state = self.state();
        let mut position = self.0.topic.head();
        if state.outcome.is_some() {
            position.offset = state.before_end;
        }
        (state.progress.clone(), position)
    }

    pub fn view(&self) -> JobView {
        let state = self.state();
        let (result, error) = match &state.outcome {
            Some(Outcome::Done(result)) => (Some(result.clone()), None),
            Some(Outcome::Failed(error)) => (None, Some(error.clone())),
            Some(Outcome::Cancelled) | None => (None, None),
        };
        let Inner {
            id,
            kind,
            owner,
            started_at,
            ..
        } = *self.0;
        let position = self.0.topic.head();
        JobView {
            id,
            kind: kind.into(),
            owner,
            started_at,
            progress: state.progress.clone(),
            result,
            error,
            position,
        }
    }

    fn publish_progress(&self, state: &mut State) {
        state.dirty = false;
        state.published = Some(Instant::now());
        self.0
            .topic
            .publish((), &JobEvent::Progress(state.progress.clone()));
    }

    /// A panic while the lock was held leaves a state that was true a moment before.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    fn status(&self) -> JobStatus {
        match self {
            Self::Done(_) => JobStatus::Done,
            Self::Failed(_) => JobStatus::Failed,
            Self::Cancelled => JobStatus::Cancelled,
        }
    }

    fn event(self) -> JobEvent {
        match self {
            Self::Done(result) => JobEvent::Done { result },
            Self::Failed(error) => JobEvent::Failed { error },
            Self::Cancelled => JobEvent::Cancelled,
        }
    }
}

/// An exponentially smoothed rate.
#[derive(Debug, Default)]
struct Rate {
    last: Option<(u64, Instant)>,
    per_ms: Option<f64>,
}

impl Rate {
    fn add(&mut self, done: u64, now: Instant) {
        let Some((before, since)) = self.last else {
            self.last = Some((done, now));
            return;
        };
        let elapsed = (now - since).as_secs_f64() * 1_000.0;
        // Below a millisecond the clock says more about itself than about the job.
        if elapsed < 1.0 {
            return;
        }
        let newest = done.saturating_sub(before) as f64 / elapsed;
        self.per_ms = Some(self.per_ms.map_or(newest, |rate| {
            rate * (1.0 - RATE_WEIGHT) + newest * RATE_WEIGHT
        }));
        self.last = Some((done, now));
    }

    fn eta_ms(&self, left: u64) -> Option<u64> {
        let rate = self.per_ms.filter(|rate| *rate > 0.0)?;
        Some((left as f64 / rate).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job::new("countdown", Uuid::new_v4(), Some(10), "steps", 100)
    }

    #[test]
    fn only_the_first_end_counts() {
        let job = job();
        job.start();
        job.end(Outcome::Cancelled);
        job.end(Outcome::Done(Value::Null));
        job.progress(5, "late");
        assert_eq!(job.view().progress.status, JobStatus::Cancelled);
        assert_eq!(job.view().progress.done, 0);
    }

    #[test]
    fn fast_progress_is_conflated_but_the_last_is_published() {
        let job = job();
        job.start();
        for done in 1..=10 {
            job.progress(done, "");
        }
        job.end(Outcome::Done(Value::Null));
        // running, the first step or none (it came within the gap), the last step, done
        let head = job.topic().head().offset;
        assert!((3..=4).contains(&head), "{head} events");
        assert_eq!(job.state_at().0.done, 10);
    }

    #[test]
    fn the_state_of_a_finished_job_stands_before_its_end() {
        let job = job();
        job.start();
        job.end(Outcome::Failed("broken".into()));
        let (progress, position) = job.state_at();
        assert_eq!(progress.status, JobStatus::Failed);
        assert_eq!(position.offset + 1, job.topic().head().offset);
    }

    #[test]
    fn a_steady_rate_gives_a_steady_estimate() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for step in 0..10 {
            rate.add(step, start + Duration::from_millis(step * 100));
        }
        assert_eq!(rate.eta_ms(5), Some(500));
        assert_eq!(Rate::default().eta_ms(5), None);
    }

    #[test]
    fn percent_is_whole_and_never_above_a_hundred() {
        let percent = |done, total| {
            Progress {
                done,
                total,
                ..job().state_at().0
            }
            .percent()
        };
        assert_eq!(percent(0, Some(3)), Some(0));
        assert_eq!(percent(2, Some(3)), Some(66));
        assert_eq!(percent(5, Some(3)), Some(100));
        assert_eq!(percent(0, Some(0)), Some(100));
        assert_eq!(percent(5, None), None);
    }
}
