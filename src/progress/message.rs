//! What crosses the wire for jobs.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::realtime::{
    contract::{StreamContract, fill},
    position::Position,
};

pub const JOB_ROUTE: &str = "/api/jobs/{id}";

/// The event stream of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvents {
    pub id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
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
    /// After every `hello`: where the job stands now.
    State(Progress),
    /// A step, at most 20 a second.
    Progress(Progress),
    /// The end: it is finished; `result` is an object of the job's kind.
    Done { result: serde_json::Value },
    /// The end: it failed; `error` is a sentence.
    Failed { error: String },
    /// The end: it was cancelled.
    Cancelled,
}

/// A job as JSON, and as the server renders it first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    pub id: Uuid,
    pub kind: String,
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

/// The answer to a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub id: Uuid,
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
