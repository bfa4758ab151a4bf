//! A channel that a scripted client has joined, under the kit's own messages.

use uuid::Uuid;

use super::socket::{OpenedSocket, SocketItem, kind_of};
use crate::{
    channel::{Ack, ChannelCommand, ChannelContract, ChannelEvent, Entry, Joined, PlainContract},
    position::Position,
};

/// A joined channel.
///
/// # Panics
///
/// Its methods panic where those of the socket do, and if what comes is of another channel.
pub struct JoinedChannel<'a, C: PlainContract> {
    socket: &'a mut OpenedSocket<C>,
    name: String,
    joined: Joined,
    members: Vec<C::Member>,
    position: Option<Position>,
}

impl<C: PlainContract> OpenedSocket<C> {
    /// Joins a channel, after a position if there is one, and waits for the answer.
    ///
    /// # Panics
    ///
    /// Panics if the next item is another one: the join was refused, for instance.
    pub async fn join(&mut self, channel: &str, after: Option<Position>) -> JoinedChannel<'_, C> {
        JoinedChannel::join(self, channel, after).await
    }
}

impl<'a, C: PlainContract> JoinedChannel<'a, C> {
    async fn join(socket: &'a mut OpenedSocket<C>, name: &str, after: Option<Position>) -> Self {
        socket.send(&C::join(name, after.clone())).await;
        match socket.next().await {
            SocketItem::Event(ChannelEvent::Joined {
                channel,
                joined,
                members,
            }) if channel == name => {
                let head = Position::new(joined.epoch.clone(), joined.head);
                let position = match joined.recovered {
                    true => after,
                    false => (joined.replayed == 0).then_some(head),
                };
                Self {
                    socket,
                    name: channel,
                    joined,
                    members,
                    position,
                }
            }
            other => panic!(
                "instead of the answer to the join there was {}",
                kind_of(&other)
            ),
        }
    }

    /// The answer to the join.
    pub fn joined(&self) -> &Joined {
        &self.joined
    }

    /// The persons in the channel when it was joined.
    pub fn members(&self) -> &[C::Member] {
        &self.members
    }

    /// The position of the last message: a join goes on there. `None` while nothing is held.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Sends a message with an id of the test's choice.
    pub async fn send(&mut self, id: Uuid, draft: C::Sent) {
        let command: ChannelCommand<C::Sent> = <C as ChannelContract>::send(&self.name, id, draft);
        self.socket.send(&command).await;
    }

    /// The next event.
    pub async fn next(&mut self) -> C::Event {
        let event = self.socket.event().await;
        if let ChannelEvent::Message { channel, entry } = &event
            && *channel == self.name
        {
            let epoch = self.joined.epoch.clone();
            self.position = Some(Position::new(epoch, entry.offset));
        }
        event
    }

    /// The next message. Events about members before it are skipped.
    pub async fn message(&mut self) -> Entry<C::Stored> {
        loop {
            match self.next().await {
                ChannelEvent::Message { entry, .. } => return entry,
                ChannelEvent::MemberJoined { .. } | ChannelEvent::MemberLeft { .. } => {}
                ChannelEvent::Ack { ack, .. } => panic!("instead of a message there was {ack:?}"),
                ChannelEvent::Joined { joined, .. } => {
                    panic!("instead of a message there was {joined:?}")
                }
            }
        }
    }

    /// The next acknowledgement. Other events before it are skipped.
    pub async fn acknowledged(&mut self) -> Ack {
        loop {
            if let ChannelEvent::Ack { ack, .. } = self.next().await {
                return ack;
            }
        }
    }

    /// Leaves the channel.
    pub async fn leave(self) {
        let command: ChannelCommand<C::Sent> = <C as ChannelContract>::leave(&self.name);
        self.socket.send(&command).await;
    }
}
