//! One job: its state machine (queued, running, then done, failed or cancelled), its rate, its history.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::message::{JobEvent, JobKind, JobStatus, JobView, Progress};
use crate::realtime::{
    position::{Epoch, Position},
    server::{
        now_ms,
        topic::{Delivery, Topic},
    },
};

/// Why a job that was running has failed after a restart.
const INTERRUPTED: &str = "The server restarted while this job ran. Start it again.";
/// At most 20 progress events a second: more is only noise to a person. The last one is never lost.
const EVENT_GAP: Duration = Duration::from_millis(50);
/// How much the newest stretch counts in the smoothed rate.
const RATE_WEIGHT: f64 = 0.2;

/// A job. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

struct Inner {
    id: Uuid,
    kind: JobKind,
    owner: Uuid,
    started_at: u64,
    topic: Topic<()>,
    cancel: CancellationToken,
    /// A std mutex: it is held to change the state and publish the change, so that state and position belong together.
    state: Mutex<State>,
}

struct State {
    progress: Progress,
    /// When it ended (Unix milliseconds), and how.
    ended: Option<(u64, Outcome)>,
    /// The position before the terminal event: whoever comes to a finished job gets the state there, then its end.
    before_end: u64,
    rate: Rate,
    published: Option<Instant>,
    /// The newest progress is not published yet; a timer will.
    dirty: bool,
}

/// What a new job is.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub id: Uuid,
    pub kind: JobKind,
    pub owner: Uuid,
    /// `None` when it is not known.
    pub total: Option<u64>,
    /// What is counted, in the plural.
    pub unit: &'static str,
}

/// A job as it is kept: written when it starts and when it ends, read when the server starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub id: Uuid,
    pub kind: JobKind,
    pub owner: Uuid,
    /// Unix milliseconds.
    pub started_at: u64,
    pub progress: Progress,
    /// `None` while it runs.
    pub end: Option<End>,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Unix milliseconds.
    pub at: u64,
    pub outcome: Outcome,
    /// The position of the terminal event.
    pub position: Position,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done(Value),
    Failed(String),
    Cancelled,
}

impl Job {
    pub fn new(new: NewJob, history: usize) -> Self {
        let progress = Progress {
            status: JobStatus::Queued,
            done: 0,
            total: new.total,
            unit: new.unit.into(),
            eta_ms: None,
            note: String::new(),
        };
        let record = JobRecord {
            id: new.id,
            kind: new.kind,
            owner: new.owner,
            started_at: now_ms(),
            progress,
            end: None,
        };
        Self::with(record, Topic::new(Delivery::EveryEvent, history))
    }

    /// A job of an earlier process, with its end; for one that was interrupted, see [`JobRecord::end_or_interrupted`]. Whoever saw
    /// the end then is still at the end; anybody else gets the state and the end again.
    pub fn restored(record: JobRecord, end: End) -> Self {
        let before_end = Position::new(end.position.epoch, end.position.offset.saturating_sub(1));
        let job = Self::with(record, Topic::after(Delivery::EveryEvent, 1, before_end));
        job.publish_end(&mut job.state(), end.at, end.outcome);
        job
    }

