//! The requests of the inspector's panel to the server.

use serde::{Deserialize, Serialize};

/// Breaks one of the caller's own connections (POST, form field `connection`); only under `--allow-faults`.
pub const FAULT_ROUTE: &str = "/api/faults/{kind}";
/// The handshake of one of the caller's own connections (GET).
pub const HANDSHAKE_ROUTE: &str = "/api/connections/{connection}";

/// A fault that the server can inject into a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Resets the TCP connection.
    Drop,
    /// Stops sending, without closing.
    Stall,
    /// Sends the last event once more, under the same id.
    DuplicateId,
    /// The caller's next resume of the same route is answered `recovered: false`.
    ExpireHistory,
    /// The whole server drains as on SIGTERM, and starts again. The one fault that affects others too.
    ServerRestart,
}

impl Fault {
    pub const ALL: [Self; 5] = [
        Self::Drop,
        Self::Stall,
        Self::DuplicateId,
        Self::ExpireHistory,
        Self::ServerRestart,
    ];

    /// The name in the route.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Stall => "stall",
            Self::DuplicateId => "duplicate_id",
            Self::ExpireHistory => "expire_history",
            Self::ServerRestart => "server_restart",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// The handshake of a connection, as the server received and answered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeView {
    pub connection: String,
    /// Request line and headers; what may be a credential is blanked.
    pub request: String,
    /// Status line and headers.
    pub response: String,
}

/// What the server allows. Every page gets it as a first state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    pub faults: bool,
}
