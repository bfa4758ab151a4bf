//! The channels of one socket as the browser sees them: which are joined, where each of them stands, and what is to be joined
//! now. Pure: events and the time go in, commands come out.
//!
//! The messages themselves are the page's. It asks [`ChannelList::apply`] about each event, and keeps what is new.

use std::marker::PhantomData;

use uuid::Uuid;

use super::outbox::LONGEST_WAIT_MS;
use crate::{
    channel::{ChannelContract, Joined, Meaning, NOT_JOINED},
    message::SocketError,
    position::{Epoch, Position},
};

/// Most joins under way at once: each may be answered with many messages, and all joins count against the rate.
const JOINS: usize = 8;
/// The wait after a refusal that sets none, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// All channels of one socket.
pub struct ChannelList<C> {
    channels: Vec<State>,
    contract: PhantomData<fn() -> C>,
}

#[derive(Clone, Debug, Default)]
struct State {
    name: String,
    entry: Entry,
    /// The history that the channel is at; `None` before it was joined.
    epoch: Option<Epoch>,
    /// The offset of the last message received, or of the head if none follows. `None` while nothing is held.
    upto: Option<u64>,
    /// What the answer to the join announced and has not arrived yet.
    backlog: Backlog,
    /// A gap was found on this connection, and the channel was joined again. Another gap does not make it join once more,
    /// otherwise a faulty server would make it join for ever.
    repaired: bool,
}

/// Whether a channel is joined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Entry {
    /// It is to be joined.
    #[default]
    Outside,
    /// The join is under way.
    Asked,
    /// The join was refused for now, and is sent again at this time (Unix milliseconds).
    Waiting(f64),
    /// The join was refused for good: it is sent again on the next connection.
    Denied,
    /// It is joined.
    Inside,
}

/// The messages that follow the answer to a join.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    head: u64,
    missing: u64,
}

/// What an event means for the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The event belongs to a channel that is not in the list or not joined, or to none. A message among these is not for the
    /// page; another event may be.
    Elsewhere,
    /// The channel is joined: the outbox may send to it. If it was not `recovered`, everything that the page holds of it is to
    /// be dropped.
    Joined {
        /// Whether everything after the position follows.
        recovered: bool,
    },
    /// The next message.
    New,
    /// A message that the page holds already: it is to be dropped.
    Duplicate,
    /// Messages before this one did not arrive, which is a fault of the server.
    Gap {
        /// The offset up to which every message arrived, as far as it is known.
        after: u64,
        /// The offset of this message.
        offset: u64,
        /// The channel is joined again, and this message comes again. The outbox does not send to it until then. If false,
        /// joining again did not help: this message is new.
        rejoins: bool,
    },
    /// A message of this client is stored: the outbox no longer has to keep it.
    Acknowledged {
        /// The id by which the outbox knows the message.
        id: Uuid,
        /// The offset of the message.
        offset: u64,
    },
    /// Another event of a joined channel.
    Other,
}

impl<C> Clone for ChannelList<C> {
    fn clone(&self) -> Self {
        Self {
            channels: self.channels.clone(),
            contract: PhantomData,
        }
    }
}

impl<C> Default for ChannelList<C> {
    fn default() -> Self {
        Self {
            channels: vec![],
            contract: PhantomData,
        }
    }
}

impl<C: ChannelContract> ChannelList<C> {
    /// Adds a channel, unless it is there already. `position` is that of what the page holds, as the server rendered it.
    pub fn add(&mut self, name: &str, position: Option<Position>) {
        if self.find(name).is_none() {
            let (epoch, upto) = position.map(|at| (at.epoch, at.offset)).unzip();
            self.channels.push(State {
                name: name.to_owned(),
                epoch,
                upto,
                ..State::default()
            });
        }
    }

    /// Removes a channel; returns the command for the server.
    pub fn remove(&mut self, name: &str) -> Option<C::Command> {
        let place = self.channels.iter().position(|state| state.name == name)?;
        self.channels.remove(place);
        Some(C::leave(name))
    }

