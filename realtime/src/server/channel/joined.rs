//! The channels of one socket: joins, catches up, leaves, and keeps the order of what the socket sends.
//!
//! A [`SocketHandler`](crate::server::socket::SocketHandler) owns a [`JoinedChannels`] and delegates to it. Each command is
//! completed before the next one is read. So a writer's messages are stored in the order in which they were sent: none is
//! stored while the outcome of the previous one is open, and after a refusal that may be retried no later message overtakes
//! the refused one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{Channel, ChannelState, Entered, Log, LogError, Seat, Start};
use crate::{
    channel::{Ack, ChannelContract, NOT_JOINED, TOO_MANY_CHANNELS},
    close::CloseCode,
    id::SpelledId,
    message::SocketError,
    position::Position,
    server::queue::OutQueue,
};

/// How long a large answer waits for space in the socket's queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// The channel type of a handler.
pub type ChannelOf<H> = Channel<
    <H as ChannelHandler>::Contract,
    <H as ChannelHandler>::Log,
    <H as ChannelHandler>::State,
>;

/// A feature's handling of the channels of one socket.
pub trait ChannelHandler: Send {
    /// The contract of the socket.
    type Contract: ChannelContract;
    /// The log of a channel.
    type Log: Log<Message = <Self::Contract as ChannelContract>::Message>;
    /// What a channel keeps beside its members.
    type State: ChannelState<<Self::Contract as ChannelContract>::Message>;

    /// Most channels that one socket may be in.
    const MOST_CHANNELS: usize = 128;
    /// How many of the latest messages a newcomer gets, and a member that cannot be resumed.
    const LATEST: usize = 50;

    /// The channel of this name; opens it if it is not open.
    fn open(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Arc<ChannelOf<Self>>, SocketError>> + Send;

    /// Lets the socket enter a channel: reads what the answer needs, then calls [`Channel::enter`] and returns its result.
    fn enter(
        &self,
        channel: &Arc<ChannelOf<Self>>,
        seat: Seat<'_>,
        start: &Start,
    ) -> impl Future<Output = Result<Entered, SocketError>> + Send;

    /// Lets the socket leave a channel. By default it is removed, and nobody is told.
    fn leave(&self, channel: &Arc<ChannelOf<Self>>, socket: u64) {
        channel.leave(socket);
    }

    /// The error of a join beyond [`ChannelHandler::MOST_CHANNELS`].
    fn too_many() -> SocketError {
        let most = Self::MOST_CHANNELS;
        let message = format!("At most {most} channels a socket. Leave one first.");
        SocketError::new(TOO_MANY_CHANNELS, message)
    }
}

/// The channels that one socket has joined. It leaves them when it is dropped.
pub struct JoinedChannels<H: ChannelHandler> {
    handler: H,
    socket: u64,
    queue: OutQueue,
    joined: HashMap<String, Arc<ChannelOf<H>>>,
    /// Channels whose messages are still to be read from the log; they take turns.
    behind: VecDeque<String>,
    /// Channels in which a message was refused that may be taken later, with its id and error. Until the client sends that
    /// id again, later messages are refused too, so that the writer's order holds.
    refused: HashMap<String, (SpelledId, SocketError)>,
    /// Set by a fault that declares the history lost: the first join of each channel is then not recovered. Holds the
    /// channels that were answered so already.
    expired: Option<HashSet<String>>,
}

impl<H: ChannelHandler> JoinedChannels<H> {
    /// A socket with this queue, in no channel.
    pub fn new(handler: H, queue: OutQueue) -> Self {
        Self {
            handler,
            socket: rand::random(),
            queue,
            joined: HashMap::new(),
            behind: VecDeque::new(),
            refused: HashMap::new(),
            expired: None,
        }
    }

