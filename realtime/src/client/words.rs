//! The words of the status line: English by default, replaceable by the application.

use std::fmt;

use crate::status::{ConnectionStatus, LostReason, StopReason};

/// Everything that a [`StatusLine`](super::StatusLine) says. The default is [`StatusWords::ENGLISH`].
///
/// An application replaces some or all of the functions, and passes the words to the component or provides them as context:
///
/// ```
/// # use leptos::prelude::*;
/// # use realtime::{client::StatusWords, status::ConnectionStatus};
/// # let owner = Owner::new();
/// # owner.set();
/// provide_context(StatusWords {
///     state: |status| match status {
///         ConnectionStatus::Open => "Verbunden".to_owned(),
///         ConnectionStatus::Waiting { .. } => "Verbindung verloren.".to_owned(),
///         other => (StatusWords::ENGLISH.state)(other),
///     },
///     countdown: |_, seconds| format!("Neuer Versuch in {seconds} s"),
///     ..StatusWords::ENGLISH
/// });
/// ```
///
/// The component calls each function wherever it renders the text, so a function may read context and signals (a locale);
/// the text changes with them.
#[derive(Clone, Copy, Debug)]
pub struct StatusWords {
    /// The state, and for [`ConnectionStatus::Stopped`] the reason as a sentence. Screen readers announce every change of
    /// this text, so it must not contain anything that changes while the state lasts.
    pub state: fn(&ConnectionStatus) -> String,
    /// The seconds until the next attempt. Shown behind the state, after a space, in [`ConnectionStatus::Waiting`] and
    /// [`ConnectionStatus::Offline`].
    pub countdown: fn(&ConnectionStatus, u64) -> String,
    /// Why the connection was lost: the tooltip of the state in [`ConnectionStatus::Waiting`].
    pub lost: fn(&LostReason) -> String,
    /// The button that starts an attempt at once.
    pub retry_now: fn() -> String,
    /// The latest round trip time, given in milliseconds.
    pub round_trip: fn(f64) -> String,
    /// The number of connections, with the `counted` of the component ("connected" by default).
    pub count: fn(usize, &'static str) -> String,
}

impl StatusWords {
    /// The English words. The reasons are the `Display` of [`LostReason`] and [`StopReason`].
    pub const ENGLISH: Self = Self {
        state: |status| match status {
            ConnectionStatus::Closed => "Closed".to_owned(),
            ConnectionStatus::Connecting { attempt: 0 } => "Connecting…".to_owned(),
            ConnectionStatus::Connecting { attempt } => {
                format!("Connecting, attempt {}…", attempt + 1)
            }
            ConnectionStatus::Open => "Connected".to_owned(),
            ConnectionStatus::Waiting { .. } => "Connection lost.".to_owned(),
            ConnectionStatus::Offline { .. } => {
                "Offline. The browser reports no network.".to_owned()
            }
            ConnectionStatus::Stopped { reason } => reason.to_string(),
        },
        countdown: |status, seconds| match status {
            ConnectionStatus::Offline { .. } => format!("Trying in {seconds} s"),
            _ => format!("Retrying in {seconds} s"),
        },
        lost: LostReason::to_string,
        retry_now: || "Retry now".to_owned(),
        round_trip: |ms| format!("{} ms", ms.round() as u64),
        count: |count, counted| format!("{count} {counted}"),
    };
}

impl Default for StatusWords {
    fn default() -> Self {
        Self::ENGLISH
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AskedToWait => "the server asks to wait",
            Self::StreamBroke => "the stream broke off",
            Self::Cut => "cut on this side",
            Self::Unreachable => "the server cannot be reached",
            Self::RefusedButOpen => "the stream was refused and would now be open",
            Self::UnexpectedStatus { status } => return write!(f, "the server answers {status}"),
            Self::SocketClosed { code, reason } if reason.is_empty() => {
                return write!(f, "the socket closed with {code}");
            }
            Self::SocketClosed { code, reason } => {
                return write!(f, "the socket closed with {code} ({reason})");
            }
            Self::NoAnswer => "no answer within 10 s",
            Self::HeartbeatStopped => "the heartbeat stopped",
            Self::PongOverdue => "the pong is overdue",
            Self::RenewalFailed => "no new session was to be had",
            Self::NewSessionRefused => "the server refuses the new session too",
            Self::CredentialsFailed { error } => {
                return write!(f, "no credential was obtained: {error}");
            }
        })
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SignedOut => "You signed out.",
            Self::NoSession => "There is no session. Reload the page to get one.",
            Self::ProtocolError => "The server reported a protocol error.",
            Self::UnsupportedData => "The server does not take this kind of data.",
            Self::InvalidUtf8 => "The server reported text that is not valid UTF-8.",
            Self::PolicyViolation => "The server refused what was sent.",
            Self::TooBig => "A message was too big for the server.",
            Self::Forbidden => "This is not open to you.",
            Self::NotFound => "There is nothing under this name.",
            Self::AddressNotFound => "There is nothing under this address (any more).",
            Self::BadRequest => "The server does not understand this request.",
            Self::ClosedByServer { .. } => "The server ended this connection.",
            Self::OutdatedPage => "This page is older than the server. Reload it.",
            Self::ReloadDidNotHelp => "This page and the server do not fit together.",
            Self::GaveUp { attempts, last } => {
                return write!(f, "Gave up after {attempts} attempts: {last}.");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lost_reason_has_its_english_clause() {
        let closed = |reason: &str| LostReason::SocketClosed {
            code: 1011,
            reason: reason.to_owned(),
        };
        let error = "the ticket was refused".to_owned();
        for (reason, clause) in [
            (LostReason::AskedToWait, "the server asks to wait"),
            (LostReason::StreamBroke, "the stream broke off"),
            (LostReason::Cut, "cut on this side"),
            (LostReason::Unreachable, "the server cannot be reached"),
            (
                LostReason::RefusedButOpen,
                "the stream was refused and would now be open",
            ),
            (
                LostReason::UnexpectedStatus { status: 502 },
                "the server answers 502",
            ),
            (closed(""), "the socket closed with 1011"),
            (closed("storage"), "the socket closed with 1011 (storage)"),
            (LostReason::NoAnswer, "no answer within 10 s"),
            (LostReason::HeartbeatStopped, "the heartbeat stopped"),
            (LostReason::PongOverdue, "the pong is overdue"),
            (LostReason::RenewalFailed, "no new session was to be had"),
            (
                LostReason::NewSessionRefused,
                "the server refuses the new session too",
            ),
            (
                LostReason::CredentialsFailed { error },
                "no credential was obtained: the ticket was refused",
            ),
        ] {
            assert_eq!((StatusWords::ENGLISH.lost)(&reason), clause);
        }
    }

    #[test]
    fn every_stop_reason_has_its_english_sentence() {
        let last = LostReason::SocketClosed {
            code: 1006,
            reason: String::new(),
        };
        for (reason, sentence) in [
            (StopReason::SignedOut, "You signed out."),
            (
                StopReason::NoSession,
                "There is no session. Reload the page to get one.",
            ),
            (
                StopReason::ProtocolError,
                "The server reported a protocol error.",
            ),
            (
                StopReason::UnsupportedData,
                "The server does not take this kind of data.",
            ),
            (
                StopReason::InvalidUtf8,
                "The server reported text that is not valid UTF-8.",
            ),
            (
                StopReason::PolicyViolation,
                "The server refused what was sent.",
            ),
            (StopReason::TooBig, "A message was too big for the server."),
            (StopReason::Forbidden, "This is not open to you."),
            (StopReason::NotFound, "There is nothing under this name."),
            (
                StopReason::AddressNotFound,
                "There is nothing under this address (any more).",
            ),
            (
                StopReason::BadRequest,
                "The server does not understand this request.",
            ),
            (
                StopReason::ClosedByServer { code: 4042 },
                "The server ended this connection.",
            ),
            (
                StopReason::OutdatedPage,
                "This page is older than the server. Reload it.",
            ),
            (
                StopReason::ReloadDidNotHelp,
                "This page and the server do not fit together.",
            ),
            (
                StopReason::GaveUp { attempts: 2, last },
                "Gave up after 2 attempts: the socket closed with 1006.",
            ),
        ] {
            let status = ConnectionStatus::Stopped { reason };
            assert_eq!((StatusWords::ENGLISH.state)(&status), sentence);
        }
    }

    #[test]
    fn every_other_state_has_its_english_words() {
        let (attempt, retry_at, reason) = (1, 0.0, LostReason::Cut);
        let waiting = ConnectionStatus::Waiting {
            attempt,
            retry_at,
            reason,
        };
        let offline = ConnectionStatus::Offline { retry_at };
        let words = StatusWords::ENGLISH;
        for (status, state) in [
            (ConnectionStatus::Closed, "Closed"),
            (ConnectionStatus::Connecting { attempt: 0 }, "Connecting…"),
            (
                ConnectionStatus::Connecting { attempt: 2 },
                "Connecting, attempt 3…",
            ),
            (ConnectionStatus::Open, "Connected"),
            (waiting.clone(), "Connection lost."),
            (offline.clone(), "Offline. The browser reports no network."),
        ] {
            assert_eq!((words.state)(&status), state);
        }
        assert_eq!((words.countdown)(&waiting, 5), "Retrying in 5 s");
        assert_eq!((words.countdown)(&offline, 30), "Trying in 30 s");
        assert_eq!((words.retry_now)(), "Retry now");
        assert_eq!((words.round_trip)(12.4), "12 ms");
        assert_eq!((words.count)(3, "watching"), "3 watching");
    }
}
