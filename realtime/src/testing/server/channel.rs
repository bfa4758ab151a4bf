//! A channel of an accepted socket, under the kit's own messages.

use uuid::Uuid;

use super::{history::History, socket::AcceptedSocket};
use crate::{
    channel::{Ack, ChannelCommand, ChannelContract, ChannelEvent, Entry, Joined, PlainContract},
    message::SocketError,
    position::Position,
};

/// A channel that the page joins. First the join gets its answer. Offsets count up by themselves, across connections.
///
/// # Panics
///
/// Its methods panic where those of the socket do.
pub struct AcceptedChannel<'a, C: PlainContract> {
    socket: &'a AcceptedSocket<C>,
    name: String,
    after: Option<Position>,
    history: History,
}

impl<'a, C: PlainContract> AcceptedChannel<'a, C> {
    #[track_caller]
    pub(super) fn new(socket: &'a AcceptedSocket<C>, name: &str) -> Self {
        let after = match socket.received() {
            Some(ChannelCommand::Join { channel, after }) if channel == name => after,
            other => panic!(
                "the page was to join {name:?}; it {}",
                described::<C>(other.as_ref())
            ),
        };
        let history = socket.histories.of(&format!("{} {name}", C::ROUTE));
        Self {
            socket,
            name: name.to_owned(),
            after,
            history,
        }
    }

    /// The position after which the page wants to go on; `None` if it holds nothing.
    pub fn resumes_after(&self) -> Option<&Position> {
        self.after.as_ref()
    }

    /// Answers the join of a page that starts anew: it drops what it holds, and these latest messages follow.
    #[track_caller]
    pub fn joined(&self, latest: &[C::Message]) {
        let head = self.history.head();
        self.answer(head, false, latest);
    }

    /// Answers the join of a page that resumes: these messages follow, which it has missed.
    ///
    /// # Panics
    ///
    /// Panics if the page asked for no position.
    #[track_caller]
    pub fn resumed(&self, missed: &[C::Message]) {
        let Some(after) = &self.after else {
            panic!("the page joined {:?} without a position", self.name);
        };
        self.history.move_to(after);
        self.answer(after.clone(), true, missed);
    }

    /// Answers the join of a page whose history is gone: it drops what it holds, and these messages of the new history follow.
    #[track_caller]
    pub fn joined_unrecovered(&self, latest: &[C::Message]) {
        self.history.restart();
        self.joined(latest);
    }

    /// A new message of another member. Returns its offset.
    #[track_caller]
    pub fn message(&self, message: &C::Message) -> u64 {
        self.store(Uuid::new_v4(), message).offset
    }

    /// The next command of the page, which sends to this channel: the id and the draft. `None` if it has sent no other.
    ///
    /// # Panics
    ///
    /// Panics if the next command is another one.
    #[track_caller]
    pub fn received(&self) -> Option<(Uuid, C::Sent)> {
        match self.socket.received()? {
            ChannelCommand::Send {
                id,
                channel,
                message,
            } if channel == self.name => Some((id.value(), message)),
            other => panic!(
                "the page was to send to {:?}; it {}",
                self.name,
                described::<C>(Some(&other))
            ),
        }
    }

    /// Stores what the page has sent: the members get the message, then the page its acknowledgement.
    #[track_caller]
    pub fn accept(&self, id: Uuid, message: &C::Message) {
        let ack = self.store(id, message);
        self.acknowledge(ack);
    }

    /// Stores what the page has sent, but the acknowledgement gets lost. Returns it for [`AcceptedChannel::acknowledge`].
    #[track_caller]
    pub fn store(&self, id: Uuid, message: &C::Message) -> Ack {
        let (offset, at) = (self.history.next().offset, self.now());
        let entry = Entry {
            offset,
            id: id.into(),
            at,
            message: message.clone(),
        };
        self.socket.event(&C::message(&self.name, &entry));
        let id = id.into();
        Ack { id, offset, at }
    }

    /// Acknowledges a message, perhaps again.
    #[track_caller]
    pub fn acknowledge(&self, ack: Ack) {
        self.socket
            .event(&<C as ChannelContract>::ack(&self.name, ack));
    }

    /// Refuses the message with this id.
    #[track_caller]
    pub fn refuse(&self, id: Uuid, error: SocketError) {
        let error = C::in_channel(error, &self.name);
        self.socket.refuse(error.about(id));
    }

    /// Refuses the join.
    #[track_caller]
    pub fn refuse_join(&self, error: SocketError) {
        self.socket.refuse(C::in_channel(error, &self.name));
    }

    #[track_caller]
    fn answer(&self, after: Position, recovered: bool, messages: &[C::Message]) {
        let replayed = messages.len() as u64;
        self.socket.event(&ChannelEvent::Joined {
            channel: self.name.clone(),
            joined: Joined {
                epoch: after.epoch,
                head: after.offset + replayed,
                recovered,
                replayed,
            },
            members: vec![],
        });
        for message in messages {
            self.message(message);
        }
    }

    fn now(&self) -> u64 {
        self.socket.world.now() as u64
    }
}

impl<C: PlainContract> AcceptedSocket<C> {
    /// Takes the page's next command, which joins this channel. The join has no answer yet.
    ///
    /// # Panics
    ///
    /// Panics if the next command is another one.
    #[track_caller]
    pub fn accept_join(&self, channel: &str) -> AcceptedChannel<'_, C> {
        AcceptedChannel::new(self, channel)
    }
}

fn described<C: PlainContract>(command: Option<&C::Command>) -> String {
    let json = command.and_then(|command| serde_json::to_string(command).ok());
    json.map_or("sent nothing".to_owned(), |json| format!("sent {json}"))
}