    fn with(record: JobRecord, topic: Topic<()>) -> Self {
        let state = State {
            progress: record.progress,
            ended: None,
            before_end: 0,
            rate: Rate::default(),
            published: None,
            dirty: false,
        };
        Self(Arc::new(Inner {
            id: record.id,
            kind: record.kind,
            owner: record.owner,
            started_at: record.started_at,
            topic,
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

    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
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

    /// Counts up to `done`. Published at once, or, soon after the last time, a little later together with what follows.
    pub fn progress(&self, done: u64, note: &str) {
        let mut state = self.state();
        // A task that blocks may go on for a moment after it was cancelled.
        if state.progress.status != JobStatus::Running || self.is_cancelled() {
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
        let due = state.published.map(|published| published + EVENT_GAP);
        match due.filter(|due| *due > now) {
            None => self.publish_progress(&mut state),
            // The timer is set already.
            Some(_) if state.dirty => {}
            Some(due) => {
                state.dirty = true;
                let this = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep_until(due.into()).await;
                    this.publish_pending(&mut this.state());
                });
            }
        }
    }

    /// The job as it is kept once it has ended with `outcome`. Nothing but [`Job::end`] may follow: its position is the next.
    pub fn record(&self, outcome: Option<Outcome>) -> JobRecord {
        let mut state = self.state();
        self.publish_pending(&mut state);
        let mut progress = state.progress.clone();
        let end = outcome.map(|outcome| {
            progress.status = outcome.status();
            progress.eta_ms = None;
            let mut position = self.0.topic.head();
            position.offset += 1;
            End {
                at: now_ms(),
                outcome,
                position,
            }
        });
        JobRecord {
            id: self.0.id,
            kind: self.0.kind,
            owner: self.0.owner,
            started_at: self.0.started_at,
            progress,
            end,
        }
    }

    /// Ends the job; only the first end counts.
    pub fn end(&self, outcome: Outcome) {
        let mut state = self.state();
        if !state.progress.status.is_final() {
            self.publish_pending(&mut state);
            self.publish_end(&mut state, now_ms(), outcome);
        }
    }

    /// When it ended (Unix milliseconds).
    pub fn ended_at(&self) -> Option<u64> {
        self.state().ended.as_ref().map(|(at, _)| *at)
    }

    /// The state and the position it belongs to: everything after that position is still to come.
    pub fn state_at(&self) -> (Progress, Position) {
        let state = self.state();
        let mut position = self.0.topic.head();
        if state.ended.is_some() {
            position.offset = state.before_end;
        }
        (state.progress.clone(), position)
    }

    pub fn view(&self) -> JobView {
        let state = self.state();
        let (result, error) = match &state.ended {
            Some((_, Outcome::Done(result))) => (Some(result.clone()), None),
            Some((_, Outcome::Failed(error))) => (None, Some(error.clone())),
            Some((_, Outcome::Cancelled)) | None => (None, None),
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
            kind,
            owner,
            started_at,
            progress: state.progress.clone(),
            result,
            error,
            position,
        }
    }

    fn publish_pending(&self, state: &mut State) {
        // A job may have ended while the timer ran; its end published what was pending.
        if std::mem::take(&mut state.dirty) {
            self.publish_progress(state);
        }
    }

    fn publish_end(&self, state: &mut State, at: u64, outcome: Outcome) {
        state.before_end = self.0.topic.head().offset;
        state.progress.eta_ms = None;
        state.progress.status = outcome.status();
        self.0.topic.publish((), &outcome.clone().event());
        self.0.topic.end();
        state.ended = Some((at, outcome));
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

impl JobRecord {
    /// The end of this job, or, when it was running as the server stopped, that it failed. The position of such an end is in
    /// an epoch of its own, since the steps before it are lost.
    pub fn end_or_interrupted(&self) -> End {
        self.end.clone().unwrap_or_else(|| End {
            at: now_ms(),
            outcome: Outcome::Failed(INTERRUPTED.into()),
            position: Position::new(Epoch::random(), 1),
        })
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
    use crate::realtime::server::topic::{Opening, Pending};

    fn job() -> Job {
        let new = NewJob {
            id: Uuid::new_v4(),
            kind: JobKind::Countdown,
            owner: Uuid::new_v4(),
            total: Some(10),
            unit: "steps",
        };
        Job::new(new, 100)
    }

    /// A record as it comes back from where it was kept.
    fn kept(record: &JobRecord) -> JobRecord {
        serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn only_the_first_end_counts() {
        let job = job();
        job.start();
        job.end(Outcome::Cancelled);
        job.end(Outcome::Done(Value::Null));
        job.progress(5, "late");
        assert_eq!(job.view().progress.status, JobStatus::Cancelled);
        assert_eq!(job.view().progress.done, 0);
    }

    #[tokio::test]
    async fn fast_progress_is_conflated_but_the_last_is_published() {
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

    #[tokio::test]
    async fn the_last_step_before_a_long_silence_is_published_too() {
        let job = job();
        job.start();
        let mut reader = job.topic().read_from(0, Box::new(|()| true));
        job.progress(1, "");
        job.progress(7, "then nothing for long");
        let mut seen = String::new();
        while !seen.contains("\"done\":7") {
            reader.changed().await;
            if let Pending::Events(events) = reader.take(usize::MAX) {
                seen.push_str(std::str::from_utf8(&events).unwrap());
            }
        }
        assert!(!job.view().progress.status.is_final());
    }

    #[tokio::test]
    async fn the_state_of_a_finished_job_stands_before_its_end() {
        let job = job();
        job.start();
        job.end(Outcome::Failed("broken".into()));
        let (progress, position) = job.state_at();
        assert_eq!(progress.status, JobStatus::Failed);
        assert_eq!(position.offset + 1, job.topic().head().offset);
    }

    #[tokio::test]
    async fn a_finished_job_that_is_restored_ends_where_it_ended() {
        let job = job();
        job.start();
        job.progress(10, "");
        let outcome = Outcome::Done(serde_json::json!({ "steps": 10 }));
        let record = kept(&job.record(Some(outcome.clone())));
        job.end(outcome);
        let end = record.end.clone().unwrap();
        assert_eq!(Some(end.position.clone()), job.topic().end_position());

        let restored = Job::restored(record, end.clone());
        assert_eq!(restored.topic().end_position(), job.topic().end_position());
        assert_eq!(restored.ended_at(), Some(end.at));
        let (mut before, mut after) = (job.view(), restored.view());
        // The terminal event is published, and nothing else is left.
        (before.started_at, after.started_at) = (0, 0);
        assert_eq!(before, after);
        assert_eq!(restored.state_at(), job.state_at());
        // Who saw all but the end gets just that; who saw less, or nothing, begins with the state.
        let resumed = |offset| {
            let after = Position::new(end.position.epoch.clone(), offset);
            match restored.topic().resume(Some(&after), |()| true) {
                Opening::Recovered { replayed, .. } => Some(replayed),
                Opening::Fresh(_) => None,
            }
        };
        assert_eq!(resumed(end.position.offset - 1), Some(1));
        assert_eq!(resumed(0), None);
    }

    #[tokio::test]
    async fn a_job_that_a_restart_interrupted_has_failed() {
        let job = job();
        job.start();
        job.progress(3, "");
        let record = kept(&job.record(None));
        let restored = Job::restored(record.clone(), record.end_or_interrupted());
        let view = restored.view();
        assert_eq!(
            (view.progress.status, view.progress.done),
            (JobStatus::Failed, 3)
        );
        assert!(view.error.unwrap().contains("server restarted"));
        assert_ne!(view.position.epoch, job.topic().head().epoch);
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
