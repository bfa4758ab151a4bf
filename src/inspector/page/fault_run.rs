//! Follows a fault: what the user does to the connection, what should happen then, and whether it has happened. Pure.

use super::log::{Log, Recovery, kind_of, recovery_of};
use crate::{inspector::message::Fault, ui::numbers::fixed};
use realtime::{
    client::observer::{DropReason, TraceEvent},
    status::ConnectionStatus,
    transport::Transport,
};

/// The time for which "Go offline" keeps this page from connecting, in milliseconds.
pub const OFFLINE_MS: u32 = 10_000;

/// An action that breaks the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultAction {
    /// Requested from the server.
    Fault(Fault),
    /// Done in the browser.
    GoOffline,
}

/// One action, and its outcome so far.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRun {
    pub action: FaultAction,
    /// Unix milliseconds.
    began: f64,
    /// The connection's states since then, beginning with the first.
    pub states: Vec<&'static str>,
    back_after_ms: Option<f64>,
    recovery: Option<Recovery>,
    repeated: bool,
    /// The repeated event was dropped.
    skipped: bool,
    /// Why the action was refused.
    pub refusal: Option<String>,
}

impl FaultAction {
    /// All actions that make sense, in the order of the buttons. `history` is true where a client resumes from a
    /// position.
    pub fn all(history: bool) -> Vec<Self> {
        let actions = [
            Self::Fault(Fault::Drop),
            Self::Fault(Fault::Stall),
            Self::GoOffline,
            Self::Fault(Fault::DuplicateId),
            Self::Fault(Fault::ExpireHistory),
            Self::Fault(Fault::ServerRestart),
        ];
        let fits = |action: &Self| history || *action != Self::Fault(Fault::ExpireHistory);
        actions.into_iter().filter(fits).collect()
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Fault(Fault::Drop) => "Drop",
            Self::Fault(Fault::Stall) => "Stall",
            Self::GoOffline => "Go offline",
            Self::Fault(Fault::DuplicateId) => "Duplicate id",
            Self::Fault(Fault::ExpireHistory) => "Expire history",
            Self::Fault(Fault::ServerRestart) => "Server restart",
        }
    }

    /// The name in `data-test` attributes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.name(),
            Self::GoOffline => "go_offline",
        }
    }

    /// What should happen next, in one line.
    pub fn explanation(self, transport: Transport) -> &'static str {
        match (self, transport) {
            (Self::Fault(Fault::Drop), _) => {
                "The server resets the connection. The page waits a moment, connects again, and gets what it missed."
            }
            (Self::Fault(Fault::Stall), Transport::Sse) => {
                "The server says nothing more, and closes nothing. After two and a half heartbeats the page gives the stream up."
            }
            (Self::Fault(Fault::Stall), Transport::WebSocket) => {
                "The server says nothing more, and closes nothing. When a pong is 5 s overdue the page gives the socket up."
            }
            (Self::GoOffline, _) => {
                "This page refuses to connect for 10 s, without wasting an attempt; then it goes on."
            }
            (Self::Fault(Fault::DuplicateId), Transport::Sse) => {
                "The server sends its last event once more, under the same id. The page takes it once."
            }
            (Self::Fault(Fault::DuplicateId), Transport::WebSocket) => {
                "The server sends its last message once more. The page shows it once."
            }
            (Self::Fault(Fault::ExpireHistory), _) => {
                "The server drops the connection and has forgotten what came before: recovered: false, and the state anew."
            }
            (Self::Fault(Fault::ServerRestart), _) => {
                "The server tells everybody when to come back, leaves, and starts again. Whatever is on disk is still there."
            }
        }
    }
}

impl FaultRun {
    pub fn begin(action: FaultAction, status: &ConnectionStatus, now: f64) -> Self {
        Self {
            action,
            began: now,
            states: vec![status_name(status)],
            back_after_ms: None,
            recovery: None,
            repeated: false,
            skipped: false,
            refusal: None,
        }
    }

