//! The browser's state of all its rooms. Pure: events and the time go in, commands come out.

pub mod links;
mod room;
pub mod transcript;

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

pub use self::room::{Acknowledged, RoomState, Sought};
use self::{room::Entry, transcript::Transcript};
use crate::chat::{
    ROOMS, is_room_name,
    message::{ChatCommand, ChatEvent, ChatSocket, FirstMessages},
};
use realtime::{
    channel::{ChannelContract, NOT_JOINED},
    message::SocketError,
};

/// A user is shown as typing for this long after each `typing` event, in milliseconds.
pub const TYPING_MS: f64 = 5_000.0;
/// Most joins under way at once: each may be answered with fifty messages, and all joins count against the rate.
const JOINS: usize = 8;

/// All rooms of one socket.
#[derive(Clone, Debug, Default)]
pub struct ChatState {
    /// This user's id, as sent by the server.
    me: Option<Uuid>,
    rooms: Vec<RoomState>,
}

impl ChatState {
    /// The permanent rooms, and the visited room as the server rendered it.
    pub fn new(me: Option<Uuid>, visited: &str, first: Option<FirstMessages>) -> Self {
        let mut state = Self { me, rooms: vec![] };
        ROOMS.into_iter().for_each(|room| state.enter(room));
        state.enter(visited);
        if let (Some(room), Some(first)) = (state.room_mut(visited), first) {
            room.members = first.members.clone();
            room.log = Transcript::rendered(first);
        }
        state
    }

    pub fn rooms(&self) -> &[RoomState] {
        &self.rooms
    }

    pub fn room(&self, name: &str) -> Option<&RoomState> {
        self.rooms.iter().find(|room| room.name == name)
    }

    pub fn room_mut(&mut self, name: &str) -> Option<&mut RoomState> {
        self.rooms.iter_mut().find(|room| room.name == name)
    }

    /// Adds a room to the list, unless it is listed already or the name is invalid.
    pub fn enter(&mut self, name: &str) {
        if is_room_name(name) && self.room(name).is_none() {
            self.rooms.push(RoomState::new(name));
        }
    }

    /// Removes a room from the list; returns the command for the server.
    pub fn leave(&mut self, name: &str) -> ChatCommand {
        self.rooms.retain(|room| room.name != name);
        ChatCommand::Leave {
            room: name.to_owned(),
        }
    }

    /// A connection is open, and its user is `me`. Nothing has been requested on it yet.
    pub fn connected(&mut self, me: Uuid) {
        self.me = Some(me);
        for room in &mut self.rooms {
            room.entry = Entry::Outside;
            room.history_asked = None;
        }
    }

    /// The joins to send now, `first` before all others.
    pub fn joins_due(&mut self, first: &str) -> Vec<ChatCommand> {
        let asked = self
            .rooms
            .iter()
            .filter(|room| room.entry == Entry::Asked)
            .count();
        let mut outside: Vec<_> = self
            .rooms
            .iter_mut()
            .filter(|room| room.entry == Entry::Outside)
            .collect();
        outside.sort_by_key(|room| room.name != first);
        let due = outside.into_iter().take(JOINS.saturating_sub(asked));
        due.map(|room| {
            room.entry = Entry::Asked;
            ChatCommand::Join {
                room: room.name.clone(),
                after: room.log.position(),
            }
        })
        .collect()
    }

