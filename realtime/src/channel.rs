//! Defines channels: sockets whose messages belong to named logs, with what both sides need to resume each of them.
//!
//! A client joins a channel, and gets every message of its log from a position on. The names of the messages and of their
//! fields are those of the application's own enums; a [`ChannelContract`] says how they are spelled. An application that
//! needs no names of its own takes [`ChannelCommand`] and [`ChannelEvent`], for which the contract is already written.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use strum::VariantNames;
use uuid::Uuid;

use crate::{
    contract::SocketContract,
    id::SpelledId,
    message::{ErrorCode, SocketError},
    position::{Epoch, Position},
};

pub use crate::message::NOT_JOINED;

/// This socket, or the server, holds the maximum number of channels.
pub const TOO_MANY_CHANNELS: ErrorCode = ErrorCode::other("too_many_channels");

/// How the messages of a socket refer to channels.
pub trait ChannelContract: SocketContract {
    /// The field of an error that names the channel. It is `channel` by default.
    const CHANNEL: &'static str = "channel";
    /// Whether the offsets of a channel increase in steps of one. A client then reports every gap. Otherwise it reports only
    /// that fewer messages arrived than the answer to a join announced.
    const CONSECUTIVE: bool = false;

    /// What a client sends, without channel and id.
    type Draft;
    /// What the log stores of a message, without offset, id and time.
    type Message: Send + Sync + 'static;

    /// The command that joins a channel, or joins it again: `after` is the position of the last message received.
    fn join(channel: &str, after: Option<Position>) -> Self::Command;

    /// The command that leaves a channel.
    fn leave(channel: &str) -> Self::Command;

    /// The command that sends a message.
    fn send(channel: &str, id: Uuid, draft: Self::Draft) -> Self::Command;

    /// The event of a stored message.
    fn message(channel: &str, entry: &Entry<Self::Message>) -> Self::Event;

    /// The event that acknowledges a sent message.
    fn ack(channel: &str, ack: Ack) -> Self::Event;

    /// The channel of an event, and what the event means for it; `None` if the event belongs to no channel.
    fn meaning(event: &Self::Event) -> Option<(&str, Meaning)>;

    /// Names in an error the channel that it is about.
    fn in_channel(error: SocketError, channel: &str) -> SocketError {
        error.with(Self::CHANNEL, channel)
    }

    /// The channel that an error is about.
    fn channel_of(error: &SocketError) -> Option<&str> {
        error.context.get(Self::CHANNEL)?.as_str()
    }
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry<M> {
    /// Increases within the log, from above 0.
    pub offset: u64,
    /// The id that the client chose, in the spelling that was stored first.
    pub id: SpelledId,
    /// When it was stored, in Unix milliseconds.
    pub at: u64,
    /// What was sent.
    pub message: M,
}

/// The answer to a join: where the channel continues for this member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The history that the offsets belong to.
    pub epoch: Epoch,
    /// The offset of the newest message.
    pub head: u64,
    /// If true, every message after the position in the join follows. If false, the client drops what it holds, and the
    /// latest messages follow.
    pub recovered: bool,
    /// How many messages up to `head` follow.
    pub replayed: u64,
}

/// The acknowledgement of a message: it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The id, spelled as in the command.
    pub id: SpelledId,
    /// The offset of the message.
    pub offset: u64,
    /// When it was stored, in Unix milliseconds.
    pub at: u64,
}

/// What an event means for its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The channel is joined.
    Joined(Joined),
    /// A message at this offset. The client's position moves with this event only.
    Message {
        /// The offset of the message.
        offset: u64,
    },
    /// A message of this client is stored.
    Ack {
        /// The id by which the outbox knows the message.
        id: Uuid,
        /// The offset of the message.
        offset: u64,
    },
    /// Anything else.
    Other,
}

/// A person in a channel. Several sockets of one person count as one.
pub trait Person: Clone + PartialEq + Send + Sync + 'static {
    /// Identifies the person, also under another name.
    type Id: Clone + Ord + Send + Sync + 'static;

    /// The person's id.
    fn id(&self) -> Self::Id;
}

impl Person for String {
    type Id = Self;

    fn id(&self) -> Self {
        self.clone()
    }
}

crate::tagged! {
    /// The commands of a channel's socket, client to server. `D` is what a client sends.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case")]
    pub enum ChannelCommand<D> {
        /// Joins a channel, or joins it again after a reconnect.
        Join {
            /// The name of the channel.
            channel: String,
            /// The position of the last message received.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            after: Option<Position>,
        },
        /// Leaves a channel.
        Leave {
            /// The name of the channel.
            channel: String,
        },
        /// Sends a message. A repeated id is stored once and acknowledged again.
        Send {
            /// The id that the client chose.
            id: SpelledId,
            /// The name of the channel.
            channel: String,
            /// What is sent.
            message: D,
        },
    }
}

