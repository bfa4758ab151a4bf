//! One job: its state machine (queued, running, then done, failed or cancelled), its rate, its history.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rate::Rate;
use crate::progress::message::{JobEvent, JobKind, JobStatus, JobView, Progress};
use realtime::{
    id::SpelledId,
    position::{Epoch, Position},
    server::{
        Mirrored, Selection, now_ms,
        topic::{Delivery, Events, Pending, Topic},
    },
};

/// The error of a job that a restart interrupted.
const INTERRUPTED: &str = "The server restarted while this job ran. Start it again.";
/// The error of a job whose node was lost.
pub const LOST: &str = "The server that ran this job was lost. Start it again.";
/// The error of a job whose node shut down, while others go on.
pub const SHUT_DOWN: &str = "The server that ran this job shut down. Start it again.";
/// The minimum time between two progress events: at most 20 a second, because more is only noise to a person. The last
/// one is never lost.
const EVENT_GAP: Duration = Duration::from_millis(50);

/// A job. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Job(Arc<JobState>);

struct JobState {
    id: SpelledId,
    kind: JobKind,
    owner: Uuid,
    started_at: u64,
    topic: Topic<State>,
    cancel: CancellationToken,
    /// Set once the start of the job is stored.
    stored: SetOnce<()>,
}

/// The state that a job's events describe. Other nodes mirror it.
#[derive(Serialize, Deserialize)]
pub struct State {
    progress: Progress,
    /// When the job ended (Unix milliseconds), and how.
    ended: Option<(u64, Outcome)>,
    #[serde(skip)]
    rate: Rate,
    #[serde(skip)]
    published: Option<Instant>,
    /// The newest progress is not published yet; a timer will publish it.
    #[serde(skip)]
    dirty: bool,
    /// The record of the end was made, with the position of the next event: nothing but the end may be published.
    #[serde(skip)]
    is_ending: bool,
}

/// The properties of a new job.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub id: SpelledId,
    pub kind: JobKind,
    pub owner: Uuid,
    /// `None` if it is not known.
    pub total: Option<u64>,
    /// What is counted, in the plural.
    pub unit: &'static str,
}

/// A job as it is stored: written when it starts and when it ends, read when the server starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub id: SpelledId,
    pub kind: JobKind,
    pub owner: Uuid,
    /// Unix milliseconds.
    pub started_at: u64,
    pub progress: Progress,
    /// `None` while the job runs.
    pub end: Option<End>,
    /// The node that wrote this record: the one that runs the job, or that found it lost. `None` on one server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Uuid>,
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
            node: None,
        };
        Self::with(record, |state| {
            Topic::new(state, Delivery::EveryEvent, history)
        })
    }

    /// Restores a job of an earlier process, with its end. For a job that was interrupted, see
    /// [`JobRecord::end_or_interrupted`]. A client that received the end then is still at the end; any other client
    /// gets the state and the end again.
    pub fn restored(record: JobRecord, end: End) -> Self {
        let before_end = Position::new(end.position.epoch, end.position.offset.saturating_sub(1));
        let job = Self::with(record, |state| {
            Topic::after(state, Delivery::EveryEvent, 1, before_end)
        });
        job.0
            .topic
            .change(|state, events| state.end(events, end.at, end.outcome));
        job
    }

    /// A job that runs at another node. It stands as it was stored until its events come.
    pub fn mirrored(record: JobRecord, history: usize) -> Self {
        Self::with(record, |state| {
            Topic::new(state, Delivery::EveryEvent, history)
        })
    }

    fn with(record: JobRecord, topic: impl FnOnce(State) -> Topic<State>) -> Self {
        let state = State {
            progress: record.progress,
            ended: None,
            rate: Rate::default(),
            published: None,
            dirty: false,
            is_ending: false,
        };
        Self(Arc::new(JobState {
            id: record.id,
            kind: record.kind,
            owner: record.owner,
            started_at: record.started_at,
            topic: topic(state),
            cancel: CancellationToken::new(),
            stored: SetOnce::new(),
        }))
    }

    pub fn id(&self) -> Uuid {
        self.0.id.value()
    }

    pub fn owner(&self) -> Uuid {
        self.0.owner
    }

    pub fn started_at(&self) -> u64 {
        self.0.started_at
    }

    pub fn topic(&self) -> &Topic<State> {
        &self.0.topic
    }

    /// Resolves when cancellation was requested.
    pub async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Asks the job to stop. It ends as cancelled unless it has ended before.
    pub fn cancel(&self) {
        self.0.cancel.cancel();
    }

    /// The start of the job is stored.
    pub fn set_stored(&self) {
        // Set before: it was stored twice, which makes no difference.
        let _ = self.0.stored.set(());
    }

    /// Resolves when the start of the job is stored.
    pub async fn stored(&self) {
        self.0.stored.wait().await;
    }

    /// Changes the status from queued to running.
    pub fn start(&self) {
        self.0.topic.change(|state, events| {
            if state.progress.status == JobStatus::Queued && !state.is_ending {
                state.progress.status = JobStatus::Running;
                state.publish_progress(events);
            }
        });
    }

    /// Sets the count to `done`. The progress is published at once or, within `EVENT_GAP` of the last event, at the
    /// end of that time, merged with what follows.
    pub fn progress(&self, done: u64, note: &str) {
        let due = self.0.topic.change(|state, events| {
            // A task that blocks may continue for a moment after it was cancelled, and any task while the server shuts down.
            let is_running = state.progress.status == JobStatus::Running && !state.is_ending;
            if !is_running || self.is_cancelled() {
                return None;
            }
            state.advance(done, note, events)
        });
        if let Some(due) = due {
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(due.into()).await;
                this.0.topic.change(State::publish_pending);
            });
        }
    }

    /// The job as it is now, to be stored.
    pub fn record(&self) -> JobRecord {
        let progress = self.0.topic.change(|state, events| {
            state.publish_pending(events);
            state.progress.clone()
        });
        self.recorded(progress, None)
    }

    /// The job as it is once it has ended, to be stored. The record holds the next position as that of the end, so from here
    /// on no progress is published, and [`Job::end`] follows. `None` if there is such a record already.
    pub fn record_end(&self, outcome: Outcome) -> Option<JobRecord> {
        let (progress, end) = self.0.topic.change(|state, events| {
            if std::mem::replace(&mut state.is_ending, true) || state.ended.is_some() {
                return None;
            }
            state.publish_pending(events);
            let mut progress = state.progress.clone();
            progress.status = outcome.status();
            progress.eta_ms = None;
            let mut position = events.position().clone();
            position.offset += 1;
            let end = End {
                at: now_ms(),
                outcome,
                position,
            };
            Some((progress, end))
        })?;
        Some(self.recorded(progress, Some(end)))
    }

    fn recorded(&self, progress: Progress, end: Option<End>) -> JobRecord {
        JobRecord {
            id: self.0.id.clone(),
            kind: self.0.kind,
            owner: self.0.owner,
            started_at: self.0.started_at,
            progress,
            end,
            node: None,
        }
    }

    /// Ends the job; only the first end counts.
    pub fn end(&self, outcome: Outcome) {
        self.0.topic.change(|state, events| {
            if !state.progress.status.is_final() {
                state.publish_pending(events);
                state.end(events, now_ms(), outcome);
            }
        });
    }

    /// Resolves when the job has ended.
    pub async fn ended(&self) {
        loop {
            let none = |_: &State, _: &dyn Fn(&()) -> bool| Vec::<JobEvent>::new();
            let mut reader = self.topic().open(None, Selection::all(), none).reader;
            loop {
                if self.topic().end_position().is_some() {
                    return;
                }
                // The history was replaced: by that of another node.
                if reader.take(usize::MAX) == Pending::Lagged {
                    break;
                }
                reader.changed().await;
            }
        }
    }

    /// Whether these are one job, and not two under one id.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// When the job ended (Unix milliseconds).
    pub fn ended_at(&self) -> Option<u64> {
        let ended = |state: &State, _| state.ended.as_ref().map(|(at, _)| *at);
        self.0.topic.read(ended)
    }

    pub fn view(&self) -> JobView {
        let JobState {
            ref id,
            kind,
            owner,
            started_at,
            ..
        } = *self.0;
        self.0.topic.read(|state, position| {
            let (result, error) = match &state.ended {
                Some((_, Outcome::Done(result))) => (Some(result.clone()), None),
                Some((_, Outcome::Failed(error))) => (None, Some(error.clone())),
                Some((_, Outcome::Cancelled)) | None => (None, None),
            };
            JobView {
                id: id.clone(),
                kind,
                owner,
                started_at,
                progress: state.progress.clone(),
                result,
                error,
                position,
            }
        })
    }
}

