//! The kit's own messages: what opens, keeps alive and ends a stream or a socket, whatever it carries.

use serde::{Deserialize, Serialize};

use crate::position::Epoch;

/// What the server says on every event stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamControl {
    /// Server to client, first on every stream. It never moves the client's position.
    Hello(Hello),
    /// Server to client every `heartbeat_ms`, busy or not. A named event, since a browser hides comments from script.
    Heartbeat {
        /// Unix milliseconds.
        at: u64,
        /// Open connections of this stream on this node.
        connections: usize,
    },
    /// Server to client, last on a stream of a server that leaves: come back after `retry_ms` milliseconds.
    Drain { retry_ms: u64 },
}

/// How a stream begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Names this connection among all of the node.
    pub connection: String,
    pub epoch: Epoch,
    /// Where this connection continues: the position the client came with when `recovered`, else that of the snapshot
    /// or state that follows.
    pub offset: u64,
    /// Everything the client missed follows. When false, a snapshot or state follows instead, where the stream has one.
    pub recovered: bool,
    /// How many missed events follow.
    pub replayed: usize,
    /// The interval of the heartbeats in milliseconds.
    pub heartbeat_ms: u64,
    /// Open connections of this stream on this node.
    pub connections: usize,
}

/// What the server says on every socket. `W` is what the feature adds to the welcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SocketControl<W> {
    /// Server to client, first on every socket.
    Welcome {
        /// Names this connection among all of the node.
        connection: String,
        /// The interval in which the client sends `ping`, in milliseconds.
        heartbeat_ms: u64,
        /// Open sockets of this endpoint on this node.
        connections: usize,
        limits: Limits,
        /// What the feature adds: who the caller is, who else is there.
        #[serde(flatten)]
        feature: W,
    },
    /// Server to client, the answer to `ping`.
    Pong {
        /// The client's own time from its `ping`, returned as it came.
        at: serde_json::Number,
        /// Unix milliseconds.
        server_at: u64,
        connections: usize,
    },
    /// Server to client: what was sent is refused; the socket lives on.
    Error(SocketError),
    /// Server to client, before close 1012: come back after `retry_ms` milliseconds.
    Drain { retry_ms: u64 },
}

/// What the client says on every socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SocketRequest {
    /// Client to server every `heartbeat_ms`. The answer proves that both directions live and measures the round trip;
    /// a browser hides the protocol's own ping frames from script.
    Ping {
        /// The client's clock, any unit; the server returns it, digit by digit.
        at: serde_json::Number,
    },
}

/// What a socket takes, so that a client need not find out by being refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest inbound text message in bytes.
    pub text_bytes: usize,
    /// Longest inbound binary message in bytes; 0 where only text is spoken.
    pub binary_bytes: usize,
    /// Text messages a second and user.
    pub messages_per_second: u32,
}

/// A refusal on a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketError {
    pub code: ErrorCode,
    /// A sentence: what is wrong, and what would be right.
    pub message: String,
    /// The id of the command this answers, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// How long to wait before the same command may succeed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, or not an object with a `type`.
    Malformed,
    /// No command of this socket has this `type`.
    UnknownType,
    /// A field is missing, of another type, or outside its range; the message names it.
    InvalidField,
    /// The room is none that this socket has joined.
    NotJoined,
    /// More messages a second than the welcome's limits: wait for `retry_after_ms`.
    RateLimited,
    /// This socket has joined as many rooms as it may.
    TooManyRooms,
    /// The storage is away: keep the command and send it again.
    Unavailable,
    /// This socket may only read.
    ReadOnly,
}

impl ErrorCode {
    /// Whether the same command may succeed later.
    pub fn may_be_retried(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }
}

impl SocketError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            re: None,
            room: None,
            retry_after_ms: None,
        }
    }

    /// Names the command that is refused.
    pub fn about(mut self, id: impl ToString) -> Self {
        self.re = Some(id.to_string());
        self
    }

    /// Names the room in which it is refused.
    pub fn in_room(mut self, room: impl ToString) -> Self {
        self.room = Some(room.to_string());
        self
    }
}