    /// The names of the channels, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|state| &*state.name)
    }

    /// Whether a channel is joined; `None` if it is not in the list.
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.find(name).map(|state| state.entry)
    }

    /// Whether the outbox may send to a channel: its ordering key is ready.
    pub fn is_ready(&self, name: &str) -> bool {
        self.entry(name) == Some(Entry::Inside)
    }

    /// The position to resume a channel from.
    pub fn position(&self, name: &str) -> Option<Position> {
        self.find(name)?.position()
    }

    /// The connection is lost, or a new one is open: nothing is joined on it. Positions are kept.
    pub fn lost(&mut self) {
        for state in &mut self.channels {
            state.entry = Entry::Outside;
            state.repaired = false;
        }
    }

    /// The joins to send now, the one of `first` before all others.
    pub fn joins_due(&mut self, first: &str, now: f64) -> Vec<C::Command> {
        let asked = self.count(|state| state.entry == Entry::Asked);
        let mut due: Vec<_> = self
            .channels
            .iter_mut()
            .filter(|state| state.is_due(now))
            .collect();
        due.sort_by_key(|state| state.name != first);
        let due = due.into_iter().take(JOINS.saturating_sub(asked));
        due.map(|state| {
            state.entry = Entry::Asked;
            C::join(&state.name, state.position())
        })
        .collect()
    }

    /// When to call [`ChannelList::joins_due`] again if nothing else happens before (Unix milliseconds).
    pub fn due_at(&self) -> Option<f64> {
        let waiting = self.channels.iter().filter_map(|state| match state.entry {
            Entry::Waiting(until) => Some(until),
            _ => None,
        });
        waiting.min_by(f64::total_cmp)
    }

    /// Applies an event.
    pub fn apply(&mut self, event: &C::Event) -> Applied {
        let Some((name, meaning)) = C::meaning(event) else {
            return Applied::Elsewhere;
        };
        // Whether the page shows the channel or not: the outbox has kept the message.
        if let Meaning::Ack { id, offset } = meaning {
            return Applied::Acknowledged { id, offset };
        }
        let found = self.channels.iter_mut().find(|state| state.name == name);
        let Some(state) = found else {
            return Applied::Elsewhere;
        };
        match meaning {
            Meaning::Joined(joined) => state.joined(joined),
            // What was in flight when the channel was left, or is on its way when it is joined again, comes again.
            _ if state.entry != Entry::Inside => Applied::Elsewhere,
            Meaning::Message { offset } => state.message(offset, C::CONSECUTIVE),
            Meaning::Ack { .. } | Meaning::Other => Applied::Other,
        }
    }

    /// A command was refused at `now` (Unix milliseconds). Returns the time at which a command of this channel may be sent
    /// again; the list sends a join again by itself. `None` if the refusal is final, or of no channel in the list.
    pub fn refused(&mut self, error: &SocketError, now: f64) -> Option<f64> {
        let name = C::channel_of(error)?;
        let state = self.channels.iter_mut().find(|state| state.name == name)?;
        let wait = error.retry_after_ms.unwrap_or(RETRY_AFTER_MS) as f64;
        let until = now + wait.clamp(1.0, LONGEST_WAIT_MS);
        // Not joined after all: perhaps the server has forgotten this socket.
        let is_outside = error.code == NOT_JOINED;
        let may_be_retried = is_outside || error.code.may_be_retried();
        // An error with an id is about a message, and not about the join.
        let is_of_join = state.entry == Entry::Asked && error.re.is_none();
        if is_outside || (is_of_join && may_be_retried) {
            state.entry = Entry::Waiting(until);
        } else if is_of_join {
            state.entry = Entry::Denied;
        }
        may_be_retried.then_some(until)
    }

    fn find(&self, name: &str) -> Option<&State> {
        self.channels.iter().find(|state| state.name == name)
    }

    fn count(&self, which: impl Fn(&State) -> bool) -> usize {
        self.channels.iter().filter(|state| which(state)).count()
    }
}

impl State {
    fn position(&self) -> Option<Position> {
        Some(Position::new(self.epoch.clone()?, self.upto?))
    }

    /// Whether the join is to be sent at `now`. If the remaining time exceeds the longest wait, the clock was set back
    /// meanwhile, and the time is ignored.
    fn is_due(&self, now: f64) -> bool {
        match self.entry {
            Entry::Outside => true,
            Entry::Waiting(until) => until <= now || until - now > LONGEST_WAIT_MS,
            Entry::Asked | Entry::Denied | Entry::Inside => false,
        }
    }

    fn joined(&mut self, joined: Joined) -> Applied {
        let Joined {
            epoch,
            head,
            recovered,
            replayed: missing,
        } = joined;
        self.entry = Entry::Inside;
        self.backlog = Backlog { head, missing };
        if !recovered {
            self.epoch = Some(epoch);
            // Messages that were only announced are not held yet: a connection that is lost before the first of them joins
            // without a position.
            self.upto = (missing == 0).then_some(head);
        }
        Applied::Joined { recovered }
    }

    fn message(&mut self, offset: u64, is_consecutive: bool) -> Applied {
        if self.upto.is_some_and(|upto| offset <= upto) {
            return Applied::Duplicate;
        }
        let Backlog { head, missing } = self.backlog;
        let missing = missing.saturating_sub(u64::from(offset <= head));
        let skips = is_consecutive && self.upto.is_some_and(|upto| offset > upto + 1);
        let lacks = offset >= head && missing > 0;
        let (after, rejoins) = (self.upto.unwrap_or(0), !self.repaired);
        let gap = Applied::Gap {
            after,
            offset,
            rejoins,
        };
        if (skips || lacks) && rejoins {
            self.repaired = true;
            self.entry = Entry::Outside;
            if !skips {
                // It is not known where the missing messages belong, so everything is requested anew.
                self.upto = None;
            }
            return gap;
        }
        self.upto = Some(offset);
        self.backlog.missing = if lacks { 0 } else { missing };
        match skips || lacks {
            true => gap,
            false => Applied::New,
        }
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
