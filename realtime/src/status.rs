//! The connection state machine, shared by event streams and sockets. It owns every reconnect.
//!
//! Pure: an input and the time go in, the actions to execute come out; nothing here knows a browser. The driver
//! (`client/connection.rs`) executes the actions, and keeps one timer set to [`Machine::deadline`].
//!
//! ```text
//! Closed      wanted                           ▶ Connecting
//! Connecting  greeted                          ▶ Open
//!             failed                           ▶ Waiting, or Offline when the browser reports no network
//!             refused for good                 ▶ Stopped
//! Open        lost, or silent for too long     ▶ Waiting, or Offline when the browser reports no network
//!             closed for good                  ▶ Stopped
//!             the end of a stream that has one ▶ Closed
//! Waiting     the delay is over, "retry now"   ▶ Connecting
//!             the browser reports no network   ▶ Offline
//! Offline     30 s are over, "retry now"       ▶ Connecting
//!             the browser reports a network    ▶ Connecting
//! Stopped     "try again"                      ▶ Connecting
//! any         not wanted any more              ▶ Closed
//! ```
//!
//! The server may name the earliest time of the next attempt (`Retry-After`, or the delay in `drain`). Every way to
//! `Connecting` waits for that time, except "retry now": a person decided.

use std::borrow::Cow;

use crate::{
    backoff::Backoff,
    close::{AfterClose, SIGNED_OUT, StopCause, after_close, after_unauthorized},
};

/// An attempt that is not greeted within this has failed, in milliseconds.
const ATTEMPT_MS: f64 = 10_000.0;
/// A connection that stood this long proves the server well: the attempt counter falls back to zero. Sooner, and a
/// server that accepts and drops would be hammered at the shortest delay for ever.
const STABLE_MS: f64 = 10_000.0;
/// A pong later than this will not come, in milliseconds.
const PONG_MS: f64 = 5_000.0;
/// The interval of attempts while the browser reports no network, in milliseconds. Its report is a hint that can be wrong
/// (behind some VPNs `navigator.onLine` is always false), so attempts go on, but rarely.
const OFFLINE_RETRY_MS: f64 = 30_000.0;
/// The longest wait that a server can ask for, in milliseconds: a mistaken one shall not silence a page for hours.
const LONGEST_WAIT_MS: u64 = 600_000;
const ASKED_TO_WAIT: &str = "the server asks to wait";
/// Two and a half beats: one may be lost to a suspended tab, the half is for the way.
const MISSED_BEATS: f64 = 2.5;

/// What a status line shows.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionStatus {
    /// Not wanted now: closed by the page, or finished.
    Closed,
    /// An attempt is under way; 0 is the first.
    Connecting {
        attempt: u32,
    },
    Open,
    /// The next attempt starts at `retry_at` (Unix milliseconds).
    Waiting {
        attempt: u32,
        retry_at: f64,
        reason: Cow<'static, str>,
    },
    /// The browser reports no network. The next attempt starts when it reports one, at the latest at `retry_at` (Unix
    /// milliseconds).
    Offline {
        retry_at: f64,
    },
    /// It will not try again by itself; the reason is a sentence for the person.
    Stopped {
        cause: StopCause,
        reason: Cow<'static, str>,
    },
}

impl ConnectionStatus {
    /// When the next attempt starts by itself (Unix milliseconds), while one is waited for.
    pub fn retry_at(&self) -> Option<f64> {
        match self {
            Self::Waiting { retry_at, .. } | Self::Offline { retry_at } => Some(*retry_at),
            _ => None,
        }
    }
}

