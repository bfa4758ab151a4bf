//! Defines the WebSocket close codes and how a client reacts to each. Both sides use this table.
//!
//! Codes below 4000 are defined by RFC 6455, section 7.4.1, and the IANA registry; 4000 to 4999 are free for applications.
//! Ours come in bands, so that a client reacts correctly to a code that it does not know: it stops on 4000 to 4099 and
//! retries on 4100 to 4199.

use crate::reasons::StopReason;

/// A close code that the kit sends or handles. An application sends codes of its own as numbers, from 4000 to 4999 (RFC 6455,
/// section 7.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// Normal closure.
    Done = 1000,
    /// A frame violates the WebSocket protocol (RFC 6455, section 7.4.1).
    ProtocolError = 1002,
    /// A text message is not valid UTF-8 (RFC 6455, sections 7.4.1 and 8.1).
    InvalidUtf8 = 1007,
    /// A message violates the server's policy (RFC 6455, section 7.4.1).
    Policy = 1008,
    /// A message is longer than the server accepts (RFC 6455, section 7.4.1).
    TooBig = 1009,
    /// The request cannot be served now, for instance because the storage is unavailable. It may succeed later.
    ServerError = 1011,
    /// The server restarts: retry after the delay that its `drain` message gave.
    ServiceRestart = 1012,
    /// There is no valid session. The close reason says why: [`reason`].
    Session = 4001,
    /// The user has no access to what the socket is about.
    Forbidden = 4003,
    /// What the socket is about does not exist.
    NotFound = 4004,
    /// The server supports none of the offered subprotocols.
    UnknownProtocol = 4010,
    /// The outbound queue overflowed because the client reads too slowly. The client reconnects and resumes.
    TooSlow = 4100,
    /// The client kept sending after it was asked to wait, or it holds too many sockets.
    RateLimitIgnored = 4101,
    /// Nothing was received from the client for too long.
    HeartbeatMissed = 4102,
}

/// The close reasons that accompany [`CloseCode::Session`].
pub mod reason {
    /// The session has expired: request a new one, once.
    pub const EXPIRED: &str = "expired";
    /// The user signed out: stay closed.
    pub const SIGNED_OUT: &str = "signed_out";
    /// The upgrade request carried no session.
    pub const NONE: &str = "none";
}

/// How a client reacts to a close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterClose {
    /// Stay closed; this is not an error.
    Stay,
    /// Reconnect with backoff.
    Retry,
    /// Request a new session once, then reconnect.
    RenewSession,
    /// Reload the page, once: the server uses a newer protocol than this page.
    Reload,
    /// Make no further automatic attempt, for this reason.
    Stop(StopReason),
}

impl CloseCode {
    /// The number that is sent.
    pub fn code(self) -> u16 {
        self as u16
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.code()
    }
}

/// How a client reacts to a close with `code` and the reason `why`.
pub fn after_close(code: u16, why: &str) -> AfterClose {
    match (code, why) {
        (1000, _) => AfterClose::Stay,
        (1002, _) => AfterClose::Stop(StopReason::ProtocolError),
        (1003, _) => AfterClose::Stop(StopReason::UnsupportedData),
        (1007, _) => AfterClose::Stop(StopReason::InvalidUtf8),
        (1008, _) => AfterClose::Stop(StopReason::PolicyViolation),
        (1009, _) => AfterClose::Stop(StopReason::TooBig),
        (4001, reason::EXPIRED) => AfterClose::RenewSession,
        (4001, reason::SIGNED_OUT) => AfterClose::Stop(StopReason::SignedOut),
        (4001, _) => AfterClose::Stop(StopReason::NoSession),
        (4003, _) => AfterClose::Stop(StopReason::Forbidden),
        (4004, _) => AfterClose::Stop(StopReason::NotFound),
        (4010, _) => AfterClose::Reload,
        (4000..=4099, _) => AfterClose::Stop(StopReason::ClosedByServer { code }),
        // 1001, 1006, 1011, 1012, 1013, 4100 to 4199 and unknown codes: losing a client permanently is worse than one more
        // attempt with backoff.
        _ => AfterClose::Retry,
    }
}

/// How a client reacts to a 401 whose body gives the reason `why`. Without a known reason the client renews the session,
/// because the server may have meant `expired`.
pub fn after_unauthorized(why: Option<&str>) -> AfterClose {
    match why {
        Some(why @ (reason::SIGNED_OUT | reason::NONE)) => {
            after_close(CloseCode::Session.code(), why)
        }
        _ => AfterClose::RenewSession,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_follow_the_rule_of_their_band() {
        for code in (4000..=4099).filter(|code| ![4001, 4010].contains(code)) {
            assert!(
                matches!(after_close(code, ""), AfterClose::Stop(..)),
                "{code}"
            );
        }
        for code in 4100..=4199 {
            assert_eq!(after_close(code, ""), AfterClose::Retry, "{code}");
        }
    }

    #[test]
    fn standard_codes_stay_closed_retry_or_stop() {
        assert_eq!(after_close(1000, ""), AfterClose::Stay);
        for code in [1001, 1006, 1011, 1012] {
            assert_eq!(after_close(code, ""), AfterClose::Retry, "{code}");
        }
        for code in [1002, 1003, 1007, 1008, 1009] {
            assert!(
                matches!(after_close(code, ""), AfterClose::Stop(..)),
                "{code}"
            );
        }
    }

    #[test]
    fn only_an_expired_session_is_renewed() {
        assert_eq!(after_close(4001, reason::EXPIRED), AfterClose::RenewSession);
        assert!(matches!(
            after_close(4001, reason::SIGNED_OUT),
            AfterClose::Stop(..)
        ));
        assert!(matches!(
            after_close(4001, reason::NONE),
            AfterClose::Stop(..)
        ));
        assert!(matches!(after_close(4001, ""), AfterClose::Stop(..)));
        assert_eq!(
            after_close(CloseCode::UnknownProtocol.code(), ""),
            AfterClose::Reload
        );
    }

    #[test]
    fn the_reason_of_a_401_decides_whether_the_session_is_renewed() {
        for unknown in [None, Some(reason::EXPIRED), Some("tired")] {
            assert_eq!(after_unauthorized(unknown), AfterClose::RenewSession);
        }
        for (why, expected) in [
            (reason::SIGNED_OUT, StopReason::SignedOut),
            (reason::NONE, StopReason::NoSession),
        ] {
            let stopped = after_unauthorized(Some(why));
            assert_eq!(stopped, AfterClose::Stop(expected));
            assert_eq!(stopped, after_close(4001, why));
        }
    }
}
