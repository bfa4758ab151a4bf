//! Names the two transports: Server-Sent Events and WebSocket.

use serde::{Deserialize, Serialize};

/// The transport of a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Server-Sent Events: an event stream from the server to the page (WHATWG HTML, section 9.2).
    Sse,
    /// Messages in both directions on one connection (RFC 6455).
    WebSocket,
}

impl Transport {
    /// The display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sse => "SSE",
            Self::WebSocket => "WebSocket",
        }
    }

    /// The transport that this one is compared with.
    pub fn other(self) -> Self {
        match self {
            Self::Sse => Self::WebSocket,
            Self::WebSocket => Self::Sse,
        }
    }
}
