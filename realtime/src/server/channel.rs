//! A channel: a log and the sockets that joined it. Delivers every stored message to all of them, in the order of the log.
//!
//! One task follows the log and queues every message for all live members: those that have everything before it. A member
//! that is behind reads pages from the log until nothing is missing. Both happen under the channel's lock, and each member's
//! position is kept, so that between the two nothing is lost and nothing is sent twice.
//!
//! Reading order: [`log`], this file, `channel/follow.rs`, [`joined`]. [`presence`] says who is in a channel, [`memory_log`]
//! keeps one in memory, and [`memory`] is all of it together for an application that needs nothing else.

mod follow;
pub mod joined;
pub mod log;
pub mod memory;
pub mod memory_log;
pub mod presence;

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::watch, time::timeout};

pub use self::log::{Appended, Follow, Head, Log, LogError, Start};
pub use self::memory_log::MemoryLog;
pub use self::presence::{Presence, Ticket};
use super::{
    fan_out::FanOut,
    queue::{OutQueue, encode},
};
use crate::{
    channel::{ChannelContract, Entry, Joined},
    close::CloseCode,
    id::SpelledId,
    position::Position,
};

/// Most messages read from the log at once.
pub const PAGE: usize = 100;
/// How long an acknowledgement waits for the delivery of its message, which usually happens at once. If the log cannot be
/// followed, the sender is acknowledged after this time all the same, because the message is stored.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(1);

/// What an application keeps of a channel beside its members, under the same lock. `()` for nothing.
pub trait ChannelState<M>: Send + 'static {
    /// A message is about to be queued for the live members.
    fn delivered(&mut self, _entry: &Entry<M>) {}
}

impl<M> ChannelState<M> for () {}

/// A channel of the contract `C` with its log `L` and a state `S` of the application.
pub struct Channel<C: ChannelContract, L, S = ()> {
    name: String,
    log: L,
    /// A std mutex: it is held for pushes into queues and never across an await.
    guarded: Mutex<Guarded<S>>,
    /// The newest offset that was queued for all live members; a sender waits for the offset of its message.
    delivered: watch::Sender<u64>,
    /// Dropped with the channel, which ends the task that follows the log.
    alive: watch::Sender<()>,
    contract: PhantomData<fn() -> C>,
}

struct Guarded<S> {
    members: Members,
    state: S,
    /// The channel was empty and is closed for good; the next socket opens it again.
    closed: bool,
}

/// The sockets in a channel.
#[derive(Default)]
pub struct Members(HashMap<u64, Member>);

struct Member {
    queue: OutQueue,
    /// The offset of the newest message in its queue.
    after: u64,
    /// It has everything that was delivered. Until then it reads pages from the log and gets no new messages.
    live: bool,
}

/// A socket that joins a channel.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// Identifies the socket within the process.
    pub socket: u64,
    /// Its queue.
    pub queue: &'a OutQueue,
    /// It is not in the channel yet.
    pub first_time: bool,
}

/// The result of [`Channel::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// The socket has everything; new messages follow.
    Live,
    /// Messages are to be read from the log: [`Channel::catch_up`].
    Behind,
    /// The channel was closed meanwhile: open it again.
    Closed,
}

impl Members {
    /// Encodes an event once and queues it for all sockets, also for those that are behind.
    pub fn broadcast(&self, event: &impl Serialize) {
        let message = encode(event);
        let queues = self.0.values().map(|member| &member.queue);
        queues.for_each(|queue| queue.push(message.clone()));
    }

