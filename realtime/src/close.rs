//! WebSocket close codes: what each means and what a client does then. Both sides read this one table.
//!
//! Codes below 4000 are RFC 6455 section 7.4.1 and the IANA registry; 4000 to 4999 are free for applications. Ours come in
//! bands, so that a client that does not know a code still does the right thing: 4000 to 4099 stop, 4100 to 4199 retry.

/// A code this application sends or acts upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// Done; nothing more to say.
    Done = 1000,
    ProtocolError = 1002,
    InvalidUtf8 = 1007,
    Policy = 1008,
    TooBig = 1009,
    /// What is asked for cannot be had now, the storage is away for instance; later perhaps it can.
    ServerError = 1011,
    /// The server leaves and comes back: retry after the delay its `drain` gave.
    ServiceRestart = 1012,
    /// The session; the reason says which: [`reason`].
    Session = 4001,
    Forbidden = 4003,
    NotFound = 4004,
    /// None of the offered subprotocols is spoken here.
    UnknownProtocol = 4010,
    /// The out-queue overran: the client reads too slowly. It comes back and resumes.
    TooSlow = 4100,
    /// Went on sending after being told to wait, or holds too many sockets.
    RateLimitIgnored = 4101,
    /// Nothing was heard for too long.
    HeartbeatMissed = 4102,
    /// [`CloseCode::NotFound`] for clients of the y-websocket protocol, which stop only on 4400 to 4499.
    YjsNotFound = 4404,
    /// [`CloseCode::Session`] for the same clients.
    YjsSession = 4401,
}

/// The reasons that go with [`CloseCode::Session`].
pub mod reason {
    /// The session is not valid any more: ask for a new one, once.
    pub const EXPIRED: &str = "expired";
    /// The person signed out: stay closed.
    pub const SIGNED_OUT: &str = "signed_out";
    /// The upgrade carried no session at all.
    pub const NONE: &str = "none";
}

/// What a client does after a close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterClose {
    /// Stays closed, nothing is wrong.
    Stay,
    /// Tries again with backoff.
    Retry,
    /// Asks for a new session once, then tries again.
    RenewSession,
    /// Loads the page anew, once: the server speaks a newer protocol than this page.
    Reload,
    /// Stops and tells the person why, in a sentence.
    Stop(StopCause, &'static str),
}

/// Why a client stopped, as far as a page does something of its own about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The person signed out, here or in another tab.
    SignedOut,
    /// The browser has no session (any more).
    NoSession,
    /// Anything else; the sentence beside it says what.
    Other,
}

/// The sentence for [`StopCause::SignedOut`].
pub const SIGNED_OUT: &str = "You signed out.";

impl CloseCode {
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// What a client does after the close `code` with `reason`.
pub fn after_close(code: u16, why: &str) -> AfterClose {
    let stop = |sentence| AfterClose::Stop(StopCause::Other, sentence);
    match (code, why) {
        (1000, _) => AfterClose::Stay,
        (1002, _) => stop("The server reported a protocol error."),
        (1003, _) => stop("The server does not take this kind of data."),
        (1007, _) => stop("The server reported text that is not valid UTF-8."),
        (1008, _) => stop("The server refused what was sent."),
        (1009, _) => stop("A message was too big for the server."),
        (4001, reason::EXPIRED) => AfterClose::RenewSession,
        (4001, reason::SIGNED_OUT) => AfterClose::Stop(StopCause::SignedOut, SIGNED_OUT),
        (4001, _) => AfterClose::Stop(
            StopCause::NoSession,
            "There is no session. Reload the page to get one.",
        ),
        (4003, _) => stop("This is not open to you."),
        (4004, _) => stop("There is nothing under this name."),
        (4010, _) => AfterClose::Reload,
        (4000..=4099, _) => stop("The server ended this connection."),
        // 1001, 1006, 1011, 1012, 1013, 4100 to 4199 and whatever is not known: losing a client for ever is worse than
        // one more attempt with backoff.
        _ => AfterClose::Retry,
    }
}

/// What a client does after a 401 whose body says `why`. Without a known reason it renews the session: a server that says
/// none may well mean `expired`.
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
    fn bands_decide_for_codes_nobody_knows_yet() {
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
    fn standard_codes_say_what_a_client_does() {
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
    fn a_401_says_whether_the_session_is_renewed() {
        for unknown in [None, Some(reason::EXPIRED), Some("tired")] {
            assert_eq!(after_unauthorized(unknown), AfterClose::RenewSession);
        }
        for (why, cause) in [
            (reason::SIGNED_OUT, StopCause::SignedOut),
            (reason::NONE, StopCause::NoSession),
        ] {
            let stopped = after_unauthorized(Some(why));
            assert!(matches!(stopped, AfterClose::Stop(because, _) if because == cause));
            assert_eq!(stopped, after_close(4001, why));
        }
    }
}
