//! What the panel asks the server for.

use serde::{Deserialize, Serialize};

/// Breaks one of the caller's own connections (POST, form field `connection`); only under `--allow-faults`.
pub const FAULT_ROUTE: &str = "/api/faults/{kind}";
/// How one of the caller's own connections began (GET).
pub const HANDSHAKE_ROUTE: &str = "/api/connections/{connection}";

/// What may be done to a connection by its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Resets the TCP connection.
    Drop,
    /// Sends nothing any more, without closing.
    Stall,
    /// Sends the last event once more, under the same id.
    DuplicateId,
    /// The caller's next resume of the same route is answered `recovered: false`.
    ExpireHistory,
    /// The whole server leaves as on SIGTERM, and starts again. The one fault that others feel, too.
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

    /// As it stands in the route.
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

/// How a connection began, as the server received and answered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeView {
    pub connection: String,
    /// Request line and headers; what could stand for somebody is blanked.
    pub request: String,
    /// Status line and headers.
    pub response: String,
}

/// What the server allows, told to every page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    pub faults: bool,
}