    /// Applies what the connection saw, which `log` has recorded already. Returns whether it changed anything.
    pub fn apply(&mut self, trace_event: &TraceEvent, log: &Log, now: f64) -> bool {
        match trace_event {
            // Later states of the connection do not belong to this run.
            TraceEvent::Status(_) if self.is_over() => false,
            TraceEvent::Status(status) => {
                let state = status_name(status);
                if self.states.last() != Some(&state) {
                    self.states.push(state);
                }
                if *status == ConnectionStatus::Open && self.back_after_ms.is_none() {
                    self.back_after_ms = Some(now - self.began);
                }
                true
            }
            TraceEvent::Frame(_) if self.action == FaultAction::Fault(Fault::DuplicateId) => {
                let before = self.repeated;
                self.repeated = before || log.repeats();
                self.repeated != before
            }
            // The kit reports an event that it dropped.
            TraceEvent::Dropped(DropReason::Duplicate) if self.repeated && !self.skipped => {
                self.skipped = true;
                true
            }
            // Only the first one after the action counts, because rooms are joined one after the other.
            TraceEvent::Frame(frame) if self.states.len() > 1 && self.recovery.is_none() => {
                self.recovery = recovery_of(frame, &kind_of(&frame.payload));
                self.recovery.is_some()
            }
            TraceEvent::Frame(_)
            | TraceEvent::Dropped(_)
            | TraceEvent::Unsent(_)
            | TraceEvent::Closed { .. } => false,
        }
    }

    /// Whether the expected has happened.
    pub fn is_done(&self) -> bool {
        match self.action {
            FaultAction::Fault(Fault::DuplicateId) => self.repeated,
            FaultAction::Fault(Fault::ExpireHistory) => {
                self.recovery.is_some_and(|it| !it.recovered)
            }
            FaultAction::Fault(Fault::Drop | Fault::Stall | Fault::ServerRestart)
            | FaultAction::GoOffline => self.back_after_ms.is_some(),
        }
    }

    /// Whether nothing more is expected.
    fn is_over(&self) -> bool {
        let is_settled =
            self.action == FaultAction::Fault(Fault::DuplicateId) || self.back_after_ms.is_some();
        self.is_done() && is_settled
    }

    /// What happened, in a sentence; empty until the expected has happened.
    pub fn outcome(&self) -> String {
        if !self.is_done() {
            return String::new();
        }
        if self.action == FaultAction::Fault(Fault::DuplicateId) {
            let outcome = if self.skipped {
                "It came twice and was taken once."
            } else {
                "It came twice. What the page shows of it is there once."
            };
            return outcome.to_owned();
        }
        let back = self
            .back_after_ms
            .map(|ms| format!("Back after {} s", fixed(ms / 1_000.0, 1)));
        let recovery = self.recovery.map(|recovery| match recovery {
            Recovery {
                recovered: true,
                replayed: 1,
            } => "1 missed event replayed".to_owned(),
            Recovery {
                recovered: true,
                replayed,
            } => format!("{replayed} missed events replayed"),
            Recovery {
                recovered: false, ..
            } => "recovered: false, the state came anew".to_owned(),
        });
        let parts: Vec<String> = [back, recovery].into_iter().flatten().collect();
        format!("{}.", parts.join("; "))
    }
}

