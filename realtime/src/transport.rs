//! The two transports.

use serde::{Deserialize, Serialize};

/// What carries the events of a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    Sse,
    WebSocket,
}

impl Transport {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sse => "SSE",
            Self::WebSocket => "WebSocket",
        }
    }

    /// The one that this is compared with.
    pub fn other(self) -> Self {
        match self {
            Self::Sse => Self::WebSocket,
            Self::WebSocket => Self::Sse,
        }
    }
}