crate::tagged! {
    /// The events of a channel's socket, server to client. `M` is a stored message, `P` a person.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case")]
    pub enum ChannelEvent<M, P = String> {
        /// The answer to `join`. The missed messages follow, or the latest when not recovered, oldest first.
        Joined {
            /// The name of the channel.
            channel: String,
            /// Where the channel continues.
            #[serde(flatten)]
            joined: Joined,
            /// The persons in the channel.
            members: Vec<P>,
        },
        /// A message.
        Message {
            /// The name of the channel.
            channel: String,
            /// The message.
            #[serde(flatten)]
            entry: Entry<M>,
        },
        /// The message with this id is stored.
        Ack {
            /// The name of the channel.
            channel: String,
            /// The id, the offset and the time.
            #[serde(flatten)]
            ack: Ack,
        },
        /// A person came, or has a new name; sent once, however many sockets the person has.
        MemberJoined {
            /// The name of the channel.
            channel: String,
            /// Who came.
            member: P,
        },
        /// A person has had no socket in the channel for some seconds.
        MemberLeft {
            /// The name of the channel.
            channel: String,
            /// Who left.
            member: P,
        },
    }
}

impl<D> ChannelCommand<D> {
    /// The channel that the command refers to.
    pub fn channel(&self) -> &str {
        match self {
            Self::Join { channel, .. } | Self::Leave { channel } | Self::Send { channel, .. } => {
                channel
            }
        }
    }
}

/// A contract whose messages are the kit's own: [`ChannelCommand`] and [`ChannelEvent`]. It is derived from these types.
pub trait PlainContract:
    ChannelContract<
        Command = ChannelCommand<Self::Sent>,
        Event = ChannelEvent<Self::Stored, Self::Member>,
        Draft = Self::Sent,
        Message = Self::Stored,
    >
{
    /// What a client sends.
    type Sent: Clone + Serialize + DeserializeOwned + Send + 'static;
    /// What the log stores of it.
    type Stored: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Who is in a channel.
    type Member: Person + Serialize + DeserializeOwned;
}

impl<C, D, M, P> PlainContract for C
where
    C: SocketContract<Command = ChannelCommand<D>, Event = ChannelEvent<M, P>>,
    D: Clone + Serialize + DeserializeOwned + Send + 'static,
    M: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    P: Serialize + DeserializeOwned + Person,
{
    type Sent = D;
    type Stored = M;
    type Member = P;
}

impl<C, D, M, P> ChannelContract for C
where
    C: SocketContract<Command = ChannelCommand<D>, Event = ChannelEvent<M, P>>,
    D: Clone + Serialize + DeserializeOwned + Send + 'static,
    M: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    P: Serialize + DeserializeOwned + Person,
{
    // The kit's own log counts in steps of one.
    const CONSECUTIVE: bool = true;

    type Draft = D;
    type Message = M;

    fn join(channel: &str, after: Option<Position>) -> ChannelCommand<D> {
        let channel = channel.to_owned();
        ChannelCommand::Join { channel, after }
    }

    fn leave(channel: &str) -> ChannelCommand<D> {
        ChannelCommand::Leave {
            channel: channel.to_owned(),
        }
    }

    fn send(channel: &str, id: Uuid, message: D) -> ChannelCommand<D> {
        ChannelCommand::Send {
            id: id.into(),
            channel: channel.to_owned(),
            message,
        }
    }

    fn message(channel: &str, entry: &Entry<M>) -> ChannelEvent<M, P> {
        ChannelEvent::Message {
            channel: channel.to_owned(),
            entry: entry.clone(),
        }
    }

    fn ack(channel: &str, ack: Ack) -> ChannelEvent<M, P> {
        let channel = channel.to_owned();
        ChannelEvent::Ack { channel, ack }
    }

    fn meaning(event: &ChannelEvent<M, P>) -> Option<(&str, Meaning)> {
        Some(match event {
            ChannelEvent::Joined {
                channel, joined, ..
            } => (channel, Meaning::Joined(joined.clone())),
            ChannelEvent::Message { channel, entry } => {
                let offset = entry.offset;
                (channel, Meaning::Message { offset })
            }
            ChannelEvent::Ack { channel, ack } => {
                let (id, offset) = (ack.id.value(), ack.offset);
                (channel, Meaning::Ack { id, offset })
            }
            ChannelEvent::MemberJoined { channel, .. }
            | ChannelEvent::MemberLeft { channel, .. } => (channel, Meaning::Other),
        })
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
