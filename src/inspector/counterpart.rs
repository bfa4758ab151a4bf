//! Contracts of the endpoints that the inspector compares a connection with: the same pulses over an event stream and over
//! a socket. The guide serves and measures them.

use serde::{Deserialize, Serialize};

use realtime::{
    contract::{SocketContract, StreamContract},
    strum::VariantNames,
};

/// The pulses over an event stream. It is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareEvents;

/// As [`CompareEvents`], over a socket. It has no resume, as a plain socket has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareSocket;

realtime::tagged! {
    /// Server to client, the same over both transports.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum CompareEvent {
        /// Sent twenty times a second while there are listeners.
        Pulse {
            /// Grows by one with every pulse. Over the event stream it is also the offset.
            sequence: u64,
            /// The time of sending, in Unix microseconds.
            sent_us: u64,
        },
    }
}

/// The query parameter that requests a [`CompareNote`] from the event stream: `?note=1`.
pub const NOTE: &str = "note";

realtime::tagged! {
    /// The first event of the stream, if it is requested. Its JSON is sent on two lines.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum CompareNote {
        /// Sent once, after a `hello` that did not recover. Its `data` fields, joined with a line feed, are the JSON.
        Note { text: String },
    }
}

/// Client to server: nothing, the browser only listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(crate = "realtime::strum")]
pub enum CompareCommand {}

/// The comparison adds nothing to `welcome`, because it needs no user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareWelcome {}

impl CompareEvents {
    /// The address of the stream with a [`CompareNote`].
    pub fn url_with_note() -> String {
        format!("{}?{NOTE}=1", Self::ROUTE)
    }
}

impl StreamContract for CompareEvents {
    const NAME: &'static str = "compare";
    const ROUTE: &'static str = "/api/compare/events";

    type Event = CompareEvent;
}

impl SocketContract for CompareSocket {
    const NAME: &'static str = "compare";
    const ROUTE: &'static str = "/api/compare/socket";
    const SUBPROTOCOL: &'static str = "wirewise.compare.v1";

    type Welcome = CompareWelcome;
    type Command = CompareCommand;
    type Event = CompareEvent;
}
