//! The reasons why a connection was lost, and why there is no further automatic attempt.

/// Why an attempt failed or a connection was lost. Its `Display` is an English clause without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// The server set the earliest time of the next attempt (429, `Retry-After`, or the delay in `drain`).
    AskedToWait,
    /// An open event stream ended without its last event.
    StreamBroke,
    /// The user cut the connection deliberately.
    Cut,
    /// The probe of a refused event stream got no response.
    Unreachable,
    /// An event stream was refused, but its probe got 200.
    RefusedButOpen,
    /// The probe of a refused event stream got an HTTP status that has no reason of its own.
    UnexpectedStatus {
        /// The HTTP status of the probe's response (RFC 9110, section 15).
        status: u16,
    },
    /// The socket closed with a code after which a client retries. `reason` is the close reason, often empty.
    SocketClosed {
        /// The close code (RFC 6455, section 7.1.5); 1006 if no close frame was received.
        code: u16,
        /// The server's close reason (RFC 6455, section 7.1.6); empty if it gave none.
        reason: String,
    },
    /// An attempt, a probe or a session renewal took 10 s.
    NoAnswer,
    /// An event stream was silent for 2.5 heartbeat intervals.
    HeartbeatStopped,
    /// The answer to a ping is 5 s overdue.
    PongOverdue,
    /// The session could not be renewed; it may succeed later.
    RenewalFailed,
    /// The server refused a session that was renewed immediately before.
    NewSessionRefused,
    /// The function that obtains the credential of an attempt returned an error. Where it takes longer than 10 s, the reason is
    /// [`LostReason::NoAnswer`].
    CredentialsFailed {
        /// The application's error, as its `to_string` returned it.
        error: String,
    },
}

/// Why there is no further automatic attempt. Its `Display` is an English sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The user signed out, in this tab or in another one (4001 or 401, with `signed_out`).
    SignedOut,
    /// The browser has no session (4001 or 401, with `none`).
    NoSession,
    /// The server reported a protocol error (close code 1002).
    ProtocolError,
    /// The server does not accept this kind of data (close code 1003).
    UnsupportedData,
    /// The server received text that is not valid UTF-8 (close code 1007).
    InvalidUtf8,
    /// A message violated the server's policy (close code 1008).
    PolicyViolation,
    /// A message was too big for the server (close code 1009).
    TooBig,
    /// The user has no access (close code 4003 or HTTP 403).
    Forbidden,
    /// What the socket is about does not exist (close code 4004).
    NotFound,
    /// The address of the event stream does not exist, or no longer (HTTP 404).
    AddressNotFound,
    /// The server does not understand the request for the event stream (HTTP 400).
    BadRequest,
    /// The server closed the socket with a code from 4000 to 4099 that has no reason of its own.
    ClosedByServer {
        /// The close code of the application (RFC 6455, section 7.4.2).
        code: u16,
    },
    /// The server supports none of the subprotocols that this page offers (close code 4010). The page is being reloaded.
    OutdatedPage,
    /// The page was reloaded a short time ago because of [`StopReason::OutdatedPage`], and the server still does not
    /// support it.
    ReloadDidNotHelp,
    /// As many attempts in a row failed as [`Policy::max_attempts`](crate::status::Policy::max_attempts) allows.
    GaveUp {
        /// Failures in a row before the last one.
        attempts: u32,
        /// Why the last attempt failed.
        last: LostReason,
    },
}
