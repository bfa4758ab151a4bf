//! What crosses the wire for jobs.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use realtime::{
    contract::{SocketContract, StreamContract, fill},
    id::SpelledId,
    position::Position,
};

/// The caller's own jobs, newest first.
pub const JOBS_ROUTE: &str = "/api/jobs";
pub const JOB_ROUTE: &str = "/api/jobs/{id}";
/// Takes a file; `id` and `size` (bytes) in the query are optional.
pub const UPLOAD_ROUTE: &str = "/api/jobs/upload";

/// The event stream of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvents {
    pub id: Uuid,
}

/// In the order in which a job goes through them; it has one end.
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

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub status: JobStatus,
    pub done: u64,
    /// `None` while it is not known.
    pub total: Option<u64>,
    /// What is counted, in the plural: steps, bytes, messages.
    pub unit: String,
    /// Milliseconds that are probably left; `None` before there is a rate to tell it from.
    pub eta_ms: Option<u64>,
    /// What it is doing now; may be empty.
    pub note: String,
}

/// Server to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum JobEvent {
    /// After a `hello` that did not recover: where the job stands now.
    State(Progress),
    /// A step, at most 20 a second: a whole state, so that a client that recovers needs no other.
    Progress(Progress),
    /// The end: it is finished; `result` is an object of the job's kind.
    Done { result: serde_json::Value },
    /// The end: it failed; `error` is a sentence.
    Failed { error: String },
    /// The end: it was cancelled.
    Cancelled,
}

/// One transport of one round of a race; for the race's own client alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceEvents {
    pub lane: Uuid,
}

/// As [`RaceEvents`], over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSocket {
    pub lane: Uuid,
}

/// Server to client, the same over both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RaceEvent {
    /// One of the messages that race.
    Payload { data: String },
}

/// The client of a race only reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RaceCommand {}

/// A race adds nothing to `welcome`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaceWelcome {}

/// A job as JSON, and as the server renders it first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// As the client spelled it that made it.
    pub id: SpelledId,
    pub kind: JobKind,
    /// Whoever started it, the only one who may cancel it.
    pub owner: Uuid,
    /// Unix milliseconds.
    pub started_at: u64,
    #[serde(flatten)]
    pub progress: Progress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where the job's history stands.
    pub position: Position,
}

/// The answer to a start. The id is spelled as in the request, where it had one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub id: SpelledId,
}

impl Progress {
    /// What is known after somebody said this; `None` when it is older than what was `known`. A job only goes forwards: where
    /// a server that broke off counts less than it had told before, the larger count stands.
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
    /// Full percent, 0 to 100; `None` while the total is not known.
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
    const ROUTE: &'static str = "/api/jobs/{id}/events";
    const EVENTS: &'static [&'static str] = &["state", "progress", "done", "failed", "cancelled"];
    const STATES: &'static [&'static str] = &["state"];

    type Event = JobEvent;

    fn url(&self) -> String {
        fill(Self::ROUTE, &[&self.id.to_string()])
    }

    fn is_last(event: &JobEvent) -> bool {
        matches!(
            event,
            JobEvent::Done { .. } | JobEvent::Failed { .. } | JobEvent::Cancelled
        )
    }
}

impl StreamContract for RaceEvents {
    const ROUTE: &'static str = "/api/races/{lane}/events";
    const EVENTS: &'static [&'static str] = &["payload"];
    const STATES: &'static [&'static str] = &[];

    type Event = RaceEvent;

    fn url(&self) -> String {
        fill(Self::ROUTE, &[&self.lane.to_string()])
    }
}

impl SocketContract for RaceSocket {
    const ROUTE: &'static str = "/api/races/{lane}/socket";
    const SUBPROTOCOL: &'static str = "wirewise.race.v1";
    const COMMANDS: &'static [&'static str] = &[];
    const EVENTS: &'static [&'static str] = &["payload"];

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
    fn a_bar_never_goes_back_whatever_is_said_in_which_order() {
        use JobStatus::{Failed, Queued, Running};
        let said = [
            (Queued, 0),
            (Running, 24),
            // Steps that came before what the page was rendered with, and a state that was older than a step.
            (Running, 22),
            (Queued, 0),
            (Running, 24),
            (Running, 25),
            // After a crash the server has only what it kept.
            (Failed, 0),
            (Running, 30),
        ];
        let (mut known, mut shown) = (None, vec![]);
        for (status, done) in said {
            known = progress(status, done).after(known.as_ref()).or(known);
            shown.extend(known.as_ref().map(|known| (known.status, known.done)));
        }
        assert!(shown.is_sorted(), "{shown:?}");
        let dones: Vec<u64> = shown.iter().map(|(_, done)| *done).collect();
        assert!(dones.is_sorted(), "{dones:?}");
        assert_eq!(shown.last(), Some(&(Failed, 25)));
    }
}