    /// Applies an event that was received at `now` (Unix milliseconds). Events of a room that was left are ignored.
    pub fn apply(&mut self, event: ChatEvent, now: f64) {
        let me = self.me;
        let Some(room) = self.room_mut(event.room()) else {
            return;
        };
        match event {
            ChatEvent::Joined(joined) => room.joined(joined, me),
            ChatEvent::Message { message, .. } => room.message(Arc::new(message), me),
            ChatEvent::Ack { .. } => {}
            ChatEvent::UserJoined { user, .. } => {
                room.members.retain(|member| member.id != user.id);
                room.members.push(user);
            }
            ChatEvent::UserLeft { user_id, .. } => {
                room.members.retain(|member| member.id != user_id);
                room.typing.remove(&user_id);
            }
            ChatEvent::Typing { user_id, .. } if Some(user_id) != me => {
                room.typing.insert(user_id, now + TYPING_MS);
            }
            ChatEvent::Typing { .. } => {}
            ChatEvent::Read {
                user_id, offset, ..
            } => room.read(user_id, offset, me),
            ChatEvent::History { messages, more, .. } => {
                // The first message may be a different one by now: the page would leave a gap before it.
                let fits = room.history_asked.take() == room.log.first_offset();
                if fits && room.log.prepend(messages, more) {
                    room.log.show_older();
                }
            }
        }
    }

    /// A command that is not kept in the outbox was refused. Returns whether to retry it after a wait, with
    /// [`ChatState::retry`].
    pub fn refused(&mut self, error: &SocketError) -> bool {
        let Some(room) = ChatSocket::channel_of(error).and_then(|room| self.room_mut(room)) else {
            return false;
        };
        if error.code == NOT_JOINED {
            room.entry = Entry::Refused;
            return true;
        }
        if error.code.may_be_retried() {
            if room.entry == Entry::Asked {
                room.entry = Entry::Refused;
            }
            return true;
        }
        room.history_asked = None;
        // A refused message shows the error in its own row.
        if error.re.is_none() {
            room.refusal = Some(error.message.clone());
        }
        false
    }

    /// The wait after a refusal is over. Which command was refused is not known, so join, history and read mark may all
    /// be sent again.
    pub fn retry(&mut self, name: &str) {
        let me = self.me;
        let Some(room) = self.room_mut(name) else {
            return;
        };
        if room.entry == Entry::Refused {
            room.entry = Entry::Outside;
        }
        room.history_asked = None;
        if let Some(me) = me {
            room.marks.remove(&me);
        }
    }

    /// Removes the typing users that have expired at `now` (Unix milliseconds).
    pub fn expire(&mut self, now: f64) {
        for room in &mut self.rooms {
            room.typing.retain(|_, until| *until > now);
        }
    }

    /// The number of unread messages in all rooms.
    pub fn unread(&self) -> usize {
        self.rooms.iter().map(|room| room.unread).sum()
    }

    /// The end of the shown part of a room is visible: returns the read mark to send, unless the server has it.
    pub fn read_due(&mut self, name: &str) -> Option<ChatCommand> {
        let me = self.me?;
        let room = self
            .room_mut(name)
            .filter(|room| room.entry == Entry::Inside)?;
        let offset = room.shown_upto?;
        if room.marks.get(&me).is_some_and(|mark| *mark >= offset) {
            return None;
        }
        room.read(me, offset, Some(me));
        Some(ChatCommand::Read {
            room: name.to_owned(),
            offset,
        })
    }

    /// The receipts of the user's own messages: for each offset that has one, how many others have read the message.
    pub fn receipts(&self, name: &str) -> BTreeMap<u64, usize> {
        let (Some(room), Some(me)) = (self.room(name), self.me) else {
            return BTreeMap::new();
        };
        let own = room
            .log
            .after(0)
            .iter()
            .filter(|message| message.from.id == me);
        let others: Vec<u64> = room
            .marks
            .iter()
            .filter(|(user, _)| **user != me)
            .map(|(_, mark)| *mark)
            .collect();
        let readers = |offset: u64| others.iter().filter(|mark| **mark >= offset).count();
        let mut receipts = BTreeMap::new();
        // The newest message always has a receipt; earlier ones only where a reader stopped. Any other would repeat the
        // next one's number.
        let mut last_count = None;
        for offset in own.rev().map(|message| message.offset) {
            let count = readers(offset);
            if last_count != Some(count) {
                receipts.insert(offset, count);
                last_count = Some(count);
            }
            if count == others.len() {
                break;
            }
        }
        receipts
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
