//! The connection state machine for event streams and sockets. It decides every reconnect.
//!
//! Pure: an input and the time go in, the actions to execute come out; it does not depend on a browser. The driver
//! (`client/connection.rs`) executes the actions and keeps one timer set to [`Machine::deadline`].
//!
//! ```text
//! Closed      wanted, or the page is restored  ▶ Connecting
//! Connecting  greeted                          ▶ Open
//!             failed                           ▶ Waiting, or Offline when the browser reports no network
//!             refused permanently              ▶ Stopped
//! Open        lost, or silent for too long     ▶ Waiting, or Offline when the browser reports no network
//!             closed permanently               ▶ Stopped
//!             last event of a finite stream    ▶ Closed
//! Waiting     the delay is over, "retry now"   ▶ Connecting
//!             the page becomes visible         ▶ Connecting
//!             the server is reachable          ▶ Connecting
//!             the browser reports no network   ▶ Offline
//! Offline     30 s are over, "retry now"       ▶ Connecting
//!             the browser reports a network    ▶ Connecting
//!             the server is reachable          ▶ Connecting
//! Stopped     "retry now"                      ▶ Connecting
//! any         no longer wanted                 ▶ Closed
//! ```
//!
//! The server may set the earliest time of the next attempt (`Retry-After`, or the delay in `drain`). Every transition to
//! `Connecting` waits for that time, except "retry now", because that is the user's decision.

use crate::{
    backoff::Backoff,
    close::{AfterClose, after_close, after_unauthorized},
};

pub use crate::reasons::{LostReason, StopReason};

/// An attempt fails if no greeting arrives within this time, in milliseconds.
const ATTEMPT_MS: f64 = 10_000.0;
/// After a connection has been open for this long, in milliseconds, the attempt counter is reset to zero. An earlier reset
/// would hammer a server that accepts and drops connections, always at the shortest delay.
const STABLE_MS: f64 = 10_000.0;
/// A pong is overdue after this time, in milliseconds.
const PONG_MS: f64 = 5_000.0;
/// The interval between attempts while the browser reports no network, in milliseconds. The report is a hint that can be
/// wrong (behind some VPNs `navigator.onLine` is always false), so attempts continue at a low rate.
const OFFLINE_RETRY_MS: f64 = 30_000.0;
/// The longest wait that a server can ask for, in milliseconds. Without a bound, a faulty server could silence a page for
/// hours.
const LONGEST_WAIT_MS: u64 = 600_000;
/// A stream is dead after this many heartbeat intervals without a frame. One heartbeat may be lost in a suspended tab; the
/// half interval allows for network delay.
const MISSED_BEATS: f64 = 2.5;

/// The state of a connection, as a status line shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionStatus {
    /// No connection is wanted: the page closed it, or the stream finished.
    Closed,
    /// An attempt is in progress; 0 is the first.
    Connecting {
        /// Failures in a row before this attempt: failed attempts and lost connections.
        attempt: u32,
    },
    /// `hello` or `welcome` was received, and the connection has not been lost since.
    Open,
    /// The connection was lost or the attempt failed, for this reason. The next attempt starts at `retry_at` (Unix
    /// milliseconds).
    Waiting {
        /// Failures in a row so far: failed attempts and lost connections.
        attempt: u32,
        /// When the next attempt starts (Unix milliseconds).
        retry_at: f64,
        /// Why the connection was lost, or the attempt failed or was put off.
        reason: LostReason,
    },
    /// The browser reports no network. The next attempt starts when it reports one, or at `retry_at` (Unix milliseconds) at
    /// the latest.
    Offline {
        /// When the next attempt starts at the latest (Unix milliseconds).
        retry_at: f64,
    },
    /// There is no further automatic attempt.
    Stopped {
        /// Why the state machine makes no further attempt.
        reason: StopReason,
    },
}

impl ConnectionStatus {
    /// When the next automatic attempt starts (Unix milliseconds), in the states `Waiting` and `Offline`.
    pub fn retry_at(&self) -> Option<f64> {
        match self {
            Self::Waiting { retry_at, .. } | Self::Offline { retry_at } => Some(*retry_at),
            _ => None,
        }
    }
}