    /// Treats the history of this socket's client as lost, once for each channel: a join is not recovered, whatever its
    /// position. For a fault; see [`Connection::has_expired`](crate::server::Connection::has_expired).
    pub fn expire(&mut self) {
        self.expired = Some(HashSet::new());
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// A channel that this socket has joined, or the error for a command that needs it.
    pub fn channel(&self, name: &str) -> Result<&Arc<ChannelOf<H>>, SocketError> {
        self.joined
            .get(name)
            .ok_or_else(|| SocketError::new(NOT_JOINED, format!("Join \"{name}\" first.")))
            .map_err(|error| Self::about(error, name))
    }

    /// Whether this socket has joined a channel.
    pub fn contains(&self, name: &str) -> bool {
        self.joined.contains_key(name)
    }

    /// Joins a channel at the position of the last message received, or joins it again.
    pub async fn join(&mut self, name: &str, after: Option<Position>) -> Result<(), SocketError> {
        let joined = self.enter(name, after).await;
        joined.map_err(|error| Self::about(error, name))
    }

    async fn enter(&mut self, name: &str, after: Option<Position>) -> Result<(), SocketError> {
        self.queue_has_room().await;
        let first_time = !self.contains(name);
        if first_time && self.joined.len() >= H::MOST_CHANNELS {
            return Err(H::too_many());
        }
        let lost = |answered: &mut HashSet<String>| answered.insert(name.to_owned());
        let after = after.filter(|_| !self.expired.as_mut().is_some_and(lost));
        loop {
            let channel = self.handler.open(name).await?;
            let start = channel.start(after.as_ref(), H::LATEST).await?;
            let seat = Seat {
                socket: self.socket,
                queue: &self.queue,
                first_time,
            };
            let entered = self.handler.enter(&channel, seat, &start).await?;
            // The channel was empty and was closed before this socket entered it. Open it again.
            if entered == Entered::Closed {
                continue;
            }
            self.behind.retain(|behind| behind != name);
            if entered == Entered::Behind {
                self.behind.push_back(name.to_owned());
            }
            self.joined.insert(name.to_owned(), channel);
            return Ok(());
        }
    }

    /// Leaves a channel, if it was joined.
    pub fn leave(&mut self, name: &str) {
        if let Some(channel) = self.joined.remove(name) {
            self.behind.retain(|behind| behind != name);
            self.refused.remove(name);
            self.handler.leave(&channel, self.socket);
        }
    }

    /// Stores a message and acknowledges it, unless an earlier one has to be sent first. `compose` checks what was sent and
    /// makes the stored message.
    pub async fn send(
        &mut self,
        name: &str,
        id: &SpelledId,
        compose: impl FnOnce() -> Result<<H::Contract as ChannelContract>::Message, SocketError>,
    ) -> Result<(), SocketError> {
        let sent = self.append(name, id, compose).await;
        sent.map_err(|error| self.refuse(name, id, error))
    }

    async fn append(
        &mut self,
        name: &str,
        id: &SpelledId,
        compose: impl FnOnce() -> Result<<H::Contract as ChannelContract>::Message, SocketError>,
    ) -> Result<(), SocketError> {
        let channel = self.channel(name)?.clone();
        if let Some((first, error)) = self.refused.get(name) {
            if first != id {
                return Err(error.clone());
            }
            self.refused.remove(name);
        }
        let appended = channel.send(id.clone(), compose()?).await?;
        let ack = Ack {
            id: id.clone(),
            offset: appended.offset,
            at: appended.at,
        };
        self.queue.push_json(&H::Contract::ack(name, ack));
        Ok(())
    }

    /// The refusal of a message. If it may be taken later, it has to be sent again before any other of its channel, and the
    /// error for another one says so. [`JoinedChannels::send`] does this itself: call it for what the application refuses
    /// before, such as a message beyond the rate.
    pub fn refuse(&mut self, name: &str, id: &SpelledId, mut error: SocketError) -> SocketError {
        // In a channel that is not joined nothing is stored, so nothing can be overtaken.
        if error.code.may_be_retried() && self.contains(name) {
            let refused = self.refused.entry(name.to_owned());
            let (first, _) = refused.or_insert_with(|| (id.clone(), error.clone()));
            if first != id {
                error.message = format!(
                    "Message {first} was refused before this one. Send it again first, then this one."
                );
            }
        }
        Self::about(error, name).about(id)
    }

    /// Waits until earlier large answers have been sent, so that a client that joins many channels or reads much history
    /// over a slow connection gets all of them. A client that does not read at all overruns its queue in the end and is
    /// closed as too slow.
    pub async fn queue_has_room(&self) {
        let _ = timeout(QUEUE_TIMEOUT, self.queue.has_room()).await;
    }

    /// Whether messages are to be read from a log: the handler's
    /// [`has_backlog`](crate::server::socket::SocketHandler::has_backlog).
    pub fn has_backlog(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Queues the next messages of the channel whose turn it is: the handler's
    /// [`fill`](crate::server::socket::SocketHandler::fill).
    pub async fn fill(&mut self) {
        let Some(name) = self.behind.pop_front() else {
            return;
        };
        let Some(channel) = self.joined.get(&name).cloned() else {
            return;
        };
        let failed = match channel.catch_up(self.socket).await {
            Ok(false) => return,
            Ok(true) => {
                self.behind.push_back(name);
                return;
            }
            // The next messages have been dropped meanwhile. Start without a position; the answer says so (`recovered:
            // false`).
            Err(LogError::Truncated { .. }) => self.enter(&name, None).await.is_err(),
            Err(_) => true,
        };
        if failed {
            // The client reconnects and resumes from its position.
            let reason = "the messages cannot be read at the moment";
            self.queue.close(CloseCode::TooSlow, reason);
        }
    }

    fn about(error: SocketError, name: &str) -> SocketError {
        H::Contract::in_channel(error, name)
    }
}

impl<H: ChannelHandler> Drop for JoinedChannels<H> {
    fn drop(&mut self) {
        for (_, channel) in self.joined.drain() {
            self.handler.leave(&channel, self.socket);
        }
    }
}

#[cfg(test)]
#[path = "joined_tests.rs"]
mod tests;
