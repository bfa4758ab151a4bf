//! What crosses the wire for the live comparison: the same pulses over an event stream and over a socket.

use serde::{Deserialize, Serialize};

use realtime::contract::{SocketContract, StreamContract};

/// The pulses over an event stream, open to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareEvents;

/// As [`CompareEvents`], over a socket. It has no resume, as a plain socket has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareSocket;

/// Server to client, the same over both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CompareEvent {
    /// Twenty times a second while anybody listens.
    Pulse {
        /// Grows by one with every pulse; over the event stream it is the offset, too.
        sequence: u64,
        /// When it left, in Unix microseconds.
        sent_us: u64,
    },
}

/// The query parameter that asks the event stream for a [`CompareNote`]: `?note=1`.
pub const NOTE: &str = "note";

/// What the event stream begins with where it is asked for: an event whose JSON is sent on two lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CompareNote {
    /// Once, after a `hello` that did not recover. Its `data` fields, joined with a line feed, are the JSON.
    Note { text: String },
}

/// The browser only listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareCommand {}

/// The comparison adds nothing to `welcome`: nobody needs to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareWelcome {}

impl CompareEvents {
    /// The address of the stream with a [`CompareNote`].
    pub fn url_with_note() -> String {
        format!("{}?{NOTE}=1", Self::ROUTE)
    }
}

impl StreamContract for CompareEvents {
    const ROUTE: &'static str = "/api/compare/events";
    const EVENTS: &'static [&'static str] = &["pulse"];
    const STATES: &'static [&'static str] = &[];

    type Event = CompareEvent;

    fn url(&self) -> String {
        Self::ROUTE.to_owned()
    }
}

impl SocketContract for CompareSocket {
    const ROUTE: &'static str = "/api/compare/socket";
    const SUBPROTOCOL: &'static str = "wirewise.compare.v1";
    const COMMANDS: &'static [&'static str] = &[];
    const EVENTS: &'static [&'static str] = &["pulse"];

    type Welcome = CompareWelcome;
    type Command = CompareCommand;
    type Event = CompareEvent;

    fn url(&self) -> String {
        Self::ROUTE.to_owned()
    }
}