/// How a dead connection is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The server sends heartbeats; without any frame the connection is dead (event streams).
    Heartbeat,
    /// The client sends pings and the server answers (sockets).
    Ping,
}

/// An event that the state machine reacts to.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The page wants a connection, possibly to another address than before: start afresh.
    Wanted,
    /// The page no longer wants the connection.
    Unwanted,
    /// The credential of the attempt was obtained, and the transport is being opened.
    Authorized,
    /// The credential of the attempt, or of the stream that it needs meanwhile, could not be obtained.
    Unauthorized {
        /// The application's error as text; it becomes [`LostReason::CredentialsFailed`].
        error: String,
    },
    /// The transport is open. This does not prove that the server answers; `Greeted` does.
    TransportOpen,
    /// `hello` or `welcome` was received.
    Greeted {
        /// The interval in milliseconds at which the server sends heartbeats, or expects pings on a socket; 0 counts as
        /// 1.
        heartbeat_ms: u64,
    },
    /// Any other frame was received.
    Frame,
    /// The answer to a ping was received.
    Pong,
    /// The server shuts down and sets the shortest delay before a reconnect, in milliseconds.
    Drain {
        /// The delay from now, in milliseconds; a value above 600,000 counts as 600,000.
        retry_ms: u64,
    },
    /// The last event of a finite stream was received, so there is no reconnect.
    Finished,
    /// An event stream broke or was refused; the browser does not say which.
    StreamError,
    /// A socket closed.
    SocketClosed {
        /// The close code (RFC 6455, section 7.1.5); 1006 if no close frame was received.
        code: u16,
        /// The server's close reason (RFC 6455, section 7.1.6); with 4001 it decides the reaction.
        reason: String,
    },
    /// The result of the [`Action::Probe`] with the same `question`. `None`: the request got no response.
    Probed {
        /// The number of the probe. The result of an earlier one is ignored.
        question: u32,
        /// The response to the probe, if there was one.
        answer: Option<Answer>,
    },
    /// The result of the [`Action::RenewSession`] with the same `question`.
    SessionRenewed {
        /// The number of the renewal. The result of an earlier one is ignored.
        question: u32,
        /// How the renewal ended.
        renewal: Renewal,
    },
    /// The browser reports whether there is a network.
    Online(bool),
    /// The page became visible or hidden.
    Visible(bool),
    /// The page is being hidden (`pagehide`), possibly into the back-forward cache.
    PageHidden,
    /// The page is shown, for the first time or again (`pageshow`).
    PageShown,
    /// The deadline passed.
    Timer,
    /// The user pressed "retry now".
    RetryNow,
    /// The server is known to be reachable: if waiting, try now.
    Reachable,
    /// Another tab needs this connection: wait no longer than a visible page would.
    WaitedFor,
    /// The user cut the connection deliberately, to watch the recovery.
    Cut,
}

/// The response to a plain request to the address of a refused event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After` (RFC 9110, section 10.2.3) in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The reason given in a 401, as in [`reason`](crate::close::reason).
    pub reason: Option<String>,
}

/// The result of a session renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The browser has a new session, or the next attempt obtains a new credential.
    Renewed,
    /// The user signed out, possibly in another tab.
    SignedOut,
    /// There was no response, or an inconclusive one.
    Failed {
        /// `Retry-After` in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

/// What the driver executes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a new connection at the last position.
    Open,
    /// Detach all handlers and close; abort the request of a probe or a renewal. Do not wait for the browser's own `close`
    /// event, because Chromium may take 60 s to fire it.
    Abandon,
    /// Fetch the status of a refused event stream with a plain request; report [`Input::Probed`] with this number.
    Probe {
        /// The number of the probe, which its result repeats.
        question: u32,
    },
    /// Request a new session; report [`Input::SessionRenewed`] with this number.
    RenewSession {
        /// The number of the renewal, which its result repeats.
        question: u32,
    },
    /// Send a ping.
    Ping,
    /// Reload the page, unless it was reloaded a short time ago.
    Reload,
    /// Flush the browser's keep-alive pool. After a silent network death its pooled connections are dead too, and each would
    /// cost one more attempt that times out after `ATTEMPT_MS`. (A socket never reuses a pooled connection.)
    DropKept,
}