/// How a silent connection is found dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The server beats; silence is death (event streams).
    Heartbeat,
    /// We ping, the server answers (sockets).
    Ping,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The page wants this connection, perhaps a different one than before: start afresh.
    Wanted,
    /// The page does not want it any more.
    Unwanted,
    /// The transport says it is open. Not yet proof of a server behind it: that is `Greeted`.
    TransportOpen,
    /// `hello` or `welcome` came.
    Greeted { heartbeat_ms: u64 },
    /// Anything else came in.
    Frame,
    /// The answer to our ping came.
    Pong,
    /// The server leaves and names the shortest delay in milliseconds.
    Drain { retry_ms: u64 },
    /// The last event of a finite stream came: there is nothing to reconnect for.
    Finished,
    /// An event stream broke or was refused; the browser does not say which.
    StreamError,
    /// A socket closed.
    SocketClosed { code: u16, reason: String },
    /// The answer to [`Action::Probe`] with the same `question`. `None`: no answer at all.
    Probed {
        question: u32,
        answer: Option<Answer>,
    },
    /// The answer to [`Action::RenewSession`] with the same `question`.
    SessionRenewed { question: u32, renewal: Renewal },
    /// The browser's view of the network changed.
    Online(bool),
    /// The page became visible or hidden.
    Visible(bool),
    /// The page is put away, perhaps into the back-forward cache.
    PageHidden,
    /// The page is shown (again).
    PageShown,
    /// The deadline passed.
    Timer,
    /// The person pressed "retry now".
    RetryNow,
    /// What the connection leads to can be had (again): try now, if it waits.
    Reachable,
    /// Another tab waits for this connection: wait no longer than if somebody looked at this one.
    WaitedFor,
    /// The person cut the connection, to see what follows.
    Cut,
}

/// What a plain request to the address of a refused event stream was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After` (RFC 9110, section 10.2.3) in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Of a 401: why, as in [`reason`](crate::close::reason).
    pub reason: Option<String>,
}

/// What became of asking for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    Renewed,
    /// The person signed out, perhaps in another tab.
    SignedOut,
    /// No answer, or none that settles it.
    Failed {
        /// `Retry-After` in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

/// What the driver does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a new connection at the position seen last.
    Open,
    /// Detach all handlers and close; abort the request of a probe or a renewal. The browser's own `close` event is not
    /// waited for: Chromium may take 60 s.
    Abandon,
    /// Read the status behind a refused event stream with a plain request; report [`Input::Probed`] with this number.
    Probe { question: u32 },
    /// Ask for a new session; report [`Input::SessionRenewed`] with this number.
    RenewSession { question: u32 },
    /// Send a ping.
    Ping,
    /// Load the page anew, unless that was just done.
    Reload,
    /// Make the browser drop the connections that it keeps for later requests. After a silent death they are dead too, and
    /// the next attempts would go out on them one by one, each in vain for `ATTEMPT_MS`. (A socket never reuses one.)
    DropKept,
}

/// What the state machine is told once.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub backoff: Backoff,
    pub liveness: Liveness,
    /// `Some(n)`: after n failed attempts in a row it stops and says so. `None`: it never gives up.
    pub max_attempts: Option<u32>,
}

/// Where an attempt is.
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
    /// Finding out why a stream was refused, or getting a new session.
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
    /// Failed attempts since a connection last stood for [`STABLE_MS`].
    failures: u32,
    /// When it was stepped last (Unix milliseconds).
    stepped_at: f64,
    heartbeat_ms: f64,
    last_frame_at: f64,
    last_ping_at: f64,
    /// Set while a pong is awaited.
    ping_sent_at: Option<f64>,
    /// Before this time the server wants no attempt (Unix milliseconds); 0 when it named none since it last greeted us.
    allowed_at: f64,
    /// The number of the last probe or renewal. An answer to an earlier one says nothing about the present attempt.
    question: u32,
    /// While it waits: when it would try if somebody looked at the page (Unix milliseconds).
    retry_at_looked_at: f64,
    /// A session was asked for, and nothing was waited for since.
    renewed: bool,
    online: bool,
    visible: bool,
    /// Put away while it was wanted: opens again when shown.
    suspended: bool,
}

