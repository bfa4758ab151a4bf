//! Messages and contracts of jobs and of the transport race.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use realtime::{
    contract::{SocketContract, StreamContract, fill},
    id::SpelledId,
    position::Position,
    strum::VariantNames,
};

/// The caller's own jobs, newest first.
pub const JOBS_ROUTE: &str = "/api/jobs";
pub const JOB_ROUTE: &str = "/api/jobs/{id}";
/// Receives a file; `id` and `size` (bytes) in the query are optional.
pub const UPLOAD_ROUTE: &str = "/api/jobs/upload";

/// The event stream of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvents {
    pub id: Uuid,
}

/// The states of a job, in the order in which it goes through them. It reaches exactly one of the last three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Countdown,
    Checksum,
    Race,
}

/// The progress of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub status: JobStatus,
    pub done: u64,
    /// `None` while it is not known.
    pub total: Option<u64>,
    /// What is counted, in the plural: steps, bytes, messages.
    pub unit: String,
    /// The estimated milliseconds left; `None` before there is a rate to estimate from.
    pub eta_ms: Option<u64>,
    /// What the job is doing now; may be empty.
    pub note: String,
}

realtime::tagged! {
    /// Server to client.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum JobEvent {
        /// The present progress. Sent after a `hello` that did not recover.
        State(Progress),
        /// A step, at most 20 a second. It is a whole state, so that a client that resumes needs no other.
        Progress(Progress),
        /// The end: the job is finished. `result` is an object of the job's kind.
        Done { result: serde_json::Value },
        /// The end: the job failed. `error` is a sentence.
        Failed { error: String },
        /// The end: the job was cancelled.
        Cancelled,
    }
}

/// The event stream of a race: one transport of one round. Only the race's own client may open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceEvents {
    pub lane: Uuid,
}

/// As [`RaceEvents`], over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSocket {
    pub lane: Uuid,
}

realtime::tagged! {
    /// Server to client, the same over both transports.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum RaceEvent {
        /// One of the messages of the race.
        Payload { data: String },
    }
}

/// Client to server: nothing, the client of a race only reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(crate = "realtime::strum")]
pub enum RaceCommand {}

/// A race adds nothing to `welcome`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaceWelcome {}

/// A job as JSON, and as the first state of its page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// In the spelling of the client that made the job.
    pub id: SpelledId,
    pub kind: JobKind,
    /// The user who started the job, and the only one who may cancel it.
    pub owner: Uuid,
    /// Unix milliseconds.
    pub started_at: u64,
    #[serde(flatten)]
    pub progress: Progress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The position of the job's history.
    pub position: Position,
}

/// The answer to a start. The id is spelled as in the request, if the request had one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub id: SpelledId,
}

impl Progress {
    /// Combines a received progress with the `known` one; `None` if it is older. A job only goes forwards: if a server
    /// that crashed reports a smaller count than before, the larger count is kept.
    pub fn after(self, known: Option<&Self>) -> Option<Self> {
        let Some(known) = known else {
            return Some(self);
        };
        let is_past = (self.status, self.done) < (known.status, known.done);
        let done = self.done.max(known.done);
        (!is_past).then_some(Self { done, ..self })
    }
}

impl JobKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Countdown => "Countdown",
            Self::Checksum => "Checksum",
            Self::Race => "Transport race",
        }
    }
}

impl JobStatus {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Running => "Running",
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }
}

impl Progress {
    /// Whole percent, 0 to 100; `None` while the total is not known.
    pub fn percent(&self) -> Option<u64> {
        let total = self.total?;
        Some(
            (self.done.min(total) * 100)
                .checked_div(total)
                .unwrap_or(100),
        )
    }
}

impl StreamContract for JobEvents {
    const NAME: &'static str = "job";
    const ROUTE: &'static str = "/api/jobs/{id}/events";

    type Event = JobEvent;

    fn url(&self) -> String {
        fill(Self::ROUTE, &[&self.id.to_string()])
    }

    fn is_state(event: &JobEvent) -> bool {
        matches!(event, JobEvent::State(_))
    }

    fn is_last(event: &JobEvent) -> bool {
        matches!(
            event,
            JobEvent::Done { .. } | JobEvent::Failed { .. } | JobEvent::Cancelled
        )
    }
}

impl StreamContract for RaceEvents {
    const NAME: &'static str = "race";
    const ROUTE: &'static str = "/api/races/{lane}/events";

    type Event = RaceEvent;

    fn url(&self) -> String {
        fill(Self::ROUTE, &[&self.lane.to_string()])
    }
}

impl SocketContract for RaceSocket {
    const NAME: &'static str = "race";
    const ROUTE: &'static str = "/api/races/{lane}/socket";
    const SUBPROTOCOL: &'static str = "wirewise.race.v1";

    type Welcome = RaceWelcome;
    type Command = RaceCommand;
    type Event = RaceEvent;

    fn url(&self) -> String {
        fill(Self::ROUTE, &[&self.lane.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(status: JobStatus, done: u64) -> Progress {
        Progress {
            status,
            done,
            total: Some(50),
            unit: "steps".into(),
            eta_ms: None,
            note: String::new(),
        }
    }

    #[test]
    fn a_bar_never_goes_back_in_whatever_order_progress_is_received() {
        use JobStatus::{Failed, Queued, Running};
        let received = [
            (Queued, 0),
            (Running, 24),
            // Steps that are older than the rendered state, and a state that is older than a step.
            (Running, 22),
            (Queued, 0),
            (Running, 24),
            (Running, 25),
            // After a crash the server has only what it stored.
            (Failed, 0),
            (Running, 30),
        ];
        let (mut known, mut shown) = (None, vec![]);
        for (status, done) in received {
            known = progress(status, done).after(known.as_ref()).or(known);
            shown.extend(known.as_ref().map(|known| (known.status, known.done)));
        }
        assert!(shown.is_sorted(), "{shown:?}");
        let dones: Vec<u64> = shown.iter().map(|(_, done)| *done).collect();
        assert!(dones.is_sorted(), "{dones:?}");
        assert_eq!(shown.last(), Some(&(Failed, 25)));
    }
}