/// The fixed settings of a state machine.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The delays before reconnects.
    pub backoff: Backoff,
    /// How an open connection is found to be dead.
    pub liveness: Liveness,
    /// `Some(n)`: stop with a reason when the first attempt and n more in a row have failed. `None`: never give up.
    pub max_attempts: Option<u32>,
}

/// The progress of the current attempt or connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Attempt {
        since: f64,
        transport_open: bool,
    },
    Greeted {
        since: f64,
    },
    /// A probe or a session renewal is in progress.
    Diagnosing {
        since: f64,
    },
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    status: ConnectionStatus,
    phase: Phase,
    /// Failed attempts since a connection was last open for [`STABLE_MS`].
    failures: u32,
    /// The time of the last step (Unix milliseconds).
    stepped_at: f64,
    heartbeat_ms: f64,
    last_frame_at: f64,
    last_ping_at: f64,
    /// When the unanswered ping was sent, if there is one (Unix milliseconds).
    ping_sent_at: Option<f64>,
    /// The server allows no attempt before this time (Unix milliseconds). 0 if it has set none since its last greeting.
    allowed_at: f64,
    /// The number of the last probe or renewal. Results of earlier ones do not concern the current attempt and are ignored.
    question: u32,
    /// In `Waiting`: when the next attempt would start if the page were visible (Unix milliseconds).
    retry_at_visible: f64,
    /// A session was requested, and no delay has passed since.
    renewed: bool,
    online: bool,
    visible: bool,
    /// The page was hidden while the connection was wanted. The connection opens again when the page is shown.
    suspended: bool,
}