impl Machine {
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
            retry_at_looked_at: 0.0,
            renewed: false,
            online: true,
            visible: true,
            suspended: false,
        }
    }

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
                // Whatever comes in proves that the other side lives: a pong behind a long backlog is no death.
                Some(sent) => sent.max(self.last_frame_at) + PONG_MS,
                None => since.max(self.last_ping_at) + self.heartbeat_ms,
            }),
        }
    }

    /// Takes one input at the time `now` (Unix milliseconds) with a random number in 0.0 to 1.0.
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
                _ => self.lost(now, random, "the stream broke off"),
            },
            Input::SocketClosed { code, reason } => self.socket_closed(code, &reason, now, random),
            Input::Probed { question, answer } if self.awaits(question) => {
                self.probed(answer, now, random)
            }
            Input::SessionRenewed { question, renewal } if self.awaits(question) => {
                self.renewal_ended(renewal, now, random)
            }
            Input::Probed { .. } | Input::SessionRenewed { .. } => vec![],
            Input::Online(online) => {
                self.online = online;
                self.look_again(now, random)
            }
            Input::Visible(visible) => {
                self.visible = visible;
                if visible {
                    self.look_again(now, random)
                } else {
                    vec![]
                }
            }
            Input::PageHidden => {
                let wanted = !matches!(
                    self.status,
                    ConnectionStatus::Closed | ConnectionStatus::Stopped { .. }
                );
                let actions = if wanted {
                    self.end(ConnectionStatus::Closed)
                } else {
                    vec![]
                };
                self.suspended = wanted;
                actions
            }
            Input::PageShown if self.suspended => self.open_when_allowed(now),
            Input::PageShown => self.look_again(now, random),
            // It is known to be there, whatever the browser says of the network.
            Input::Reachable if self.status.retry_at().is_some() => self.open_when_allowed(now),
            Input::Reachable => self.look_again(now, random),
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
                    *retry_at = retry_at.min(self.retry_at_looked_at);
                }
                // Due, perhaps: in a tab that nobody looks at, timers come late.
                self.timer(now, random)
            }
            Input::Cut if self.phase == Phase::Idle => vec![],
            Input::Cut => self.lost(now, random, "cut on this side"),
        }
    }

    /// Stops for good, for a reason only the driver can know (a second reload would not help either).
    pub fn stop(&mut self, reason: impl Into<Cow<'static, str>>) -> Vec<Action> {
        self.stop_because(StopCause::Other, reason)
    }

    fn stop_because(
        &mut self,
        cause: StopCause,
        reason: impl Into<Cow<'static, str>>,
    ) -> Vec<Action> {
        let reason = reason.into();
        self.end(ConnectionStatus::Stopped { cause, reason })
    }

    /// Opens now, or waits for the earliest time that the server named.
    fn open_when_allowed(&mut self, now: f64) -> Vec<Action> {
        if now >= self.allowed_at {
            return self.open(now);
        }
        self.suspended = false;
        self.phase = Phase::Idle;
        self.retry_at_looked_at = self.allowed_at;
        self.status = if self.online {
            ConnectionStatus::Waiting {
                attempt: self.failures,
                retry_at: self.allowed_at,
                reason: ASKED_TO_WAIT.into(),
            }
        } else {
            ConnectionStatus::Offline {
                retry_at: self.allowed_at,
            }
        };
        vec![]
    }

    /// The server named the delay before the next attempt; its latest word counts.
    fn allow_after(&mut self, wait_ms: Option<u64>, now: f64) {
        if let Some(wait_ms) = wait_ms {
            self.allowed_at = now + wait_ms.min(LONGEST_WAIT_MS) as f64;
        }
    }

    /// A plain request begins; its number.
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

    /// The connection, or the attempt, is gone: wait and try again.
    fn lost(&mut self, now: f64, random: f64, reason: impl Into<Cow<'static, str>>) -> Vec<Action> {
        if matches!(self.phase, Phase::Greeted { since } if now - since >= STABLE_MS) {
            self.failures = 0;
        }
        // Only at once it would be in vain: after a wait a session is asked for again.
        self.renewed = false;
        if self
            .policy
            .max_attempts
            .is_some_and(|most| self.failures >= most)
        {
            let reason = format!(
                "Gave up after {} attempts: {}.",
                self.failures,
                reason.into()
            );
            return self.stop(reason);
        }
        self.abandon_and(|machine| {
            if !machine.online {
                // Not counted as a failed attempt: most likely there is no network indeed.
                machine.go_offline(now);
                return vec![];
            }
            let (backoff, failures) = (machine.policy.backoff, machine.failures);
            let allowed_at = machine.allowed_at;
            let retry_at = |visible| {
                let delay_ms = backoff.delay_ms(failures, visible, random);
                (now + delay_ms as f64).max(allowed_at)
            };
            machine.retry_at_looked_at = retry_at(true);
            machine.failures += 1;
            machine.status = ConnectionStatus::Waiting {
                attempt: machine.failures,
                retry_at: retry_at(machine.visible),
                reason: reason.into(),
            };
            vec![]
        })
    }

    fn go_offline(&mut self, now: f64) {
        let retry_at = (now + OFFLINE_RETRY_MS).max(self.allowed_at);
        self.status = ConnectionStatus::Offline { retry_at };
    }

    fn socket_closed(&mut self, code: u16, reason: &str, now: f64, random: f64) -> Vec<Action> {
        if !matches!(self.phase, Phase::Attempt { .. } | Phase::Greeted { .. }) {
            return vec![];
        }
        match after_close(code, reason) {
            AfterClose::Stay => self.end(ConnectionStatus::Closed),
            AfterClose::Retry if reason.is_empty() => {
                self.lost(now, random, format!("the socket closed with {code}"))
            }
            AfterClose::Retry => self.lost(
                now,
                random,
                format!("the socket closed with {code} ({reason})"),
            ),
            AfterClose::RenewSession => self.renew(now, random),
            AfterClose::Reload => {
                let mut actions = self.stop("This page is older than the server. Reload it.");
                actions.push(Action::Reload);
                actions
            }
            AfterClose::Stop(cause, reason) => self.stop_because(cause, reason),
        }
    }

    fn probed(&mut self, answer: Option<Answer>, now: f64, random: f64) -> Vec<Action> {
        let Some(answer) = answer else {
            return self.lost(now, random, "the server cannot be reached");
        };
        self.allow_after(answer.retry_after_ms, now);
        match answer.status {
            204 => self.end(ConnectionStatus::Closed),
            401 => match after_unauthorized(answer.reason.as_deref()) {
                AfterClose::Stop(cause, reason) => self.stop_because(cause, reason),
                _ => self.renew(now, random),
            },
            400 => self.stop("The server does not understand this request."),
            403 => self.stop("This is not open to you."),
            404 => self.stop("There is nothing under this address (any more)."),
            429 => self.lost(now, random, ASKED_TO_WAIT),
            200 => self.lost(now, random, "the stream was refused and would now be open"),
            status => self.lost(now, random, format!("the server answers {status}")),
        }
    }

    fn renewal_ended(&mut self, renewal: Renewal, now: f64, random: f64) -> Vec<Action> {
        match renewal {
            Renewal::Renewed => self.open_when_allowed(now),
            Renewal::SignedOut => self.stop_because(StopCause::SignedOut, SIGNED_OUT),
            Renewal::Failed { retry_after_ms } => {
                self.allow_after(retry_after_ms, now);
                self.lost(now, random, "no new session was to be had")
            }
        }
    }

    fn renew(&mut self, now: f64, random: f64) -> Vec<Action> {
        if self.renewed {
            return self.lost(now, random, "the server refuses the new session too");
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

    /// Something changed for the better, perhaps: try now, or make sure that the connection lives.
    fn look_again(&mut self, now: f64, random: f64) -> Vec<Action> {
        match (&self.status, self.phase) {
            (ConnectionStatus::Waiting { .. }, _) if !self.online => {
                self.go_offline(now);
                vec![]
            }
            // Due, perhaps: in a tab that nobody looks at, timers come late.
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

    /// A clock that was set back: all that is measured from moves along, or each wait would last longer by as much.
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
        self.retry_at_looked_at -= back;
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
            (Phase::Attempt { .. } | Phase::Diagnosing { .. }, _) => "no answer within 10 s",
            (Phase::Greeted { .. }, Liveness::Heartbeat) => "the heartbeat stopped",
            (Phase::Greeted { .. }, Liveness::Ping) if self.ping_sent_at.is_some() => {
                "the pong is overdue"
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
