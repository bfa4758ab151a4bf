//! The chat's wire format: routes, commands and events.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::session::User;
use realtime::{
    channel::{self, Ack, ChannelContract, Entry, Meaning},
    contract::SocketContract,
    id::SpelledId,
    message::ErrorCode,
    position::{Epoch, Position},
    strum::VariantNames,
};

pub const ROOMS_ROUTE: &str = "/api/chat/rooms";
pub const MESSAGES_ROUTE: &str = "/api/chat/rooms/{room}/messages";
pub const SEARCH_ROUTE: &str = "/api/chat/rooms/{room}/search";

/// This socket, or the server, holds the maximum number of rooms.
pub const TOO_MANY_ROOMS: ErrorCode = ErrorCode::other("too_many_rooms");
/// The field of a command and of an error that names the room.
const ROOM: &str = "room";

/// The one socket of the chat, for all rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatSocket;

/// What the chat adds to `welcome`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatWelcome {
    /// The user of the connection.
    pub user: User,
}

realtime::tagged! {
    /// Client to server.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum ChatCommand {
        /// Joins a room, or rejoins it after a reconnect: `after` is the position of the last message received.
        Join {
            room: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            after: Option<Position>,
        },
        Leave {
            room: String,
        },
        /// Sends a message. The client chooses the id: a repeated id, in whatever spelling, is stored once and acknowledged
        /// again.
        Send {
            id: SpelledId,
            room: String,
            text: String,
        },
        /// The user is typing; sent at most once in 3 s.
        Typing {
            room: String,
        },
        /// The user has read everything up to the offset.
        Read {
            room: String,
            offset: u64,
        },
        /// Requests messages before an offset, newest first.
        History {
            room: String,
            before: u64,
            limit: usize,
        },
    }
}

realtime::tagged! {
    /// Server to client.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum ChatEvent {
        /// The answer to `join`. The missed messages follow (or the latest 50 when not recovered), oldest first.
        Joined(Joined),
        /// A new message. The member's position in the room moves with this event only.
        Message {
            room: String,
            #[serde(flatten)]
            message: ChatMessage,
        },
        /// The message with this id is stored. The id is spelled as in the command.
        Ack {
            id: SpelledId,
            room: String,
            offset: u64,
            at: u64,
        },
        /// A user joined; sent once, however many tabs the user has.
        UserJoined { room: String, user: User },
        /// A user has had no tab in the room for 5 s.
        UserLeft { room: String, user_id: Uuid },
        /// A user is typing; expires after 5 s unless it is repeated.
        Typing { room: String, user_id: Uuid },
        /// A user has read up to the offset; it never decreases.
        Read {
            room: String,
            user_id: Uuid,
            offset: u64,
        },
        /// The answer to `history`, newest first; `more` if older messages exist.
        History {
            room: String,
            messages: Vec<ChatMessage>,
            more: bool,
        },
    }
}

/// The state of a room when a member joins it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub room: String,
    pub epoch: Epoch,
    /// The offset of the newest message.
    pub head: u64,
    /// Everything after the position in `join` follows.
    pub recovered: bool,
    /// How many messages follow.
    pub replayed: usize,
    /// How many messages of other users are after the caller's read mark.
    pub unread: usize,
    pub members: Vec<User>,
    pub read: Vec<ReadMark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadMark {
    pub user_id: Uuid,
    pub offset: u64,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Increases within the room.
    pub offset: u64,
    /// In the spelling that was stored first.
    pub id: SpelledId,
    pub from: User,
    pub text: String,
    /// Unix milliseconds.
    pub at: u64,
}

/// What a room's log stores of a message, beside its offset, id and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    pub from: User,
    pub text: String,
}

/// A room in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    pub room: String,
    /// How many users are present.
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

/// The messages that the server renders, and the position from which the browser continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstMessages {
    pub position: Position,
    pub members: Vec<User>,
    /// Oldest first.
    pub messages: Vec<ChatMessage>,
}

impl SocketContract for ChatSocket {
    const NAME: &'static str = "chat";
    const ROUTE: &'static str = "/api/chat/socket";
    const SUBPROTOCOL: &'static str = "wirewise.chat.v1";
    const ECHOED: &'static [&'static str] = &[ROOM];

    type Welcome = ChatWelcome;
    type Command = ChatCommand;
    type Event = ChatEvent;
}

/// The rooms are the channels of the chat's socket.
impl ChannelContract for ChatSocket {
    const CHANNEL: &'static str = ROOM;

    type Draft = String;
    type Message = Posted;

    fn join(room: &str, after: Option<Position>) -> ChatCommand {
        let room = room.to_owned();
        ChatCommand::Join { room, after }
    }

    fn leave(room: &str) -> ChatCommand {
        let room = room.to_owned();
        ChatCommand::Leave { room }
    }

    fn send(room: &str, id: Uuid, text: String) -> ChatCommand {
        let (id, room) = (id.into(), room.to_owned());
        ChatCommand::Send { id, room, text }
    }

    fn message(room: &str, entry: &Entry<Posted>) -> ChatEvent {
        let (room, message) = (room.to_owned(), entry.clone().into());
        ChatEvent::Message { room, message }
    }

    fn ack(room: &str, Ack { id, offset, at }: Ack) -> ChatEvent {
        let room = room.to_owned();
        ChatEvent::Ack {
            id,
            room,
            offset,
            at,
        }
    }

    fn meaning(event: &ChatEvent) -> Option<(&str, Meaning)> {
        let meaning = match event {
            ChatEvent::Joined(joined) => Meaning::Joined(channel::Joined {
                epoch: joined.epoch.clone(),
                head: joined.head,
                recovered: joined.recovered,
                replayed: joined.replayed as u64,
            }),
            ChatEvent::Message { message, .. } => Meaning::Message {
                offset: message.offset,
            },
            ChatEvent::Ack { id, offset, .. } => Meaning::Ack {
                id: id.value(),
                offset: *offset,
            },
            _ => Meaning::Other,
        };
        Some((event.room(), meaning))
    }
}

impl From<Entry<Posted>> for ChatMessage {
    fn from(entry: Entry<Posted>) -> Self {
        Self {
            offset: entry.offset,
            id: entry.id,
            from: entry.message.from,
            text: entry.message.text,
            at: entry.at,
        }
    }
}

impl ChatEvent {
    /// The room that the event belongs to.
    pub fn room(&self) -> &str {
        match self {
            Self::Joined(joined) => &joined.room,
            Self::Message { room, .. }
            | Self::Ack { room, .. }
            | Self::UserJoined { room, .. }
            | Self::UserLeft { room, .. }
            | Self::Typing { room, .. }
            | Self::Read { room, .. }
            | Self::History { room, .. } => room,
        }
    }
}

impl ChatCommand {
    /// The room that the command refers to.
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