impl Machine {
    /// A machine in the state `Closed`. It assumes a network and a visible page until an input says otherwise.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            status: ConnectionStatus::Closed,
            phase: Phase::Idle,
            failures: 0,
            stepped_at: 0.0,
            heartbeat_ms: ATTEMPT_MS,
            last_frame_at: 0.0,
            last_ping_at: 0.0,
            ping_sent_at: None,
            allowed_at: 0.0,
            question: 0,
            retry_at_visible: 0.0,
            renewed: false,
            online: true,
            visible: true,
            suspended: false,
        }
    }

    /// The state after the last step.
    pub fn status(&self) -> &ConnectionStatus {
        &self.status
    }

    /// When [`Input::Timer`] is due (Unix milliseconds).
    pub fn deadline(&self) -> Option<f64> {
        if let Some(retry_at) = self.status.retry_at() {
            return Some(retry_at);
        }
        match (self.phase, self.policy.liveness) {
            (Phase::Idle, _) => None,
            (Phase::Attempt { since, .. } | Phase::Diagnosing { since }, _) => {
                Some(since + ATTEMPT_MS)
            }
            (Phase::Greeted { .. }, Liveness::Heartbeat) => {
                Some(self.last_frame_at + self.heartbeat_ms * MISSED_BEATS)
            }
            (Phase::Greeted { since }, Liveness::Ping) => Some(match self.ping_sent_at {
                // Any frame proves that the server is alive: a pong may be late because it is queued behind a long backlog.
                Some(sent) => sent.max(self.last_frame_at) + PONG_MS,
                None => since.max(self.last_ping_at) + self.heartbeat_ms,
            }),
        }
    }

    /// Processes one input at the time `now` (Unix milliseconds), with a random number in 0.0 to 1.0 for the jitter.
    pub fn step(&mut self, input: Input, now: f64, random: f64) -> Vec<Action> {
        self.follow_clock(now);
        match input {
            Input::Wanted => {
                self.failures = 0;
                self.renewed = false;
                self.abandon_and(|machine| machine.open_when_allowed(now))
            }
            Input::Unwanted => self.end(ConnectionStatus::Closed),
            Input::Finished => self.end(ConnectionStatus::Closed),
            // Obtaining the credential and opening the connection have the time of an attempt each.
            Input::Authorized => {
                if let Phase::Attempt { since, .. } = &mut self.phase {
                    *since = now;
                }
                vec![]
            }
            Input::Unauthorized { .. }
                if matches!(self.phase, Phase::Idle | Phase::Diagnosing { .. }) =>
            {
                vec![]
            }
            Input::Unauthorized { error } => {
                self.lost(now, random, LostReason::CredentialsFailed { error })
            }
            Input::TransportOpen => {
                if let Phase::Attempt { transport_open, .. } = &mut self.phase {
                    *transport_open = true;
                }
                vec![]
            }
            Input::Greeted { heartbeat_ms } => {
                if matches!(self.phase, Phase::Attempt { .. }) {
                    self.phase = Phase::Greeted { since: now };
                    self.status = ConnectionStatus::Open;
                    self.allowed_at = 0.0;
                    self.heartbeat_ms = heartbeat_ms.max(1) as f64;
                    self.last_frame_at = now;
                    self.ping_sent_at = None;
                }
                vec![]
            }
            Input::Frame => {
                self.last_frame_at = now;
                vec![]
            }
            Input::Pong => {
                self.last_frame_at = now;
                self.ping_sent_at = None;
                vec![]
            }
            Input::Drain { retry_ms } => {
                self.last_frame_at = now;
                self.allow_after(Some(retry_ms), now);
                vec![]
            }
            Input::StreamError => match self.phase {
                Phase::Attempt {
                    transport_open: false,
                    ..
                } => {
                    let question = self.ask(now);
                    vec![Action::Abandon, Action::Probe { question }]
                }
                Phase::Idle | Phase::Diagnosing { .. } => vec![],
                _ => self.lost(now, random, LostReason::StreamBroke),
            },
            Input::SocketClosed { code, reason } => self.socket_closed(code, reason, now, random),
            Input::Probed { question, answer } if self.awaits(question) => {
                self.probed(answer, now, random)
            }
            Input::SessionRenewed { question, renewal } if self.awaits(question) => {
                self.renewal_ended(renewal, now, random)
            }
            Input::Probed { .. } | Input::SessionRenewed { .. } => vec![],
            Input::Online(online) => {
                self.online = online;
                self.recheck(now, random)
            }
            Input::Visible(visible) => {
                self.visible = visible;
                if visible {
                    self.recheck(now, random)
                } else {
                    vec![]
                }
            }
            Input::PageHidden => match self.status {
                // Whether the connection is wanted when the page is shown is known already.
                ConnectionStatus::Closed | ConnectionStatus::Stopped { .. } => vec![],
                _ => {
                    let actions = self.end(ConnectionStatus::Closed);
                    self.suspended = true;
                    actions
                }
            },
            Input::PageShown if self.suspended => self.open_when_allowed(now),
            Input::PageShown => self.recheck(now, random),
            // The server is known to be reachable, whatever the browser reports about the network.
            Input::Reachable if self.status.retry_at().is_some() => self.open_when_allowed(now),
            Input::Reachable => self.recheck(now, random),
            Input::Timer => self.timer(now, random),
            Input::RetryNow => match self.status {
                ConnectionStatus::Open | ConnectionStatus::Connecting { .. } => vec![],
                _ => {
                    self.failures = 0;
                    self.abandon_and(|machine| machine.open(now))
                }
            },
            Input::WaitedFor => {
                if let ConnectionStatus::Waiting { retry_at, .. } = &mut self.status {
                    *retry_at = retry_at.min(self.retry_at_visible);
                }
                // The attempt may be due: timers fire late in a hidden tab.
                self.timer(now, random)
            }
            Input::Cut if self.phase == Phase::Idle => vec![],
            Input::Cut => self.lost(now, random, LostReason::Cut),
        }
    }

    /// Stops permanently. Public for the reasons that only the driver knows ([`StopReason::ReloadDidNotHelp`]).
    pub fn stop(&mut self, reason: StopReason) -> Vec<Action> {
        self.end(ConnectionStatus::Stopped { reason })
    }

    /// Opens now, or waits until the earliest time that the server allows.
    fn open_when_allowed(&mut self, now: f64) -> Vec<Action> {
        if now >= self.allowed_at {
            return self.open(now);
        }
        self.suspended = false;
        self.phase = Phase::Idle;
        self.retry_at_visible = self.allowed_at;
        self.status = if self.online {
            ConnectionStatus::Waiting {
                attempt: self.failures,
                retry_at: self.allowed_at,
                reason: LostReason::AskedToWait,
            }
        } else {
            ConnectionStatus::Offline {
                retry_at: self.allowed_at,
            }
        };
        vec![]
    }

    /// The server set the delay before the next attempt. The latest value replaces earlier ones.
    fn allow_after(&mut self, wait_ms: Option<u64>, now: f64) {
        if let Some(wait_ms) = wait_ms {
            self.allowed_at = now + wait_ms.min(LONGEST_WAIT_MS) as f64;
        }
    }

    /// Starts a probe or a renewal and returns its number.
    fn ask(&mut self, now: f64) -> u32 {
        self.phase = Phase::Diagnosing { since: now };
        self.question = self.question.wrapping_add(1);
        self.question
    }

    fn awaits(&self, question: u32) -> bool {
        matches!(self.phase, Phase::Diagnosing { .. }) && question == self.question
    }

    fn open(&mut self, now: f64) -> Vec<Action> {
        self.suspended = false;
        self.phase = Phase::Attempt {
            since: now,
            transport_open: false,
        };
        self.status = ConnectionStatus::Connecting {
            attempt: self.failures,
        };
        vec![Action::Open]
    }

    fn abandon_and(&mut self, then: impl FnOnce(&mut Self) -> Vec<Action>) -> Vec<Action> {
        let mut actions = if self.phase == Phase::Idle {
            vec![]
        } else {
            vec![Action::Abandon]
        };
        self.phase = Phase::Idle;
        actions.extend(then(self));
        actions
    }

    fn end(&mut self, status: ConnectionStatus) -> Vec<Action> {
        self.suspended = false;
        self.abandon_and(|machine| {
            machine.status = status;
            vec![]
        })
    }

    /// The connection or the attempt has failed: wait, then try again.
    fn lost(&mut self, now: f64, random: f64, reason: LostReason) -> Vec<Action> {
        if matches!(self.phase, Phase::Greeted { since } if now - since >= STABLE_MS) {
            self.failures = 0;
        }
        // Only an immediate second renewal would be pointless. After a delay a session may be requested again.
        self.renewed = false;
        if self
            .policy
            .max_attempts
            .is_some_and(|most| self.failures >= most)
        {
            return self.stop(StopReason::GaveUp {
                attempts: self.failures,
                last: reason,
            });
        }
        self.abandon_and(|machine| {
            if !machine.online {
                // Not counted as a failed attempt, because most likely there really is no network.
                machine.go_offline(now);
                return vec![];
            }
            let (backoff, failures) = (machine.policy.backoff, machine.failures);
            let allowed_at = machine.allowed_at;
            let retry_at = |visible| {
                let delay_ms = backoff.delay_ms(failures, visible, random);
                (now + delay_ms as f64).max(allowed_at)
            };
            machine.retry_at_visible = retry_at(true);
            machine.failures += 1;
            machine.status = ConnectionStatus::Waiting {
                attempt: machine.failures,
                retry_at: retry_at(machine.visible),
                reason,
            };
            vec![]
        })
    }

    fn go_offline(&mut self, now: f64) {
        let retry_at = (now + OFFLINE_RETRY_MS).max(self.allowed_at);
        self.status = ConnectionStatus::Offline { retry_at };
    }

    fn socket_closed(&mut self, code: u16, reason: String, now: f64, random: f64) -> Vec<Action> {
        if !matches!(self.phase, Phase::Attempt { .. } | Phase::Greeted { .. }) {
            return vec![];
        }
        match after_close(code, &reason) {
            AfterClose::Stay => self.end(ConnectionStatus::Closed),
            AfterClose::Retry => self.lost(now, random, LostReason::SocketClosed { code, reason }),
            AfterClose::RenewSession => self.renew(now, random),
            AfterClose::Reload => {
                let mut actions = self.stop(StopReason::OutdatedPage);
                actions.push(Action::Reload);
                actions
            }
            AfterClose::Stop(reason) => self.stop(reason),
        }
    }

    fn probed(&mut self, answer: Option<Answer>, now: f64, random: f64) -> Vec<Action> {
        let Some(answer) = answer else {
            return self.lost(now, random, LostReason::Unreachable);
        };
        self.allow_after(answer.retry_after_ms, now);
        match answer.status {
            204 => self.end(ConnectionStatus::Closed),
            401 => match after_unauthorized(answer.reason.as_deref()) {
                AfterClose::Stop(reason) => self.stop(reason),
                _ => self.renew(now, random),
            },
            400 => self.stop(StopReason::BadRequest),
            403 => self.stop(StopReason::Forbidden),
            404 => self.stop(StopReason::AddressNotFound),
            429 => self.lost(now, random, LostReason::AskedToWait),
            200 => self.lost(now, random, LostReason::RefusedButOpen),
            status => self.lost(now, random, LostReason::UnexpectedStatus { status }),
        }
    }

    fn renewal_ended(&mut self, renewal: Renewal, now: f64, random: f64) -> Vec<Action> {
        match renewal {
            Renewal::Renewed => self.open_when_allowed(now),
            Renewal::SignedOut => self.stop(StopReason::SignedOut),
            Renewal::Failed { retry_after_ms } => {
                self.allow_after(retry_after_ms, now);
                self.lost(now, random, LostReason::RenewalFailed)
            }
        }
    }

    fn renew(&mut self, now: f64, random: f64) -> Vec<Action> {
        if self.renewed {
            return self.lost(now, random, LostReason::NewSessionRefused);
        }
        self.renewed = true;
        self.abandon_and(|machine| {
            let question = machine.ask(now);
            machine.status = ConnectionStatus::Connecting {
                attempt: machine.failures,
            };
            vec![Action::RenewSession { question }]
        })
    }

    /// The situation may have improved: try now, or check that the open connection is alive.
    fn recheck(&mut self, now: f64, random: f64) -> Vec<Action> {
        match (&self.status, self.phase) {
            (ConnectionStatus::Waiting { .. }, _) if !self.online => {
                self.go_offline(now);
                vec![]
            }
            // The attempt may be due: timers fire late in a hidden tab.
            (ConnectionStatus::Offline { .. }, _) if !self.online => self.timer(now, random),
            (ConnectionStatus::Waiting { .. } | ConnectionStatus::Offline { .. }, _) => {
                self.open_when_allowed(now)
            }
            (ConnectionStatus::Open, _)
                if self.deadline().is_some_and(|deadline| now >= deadline) =>
            {
                self.timer(now, random)
            }
            (ConnectionStatus::Open, Phase::Greeted { .. })
                if self.policy.liveness == Liveness::Ping && self.ping_sent_at.is_none() =>
            {
                self.ping(now)
            }
            _ => vec![],
        }
    }

    /// If the clock was set back, shifts all stored times by the same amount. Otherwise every wait would be longer by it.
    fn follow_clock(&mut self, now: f64) {
        let back = self.stepped_at - now;
        self.stepped_at = now;
        if back <= 0.0 {
            return;
        }
        if let ConnectionStatus::Waiting { retry_at, .. } | ConnectionStatus::Offline { retry_at } =
            &mut self.status
        {
            *retry_at -= back;
        }
        if let Phase::Attempt { since, .. }
        | Phase::Greeted { since }
        | Phase::Diagnosing { since } = &mut self.phase
        {
            *since -= back;
        }
        self.last_frame_at -= back;
        self.last_ping_at -= back;
        self.retry_at_visible -= back;
        self.allowed_at -= back;
        self.ping_sent_at = self.ping_sent_at.map(|sent| sent - back);
    }

    fn ping(&mut self, now: f64) -> Vec<Action> {
        self.last_ping_at = now;
        self.ping_sent_at = Some(now);
        vec![Action::Ping]
    }

    fn timer(&mut self, now: f64, random: f64) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return vec![];
        }
        let silent = match (self.phase, self.policy.liveness) {
            (Phase::Idle, _) => return self.open_when_allowed(now),
            (Phase::Attempt { .. } | Phase::Diagnosing { .. }, _) => LostReason::NoAnswer,
            (Phase::Greeted { .. }, Liveness::Heartbeat) => LostReason::HeartbeatStopped,
            (Phase::Greeted { .. }, Liveness::Ping) if self.ping_sent_at.is_some() => {
                LostReason::PongOverdue
            }
            (Phase::Greeted { .. }, Liveness::Ping) => return self.ping(now),
        };
        let mut actions = self.lost(now, random, silent);
        if self.policy.liveness == Liveness::Heartbeat {
            actions.push(Action::DropKept);
        }
        actions
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
