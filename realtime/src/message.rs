//! The kit's own messages, which open, keep alive and end every stream and socket.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use strum::VariantNames;

use crate::position::Epoch;

/// This socket has not joined the channel. The command is valid, so an outbox keeps it until the page has joined.
pub const NOT_JOINED: ErrorCode = ErrorCode::other("not_joined");

crate::tagged! {
    /// The kit's events on every event stream.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case")]
    pub enum StreamControl {
        /// Server to client, the first event of every stream. It never moves the client's position.
        Hello(Hello),
        /// Server to client every `heartbeat_ms`, whether the stream is busy or not. A named event, because a browser does not
        /// expose comments to scripts.
        Heartbeat {
            /// Unix milliseconds.
            at: u64,
            /// Open connections of this stream on this node.
            connections: usize,
        },
        /// Server to client, the last event before the server shuts down: reconnect after `retry_ms` milliseconds.
        Drain {
            /// The shortest delay before the reconnect, in milliseconds, drawn at random for each stream.
            retry_ms: u64,
        },
    }
}

/// The first event of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Identifies this connection among all connections of this node.
    pub connection: String,
    /// The history that `offset` refers to. If it is not the epoch that the client sent, the old history is gone.
    pub epoch: Epoch,
    /// Where this connection continues: if `recovered`, at the position that the client sent, otherwise at the position of
    /// the snapshot or state that follows.
    pub offset: u64,
    /// If true, all events that the client missed follow. If false, a snapshot or state follows instead, if the stream has
    /// one.
    pub recovered: bool,
    /// The number of missed events that follow.
    pub replayed: usize,
    /// The interval between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Open connections of this stream on this node.
    pub connections: usize,
}

crate::tagged! {
    /// The kit's server messages on every socket. `W` holds the fields that the feature adds to the welcome.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case")]
    pub enum SocketControl<W> {
        /// Server to client, the first message on every socket.
        Welcome {
            /// Identifies this connection among all connections of this node.
            connection: String,
            /// The interval at which the client sends `ping`, in milliseconds.
            heartbeat_ms: u64,
            /// Open sockets of this endpoint on this node.
            connections: usize,
            /// What the server accepts on this socket.
            limits: Limits,
            /// The feature's fields: the user, and the other users present.
            #[serde(flatten)]
            feature: W,
        },
        /// Server to client, the answer to `ping`.
        Pong {
            /// The client's time from its `ping`, returned unchanged.
            at: serde_json::Number,
            /// Unix milliseconds.
            server_at: u64,
            /// Open sockets of this endpoint on this node.
            connections: usize,
        },
        /// Server to client: a message was refused. The socket stays open.
        Error(SocketError),
        /// Server to client, before a close with 1012: reconnect after `retry_ms` milliseconds.
        Drain {
            /// The shortest delay before the reconnect, in milliseconds, drawn at random for each socket.
            retry_ms: u64,
        },
    }
}

/// The kit's client messages on every socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SocketRequest {
    /// Client to server every `heartbeat_ms`. The answer proves that both directions work and measures the round trip. The
    /// protocol's own Ping frames cannot do this, because a browser does not expose them to scripts.
    Ping {
        /// The client's clock, in any unit. The server returns the number digit by digit.
        at: serde_json::Number,
    },
}

/// The limits of a socket, sent up front so that a client need not discover them through refusals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest inbound text message in bytes.
    pub text_bytes: usize,
    /// Longest inbound binary message in bytes; 0 if the socket accepts text only.
    pub binary_bytes: usize,
    /// Text messages per second and user.
    pub messages_per_second: u32,
}

/// A refusal on a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketError {
    /// The kind of refusal, by which the client decides whether to send the command again.
    pub code: ErrorCode,
    /// A sentence that says what is wrong and what would be right.
    pub message: String,
    /// The id of the refused command, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<String>,
    /// The fields that the application adds: [`SocketError::with`].
    #[serde(flatten)]
    pub context: Map<String, Value>,
    /// How long to wait before the same command may succeed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The kinds of refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, or not an object with a `type`.
    Malformed,
    /// No command of this socket has this `type`.
    UnknownType,
    /// A field is missing, of another type, or outside its range; the message names it.
    InvalidField,
    /// More messages per second than the limits in `welcome` allow: wait for `retry_after_ms`.
    RateLimited,
    /// The storage is unavailable: keep the command and send it again.
    Unavailable,
    /// A code of the application, as it is sent: snake_case, and none of the kit's codes. Also a code of a newer server.
    #[serde(untagged)]
    Other(Cow<'static, str>),
}

impl ErrorCode {
    /// A code of the application: [`ErrorCode::Other`].
    pub const fn other(code: &'static str) -> Self {
        Self::Other(Cow::Borrowed(code))
    }

    /// Whether the same command may succeed later. The kit does not know this of a code of the application: `false`.
    pub fn may_be_retried(&self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }
}

/// By hand: serde would derive a buffer and a second attempt for the last variant, which every page would download.
impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Ok(match &*code {
            "malformed" => Self::Malformed,
            "unknown_type" => Self::UnknownType,
            "invalid_field" => Self::InvalidField,
            "rate_limited" => Self::RateLimited,
            "unavailable" => Self::Unavailable,
            _ => Self::Other(code.into()),
        })
    }
}

impl SocketError {
    /// A refusal without an id, context or wait. `message` is a sentence for the author of a client or for the user.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            re: None,
            context: Map::new(),
            retry_after_ms: None,
        }
    }

    /// Sets the id of the refused command.
    pub fn about(mut self, id: impl ToString) -> Self {
        self.re = Some(id.to_string());
        self
    }

    /// Adds a field of the application, or replaces its value. `name` is none of the kit's fields: `type`, `code`, `message`,
    /// `re`, `retry_after_ms`.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.context.insert(name.into(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_code_is_received_as_it_is_sent() {
        for (code, word) in [
            (ErrorCode::Malformed, "malformed"),
            (ErrorCode::UnknownType, "unknown_type"),
            (ErrorCode::InvalidField, "invalid_field"),
            (ErrorCode::RateLimited, "rate_limited"),
            (ErrorCode::Unavailable, "unavailable"),
            (ErrorCode::other("too_late"), "too_late"),
        ] {
            assert_eq!(serde_json::to_value(&code).unwrap(), word);
            assert_eq!(
                serde_json::from_value::<ErrorCode>(word.into()).unwrap(),
                code
            );
        }
        assert!(serde_json::from_value::<ErrorCode>(json!(7)).is_err());
    }

    #[test]
    fn the_fields_of_the_application_stand_between_those_of_the_kit() {
        let mut error = SocketError::new(ErrorCode::other("too_late"), "No.")
            .about(7)
            .with("auction", "vase");
        error.retry_after_ms = Some(50);
        let text = r#"{"type":"error","code":"too_late","message":"No.","re":"7","auction":"vase","retry_after_ms":50}"#;
        let control = SocketControl::<()>::Error(error);
        assert_eq!(serde_json::to_string(&control).unwrap(), text);
        assert_eq!(
            serde_json::from_str::<SocketControl<()>>(text).unwrap(),
            control
        );
    }
}
