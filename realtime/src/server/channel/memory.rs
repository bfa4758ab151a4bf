//! Channels that are kept in memory, for sockets that speak the kit's own messages: everything but the application's rules.
//!
//! A channel begins with its first member. Its history ends with the process, or when its place is needed for another one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::extract::ws::Message;
use tokio::{runtime::Handle, time::sleep_until};

use super::{
    Channel, ChannelState, Entered, MemoryLog, Presence, Seat, Start,
    joined::{ChannelHandler, JoinedChannels},
};
use crate::{
    channel::{ChannelCommand, ChannelEvent, Person, PlainContract, TOO_MANY_CHANNELS},
    message::{ErrorCode, SocketError},
    server::{OpenSocket, queue::OutQueue, socket::SocketHandler},
};

/// A person has left this long after closing the last socket, so that a reload is not a leave.
const LEAVE_AFTER: Duration = Duration::from_secs(5);
/// Most channels that are open at a time. Joining a name opens a channel, and no client may fill the memory with names.
const MOST_CHANNELS: usize = 10_000;
/// Longest name of a channel in bytes.
const NAME_BYTES: usize = 64;
/// Most members in `joined`, so that the answer always fits into a socket's queue.
const MEMBERS: usize = 2_000;

type MemoryChannel<C> =
    Channel<C, MemoryLog<<C as PlainContract>::Stored>, Presence<<C as PlainContract>::Member>>;

/// All channels of a socket of the contract `C`. Cheap to clone; all clones share their state.
pub struct MemoryChannels<C: PlainContract> {
    messages: usize,
    most: usize,
    accepts: fn(&str) -> bool,
    is_same_sender: fn(&C::Stored, &C::Stored) -> bool,
    /// A std mutex, held for map operations only. A channel's own lock may be taken while it is held, never the other way
    /// round.
    open: Arc<Mutex<HashMap<String, Arc<MemoryChannel<C>>>>>,
}

/// A person's socket among all channels.
pub struct Visitor<C: PlainContract> {
    channels: MemoryChannels<C>,
    person: C::Member,
}

/// The handler of one socket; see [`MemoryChannels::connect`].
pub struct MemorySocket<C: PlainContract, F> {
    joined: JoinedChannels<Visitor<C>>,
    compose: F,
}

impl<P: Person, M> ChannelState<M> for Presence<P> {}

impl<C: PlainContract> Clone for MemoryChannels<C> {
    fn clone(&self) -> Self {
        Self {
            open: self.open.clone(),
            ..*self
        }
    }
}

impl<C: PlainContract> MemoryChannels<C> {
    /// Channels that each hold the newest `messages`.
    pub fn new(messages: usize) -> Self {
        Self {
            messages,
            most: MOST_CHANNELS,
            accepts: |_| true,
            is_same_sender: |_, _| true,
            open: Arc::default(),
        }
    }

    /// Accepts only the names for which `accepts` is true. By default every name of 1 to 64 bytes is accepted.
    pub fn names(mut self, accepts: fn(&str) -> bool) -> Self {
        self.accepts = accepts;
        self
    }

    /// Refuses the id of a stored message, the first argument, unless the sent one has the same sender. By default an id that
    /// is stored already is always acknowledged again.
    pub fn senders(mut self, is_same_sender: fn(&C::Stored, &C::Stored) -> bool) -> Self {
        self.is_same_sender = is_same_sender;
        self
    }

    /// The handler for a person's socket. `compose` checks what the person sends, and makes the message that is stored.
    ///
    /// The rate is not limited here: where it has to be, `compose` does it.
    pub fn connect<F>(
        &self,
        socket: &OpenSocket<C>,
        person: C::Member,
        compose: F,
    ) -> MemorySocket<C, F>
    where
        F: FnMut(C::Sent) -> Result<C::Stored, SocketError> + Send,
    {
        let mut handler = self.handler(socket.queue().clone(), person, compose);
        if socket.has_expired() {
            handler.joined.expire();
        }
        handler
    }

    fn handler<F>(&self, queue: OutQueue, person: C::Member, compose: F) -> MemorySocket<C, F> {
        let channels = self.clone();
        MemorySocket {
            joined: JoinedChannels::new(Visitor { channels, person }, queue),
            compose,
        }
    }