/// A state in one word.
pub fn status_name(status: &ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::Closed => "Closed",
        ConnectionStatus::Connecting { .. } => "Connecting",
        ConnectionStatus::Open => "Open",
        ConnectionStatus::Waiting { .. } => "Waiting",
        ConnectionStatus::Offline { .. } => "Offline",
        ConnectionStatus::Stopped { .. } => "Stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use realtime::{
        client::observer::{Direction, Frame, Payload},
        status::LostReason,
    };

    fn status(status: ConnectionStatus) -> TraceEvent {
        TraceEvent::Status(status)
    }

    fn waiting() -> TraceEvent {
        status(ConnectionStatus::Waiting {
            attempt: 1,
            retry_at: 0.0,
            reason: LostReason::Cut,
        })
    }

    fn event(name: &str, data: &str) -> TraceEvent {
        let (name, data) = (name.to_owned(), data.to_owned());
        let payload = Payload::Event {
            name,
            data,
            id: "e-1".into(),
        };
        TraceEvent::Frame(Frame {
            direction: Direction::In,
            payload,
        })
    }

    fn run(action: FaultAction, trace_events: Vec<TraceEvent>) -> FaultRun {
        let (mut fault_run, mut log) = (
            FaultRun::begin(action, &ConnectionStatus::Open, 0.0),
            Log::default(),
        );
        for (number, trace_event) in trace_events.into_iter().enumerate() {
            let now = (number as f64 + 1.0) * 500.0;
            log.record(trace_event.clone(), now);
            fault_run.apply(&trace_event, &log, now);
        }
        fault_run
    }

    fn hello(recovered: bool) -> TraceEvent {
        event(
            "hello",
            &format!(r#"{{"recovered":{recovered},"replayed":3}}"#),
        )
    }

    #[test]
    fn a_drop_is_done_when_the_connection_is_open_again() {
        let drop = FaultAction::Fault(Fault::Drop);
        let connecting = || status(ConnectionStatus::Connecting { attempt: 1 });
        let open = || status(ConnectionStatus::Open);
        let under_way = run(drop, vec![waiting(), connecting()]);
        assert!(!under_way.is_done());
        assert_eq!(under_way.outcome(), "");
        let done = run(drop, vec![waiting(), connecting(), hello(true), open()]);
        assert!(done.is_done());
        assert_eq!(done.states, ["Open", "Waiting", "Connecting", "Open"]);
        assert_eq!(
            done.outcome(),
            "Back after 2.0 s; 3 missed events replayed."
        );
    }

    #[test]
    fn an_expired_history_is_done_only_by_a_resume_that_was_refused() {
        let expire = FaultAction::Fault(Fault::ExpireHistory);
        let open = || status(ConnectionStatus::Open);
        assert!(!run(expire, vec![waiting(), hello(true), open()]).is_done());
        let done = run(expire, vec![waiting(), hello(false), open()]);
        assert_eq!(
            done.outcome(),
            "Back after 1.5 s; recovered: false, the state came anew."
        );
    }

    #[test]
    fn a_duplicate_is_done_when_the_same_event_is_received_again() {
        let duplicate = FaultAction::Fault(Fault::DuplicateId);
        let price = || event("price", "{}");
        assert!(!run(duplicate, vec![price(), event("heartbeat", "{}")]).is_done());
        let twice = vec![price(), event("heartbeat", "{}"), price()];
        let handed_on = run(duplicate, twice.clone());
        assert!(handed_on.is_done());
        assert!(!handed_on.outcome().contains("taken once"));
        let skipped = run(
            duplicate,
            [twice, vec![TraceEvent::Dropped(DropReason::Duplicate)]].concat(),
        );
        assert!(skipped.outcome().contains("taken once"));
    }

    #[test]
    fn a_duplicate_of_a_cleared_frame_is_recognised() {
        let (price, mut log) = (event("price", "{}"), Log::default());
        log.record(price.clone(), 0.0);
        log.clear();
        log.record(price.clone(), 1.0);
        assert!(log.repeats());
    }

    #[test]
    fn later_states_of_the_connection_change_nothing() {
        let open = || status(ConnectionStatus::Open);
        let done = run(
            FaultAction::Fault(Fault::Drop),
            vec![waiting(), open(), waiting(), open()],
        );
        assert_eq!(done.states, ["Open", "Waiting", "Open"]);
    }

    #[test]
    fn without_a_history_there_is_none_to_expire() {
        let expire = FaultAction::Fault(Fault::ExpireHistory);
        assert!(FaultAction::all(true).contains(&expire));
        assert!(!FaultAction::all(false).contains(&expire));
    }
}