    /// How many sockets are in the channel.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no socket is in the channel.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<C, L, S> Channel<C, L, S>
where
    C: ChannelContract,
    L: Log<Message = C::Message>,
    S: ChannelState<C::Message>,
{
    /// Opens the channel of a log. Its members get new messages once [`Channel::follow`] runs.
    pub async fn open(name: &str, log: L, state: S) -> Result<Arc<Self>, LogError> {
        let head = log.head().await?.head;
        Ok(Self::after(name, log, state, head))
    }

    /// Like [`Channel::open`], for a log whose newest message has this offset; 0 if it is empty.
    pub fn after(name: &str, log: L, state: S, head: u64) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            log,
            guarded: Mutex::new(Guarded {
                members: Members::default(),
                state,
                closed: false,
            }),
            delivered: watch::Sender::new(head),
            alive: watch::Sender::new(()),
            contract: PhantomData,
        })
    }

    /// The name of the channel.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The log of the channel.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The offset of the newest message that was queued for all live members.
    pub fn delivered(&self) -> u64 {
        *self.delivered.borrow()
    }

    /// Where a member at position `after` begins; see [`Start::of`].
    pub async fn start(&self, after: Option<&Position>, latest: usize) -> Result<Start, LogError> {
        Start::of(&self.log, after, latest).await
    }

    /// Adds a socket to the channel, or begins anew with one that is there.
    ///
    /// `admit` makes the events that answer the join, of which the first is the one that says [`Joined`]. They are queued
    /// before any message. It also tells the other members, if there is news. It runs while the channel is locked, so it
    /// must be quick and must not use this channel.
    pub fn enter(
        &self,
        seat: Seat<'_>,
        start: &Start,
        admit: impl FnOnce(&mut S, &Members, Joined) -> Vec<C::Event>,
    ) -> Entered {
        let mut guarded = self.guarded();
        if guarded.closed {
            return Entered::Closed;
        }
        let Guarded { members, state, .. } = &mut *guarded;
        let answer = admit(state, members, start.joined.clone());
        answer.iter().for_each(|event| seat.queue.push_json(event));
        let live = start.after >= self.delivered();
        let member = Member {
            queue: seat.queue.clone(),
            after: start.after,
            live,
        };
        members.0.insert(seat.socket, member);
        match live {
            true => Entered::Live,
            false => Entered::Behind,
        }
    }

    /// Queues the next messages for a socket that is behind. Returns whether it still is.
    ///
    /// [`LogError::Truncated`] if the log no longer holds them: let the socket enter anew, without a position.
    pub async fn catch_up(&self, socket: u64) -> Result<bool, LogError> {
        let position = |members: &Members| members.0.get(&socket).map(|member| member.after);
        let Some(after) = position(&self.guarded().members) else {
            return Ok(false);
        };
        let page = self.log.read(after, PAGE).await?;
        let mut guarded = self.guarded();
        let delivered = self.delivered();
        let Some(member) = guarded.members.0.get_mut(&socket) else {
            return Ok(false);
        };
        for entry in page {
            if member.queue.is_half_full() {
                return Ok(true);
            }
            member.after = entry.offset;
            member.queue.push_json(&C::message(&self.name, &entry));
        }
        // Messages that were delivered while the page was read were not queued for this socket.
        member.live = member.after >= delivered;
        Ok(!member.live)
    }

    /// Removes a socket.
    pub fn leave(&self, socket: u64) {
        self.guarded().members.0.remove(&socket);
    }

    /// Stores a message, once for each id. Returns when it is stored and queued for every live member; a second after it was
    /// stored in any case, because the log may be unreadable meanwhile.
    pub async fn send(&self, id: SpelledId, message: C::Message) -> Result<Appended, LogError> {
        let mut delivered = self.delivered.subscribe();
        let appended = self.log.append(id, message).await?;
        let is_delivered = delivered.wait_for(|delivered| *delivered >= appended.offset);
        let _ = timeout(DELIVERY_TIMEOUT, is_delivered).await;
        Ok(appended)
    }

    /// Changes or reads the state, and tells the members. `change` runs while the channel is locked, so it must be quick and
    /// must not use this channel.
    pub fn change<R>(&self, change: impl FnOnce(&mut S, &Members) -> R) -> R {
        let Guarded { members, state, .. } = &mut *self.guarded();
        change(state, members)
    }

    /// Closes the channel for good if it has no members and `is_idle` says that nothing is lost with its state. Returns
    /// whether it did. Who opens it again opens a new one.
    pub fn close_if(&self, is_idle: impl FnOnce(&S) -> bool) -> bool {
        let mut guarded = self.guarded();
        guarded.closed |= guarded.members.is_empty() && is_idle(&guarded.state);
        guarded.closed
    }

    /// Queues messages of the log for all live members, in the order of the log. Returns the queues that are to be written.
    fn deliver(&self, entries: &[Entry<C::Message>]) -> FanOut<OutQueue> {
        let mut queues = FanOut::default();
        let Some(last) = entries.last() else {
            return queues;
        };
        // Encoded once for all, and before the lock is taken.
        let messages: Vec<_> = entries
            .iter()
            .map(|entry| encode(&C::message(&self.name, entry)))
            .collect();
        let mut guarded = self.guarded();
        let Guarded { members, state, .. } = &mut *guarded;
        entries.iter().for_each(|entry| state.delivered(entry));
        for member in members.0.values_mut().filter(|member| member.live) {
            // A member that read messages from the log has them already.
            let held = entries.partition_point(|entry| entry.offset <= member.after);
            if held < entries.len() {
                queues.add(member.queue.clone());
            }
            for (entry, message) in entries.iter().zip(&messages).skip(held) {
                member.after = entry.offset;
                member.queue.push_unnoticed(message.clone());
            }
        }
        self.delivered.send_replace(last.offset);
        queues
    }

    /// Messages up to `floor` were dropped before they were delivered. A member that lacks them is closed; it reconnects and
    /// gets `recovered: false`. No member skips messages silently.
    fn skip_to(&self, floor: u64) {
        let guarded = self.guarded();
        for member in guarded.members.0.values() {
            if member.live && member.after < floor {
                let reason = "what was missed is no longer held";
                member.queue.close(CloseCode::TooSlow, reason);
            }
        }
        self.delivered.send_replace(floor);
    }

    /// A panic while the lock was held has at worst skipped a live delivery; the task that follows the log repeats it.
    fn guarded(&self) -> MutexGuard<'_, Guarded<S>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "channel/channel_tests.rs"]
mod tests;