    /// The channel of this name; opens it if it is not open. Beyond the limit, channels without members are closed.
    fn channel(&self, name: &str) -> Result<Arc<MemoryChannel<C>>, SocketError> {
        if name.is_empty() || name.len() > NAME_BYTES || !(self.accepts)(name) {
            let sentence = "No channel can have this name.";
            return Err(SocketError::new(ErrorCode::InvalidField, sentence));
        }
        // A poisoned lock is used all the same: a panic leaves the map intact.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(name) {
            return Ok(channel.clone());
        }
        if open.len() >= self.most {
            open.retain(|_, channel| !channel.close_if(Presence::is_empty));
        }
        if open.len() >= self.most {
            let sentence = "The server holds as many channels as it may. Use one that is open.";
            return Err(SocketError::new(TOO_MANY_CHANNELS, sentence));
        }
        let log = MemoryLog::with_senders(self.messages, self.is_same_sender);
        let channel = Channel::after(name, log, Presence::new(LEAVE_AFTER), 0);
        // It ends with the channel.
        tokio::spawn(channel.follow());
        open.insert(name.to_owned(), channel.clone());
        Ok(channel)
    }
}

impl<C: PlainContract> ChannelHandler for Visitor<C> {
    type Contract = C;
    type Log = MemoryLog<C::Stored>;
    type State = Presence<C::Member>;

    async fn open(&self, name: &str) -> Result<Arc<MemoryChannel<C>>, SocketError> {
        self.channels.channel(name)
    }

    async fn enter(
        &self,
        channel: &Arc<MemoryChannel<C>>,
        seat: Seat<'_>,
        start: &Start,
    ) -> Result<Entered, SocketError> {
        let name = channel.name();
        Ok(channel.enter(seat, start, |presence, members, joined| {
            if seat.first_time && presence.enter(&self.person) {
                members.broadcast(&member_joined::<C>(name, self.person.clone()));
            }
            let members = presence.persons().take(MEMBERS).cloned().collect();
            vec![ChannelEvent::Joined {
                channel: name.to_owned(),
                joined,
                members,
            }]
        }))
    }

    fn leave(&self, channel: &Arc<MemoryChannel<C>>, socket: u64) {
        channel.leave(socket);
        let id = self.person.id();
        let ticket = channel.change(|presence, _| presence.leave(&id, Instant::now()));
        // Without a runtime the process ends, and nobody is left to be told.
        let (Some(ticket), Ok(runtime)) = (ticket, Handle::try_current()) else {
            return;
        };
        let channel = channel.clone();
        runtime.spawn(async move {
            sleep_until(ticket.due().into()).await;
            channel.change(|presence, members| {
                if let Some(person) = presence.leave_for_good(&ticket, ticket.due()) {
                    members.broadcast(&member_left::<C>(channel.name(), person));
                }
            });
        });
    }
}

fn member_joined<C: PlainContract>(channel: &str, member: C::Member) -> C::Event {
    let channel = channel.to_owned();
    ChannelEvent::MemberJoined { channel, member }
}

fn member_left<C: PlainContract>(channel: &str, member: C::Member) -> C::Event {
    let channel = channel.to_owned();
    ChannelEvent::MemberLeft { channel, member }
}

impl<C, F> SocketHandler for MemorySocket<C, F>
where
    C: PlainContract,
    F: FnMut(C::Sent) -> Result<C::Stored, SocketError> + Send,
{
    type Contract = C;

    fn is_repeatable(message: &Message) -> bool {
        const MESSAGE: &str = r#"{"type":"message""#;
        matches!(message, Message::Text(text) if text.starts_with(MESSAGE))
    }

    async fn command(&mut self, command: ChannelCommand<C::Sent>) -> Result<(), SocketError> {
        match command {
            ChannelCommand::Join { channel, after } => self.joined.join(&channel, after).await,
            ChannelCommand::Leave { channel } => {
                self.joined.channel(&channel)?;
                self.joined.leave(&channel);
                Ok(())
            }
            ChannelCommand::Send {
                id,
                channel,
                message,
            } => {
                let compose = || (self.compose)(message);
                self.joined.send(&channel, &id, compose).await
            }
        }
    }

    fn has_backlog(&self) -> bool {
        self.joined.has_backlog()
    }

    async fn fill(&mut self) {
        self.joined.fill().await;
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
