//! What crosses the wire for the chat.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::session::User;
use realtime::{
    contract::SocketContract,
    id::SpelledId,
    position::{Epoch, Position},
};

pub const ROOMS_ROUTE: &str = "/api/chat/rooms";
pub const MESSAGES_ROUTE: &str = "/api/chat/rooms/{room}/messages";
pub const SEARCH_ROUTE: &str = "/api/chat/rooms/{room}/search";

/// The one socket of the chat, for all rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatSocket;

/// What the chat adds to `welcome`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatWelcome {
    /// Who the caller is.
    pub user: User,
}

/// Client to server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatCommand {
    /// Enters a room, or comes back to it: `after` is the position of the last message seen.
    Join {
        room: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Position>,
    },
    Leave {
        room: String,
    },
    /// Says something. The id is the client's: the same one sent again is stored once and acknowledged again, in whatever
    /// spelling of it.
    Send {
        id: SpelledId,
        room: String,
        text: String,
    },
    /// The person is typing; at most one in 3 s.
    Typing {
        room: String,
    },
    /// Everything up to the offset was read.
    Read {
        room: String,
        offset: u64,
    },
    /// Asks for messages before an offset, newest first.
    History {
        room: String,
        before: u64,
        limit: usize,
    },
}

/// Server to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatEvent {
    /// The answer to `join`. What was missed follows (or the latest 50 when not recovered), oldest first.
    Joined(Joined),
    /// Somebody said something. The member's position in the room moves with this, and with nothing else.
    Message {
        room: String,
        #[serde(flatten)]
        message: ChatMessage,
    },
    /// The message with this id stands in the room. The id is spelled as in the command.
    Ack {
        id: SpelledId,
        room: String,
        offset: u64,
        at: u64,
    },
    /// A person came; once, however many tabs.
    UserJoined { room: String, user: User },
    /// A person has been gone for 5 s.
    UserLeft { room: String, user_id: Uuid },
    /// A person types; expires after 5 s without another.
    Typing { room: String, user_id: Uuid },
    /// A person has read up to the offset; never goes back.
    Read {
        room: String,
        user_id: Uuid,
        offset: u64,
    },
    /// The answer to `history`: newest first; `more` when older ones exist.
    History {
        room: String,
        messages: Vec<ChatMessage>,
        more: bool,
    },
}

/// How a room stands when one enters it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub room: String,
    pub epoch: Epoch,
    /// The offset of the newest message.
    pub head: u64,
    /// Everything after the position sent follows.
    pub recovered: bool,
    /// How many messages follow.
    pub replayed: usize,
    /// Messages of others after the caller's read mark.
    pub unread: usize,
    pub members: Vec<User>,
    pub read: Vec<ReadMark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadMark {
    pub user_id: Uuid,
    pub offset: u64,
}

/// A message as it stands in the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Grows within the room.
    pub offset: u64,
    /// In the spelling that was stored first.
    pub id: SpelledId,
    pub from: User,
    pub text: String,
    /// Unix milliseconds.
    pub at: u64,
}

/// A room in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    pub room: String,
    /// People who are there.
    pub members: usize,
    pub head: u64,
}

/// A page of a room's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryPage {
    pub room: String,
    pub epoch: Epoch,
    /// Newest first.
    pub messages: Vec<ChatMessage>,
    pub more: bool,
}

/// What the server renders first, and where the browser continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstMessages {
    pub position: Position,
    pub members: Vec<User>,
    /// Oldest first.
    pub messages: Vec<ChatMessage>,
}

impl SocketContract for ChatSocket {
    const ROUTE: &'static str = "/api/chat/socket";
    const SUBPROTOCOL: &'static str = "wirewise.chat.v1";
    const COMMANDS: &'static [&'static str] =
        &["join", "leave", "send", "typing", "read", "history"];
    const EVENTS: &'static [&'static str] = &[
        "joined",
        "message",
        "ack",
        "user_joined",
        "user_left",
        "typing",
        "read",
        "history",
    ];

    type Welcome = ChatWelcome;
    type Command = ChatCommand;
    type Event = ChatEvent;

    fn url(&self) -> String {
        Self::ROUTE.into()
    }
}

impl ChatCommand {
    /// The room it is about.
    pub fn room(&self) -> &str {
        match self {
            Self::Join { room, .. }
            | Self::Leave { room }
            | Self::Send { room, .. }
            | Self::Typing { room }
            | Self::Read { room, .. }
            | Self::History { room, .. } => room,
        }
    }
}