impl Mirrored for State {
    type Event = JobEvent;
    type Key = ();

    fn apply(&mut self, event: JobEvent) -> Option<()> {
        let outcome = match event {
            JobEvent::State(progress) | JobEvent::Progress(progress) => {
                self.progress = progress;
                return Some(());
            }
            JobEvent::Done { result } => Outcome::Done(result),
            JobEvent::Failed { error } => Outcome::Failed(error),
            JobEvent::Cancelled => Outcome::Cancelled,
        };
        self.set_end(now_ms(), outcome);
        Some(())
    }

    fn key(&self, _event: &JobEvent) -> Option<()> {
        Some(())
    }
}

impl State {
    /// The event that gives the state to a client that does not resume.
    pub fn snapshot(&self) -> JobEvent {
        JobEvent::State(self.progress.clone())
    }

    /// Sets the count. Returns the time at which the pending progress has to be published, if a timer is needed for it.
    fn advance(
        &mut self,
        done: u64,
        note: &str,
        events: &mut Events<(), JobEvent>,
    ) -> Option<Instant> {
        let now = Instant::now();
        self.rate.add(done, now);
        self.progress.done = done;
        if self.progress.note != note {
            self.progress.note = note.into();
        }
        let left = self.progress.total.map(|total| total.saturating_sub(done));
        self.progress.eta_ms = left.and_then(|left| self.rate.eta_ms(left));
        let due = self.published.map(|published| published + EVENT_GAP);
        let Some(due) = due.filter(|due| *due > now) else {
            self.publish_progress(events);
            return None;
        };
        // If a progress is pending, the timer is set already.
        (!std::mem::replace(&mut self.dirty, true)).then_some(due)
    }

    fn publish_pending(&mut self, events: &mut Events<(), JobEvent>) {
        // A job may have ended while the timer ran; its end published what was pending.
        if std::mem::take(&mut self.dirty) {
            self.publish_progress(events);
        }
    }

    fn publish_progress(&mut self, events: &mut Events<(), JobEvent>) {
        self.dirty = false;
        self.published = Some(Instant::now());
        events.push((), JobEvent::Progress(self.progress.clone()));
    }

    fn end(&mut self, events: &mut Events<(), JobEvent>, at: u64, outcome: Outcome) {
        events.push((), outcome.clone().event());
        events.end();
        self.set_end(at, outcome);
    }

    fn set_end(&mut self, at: u64, outcome: Outcome) {
        self.progress.eta_ms = None;
        self.progress.status = outcome.status();
        self.ended = Some((at, outcome));
    }
}

impl JobRecord {
    /// The end of this job. A job that was running when the server stopped has failed. The position of such an end has
    /// a new epoch, because the steps before it are lost.
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

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
