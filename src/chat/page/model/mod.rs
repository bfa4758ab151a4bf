//! What one browser knows of all its rooms. Pure: it is told what came and what time it is, and says what to send.

pub mod links;
mod room;
pub mod transcript;

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use self::room::Entry;
pub use self::room::{Acknowledged, RoomState, Sought};
use self::transcript::Transcript;
use crate::chat::{
    ROOMS, is_room_name,
    message::{ChatCommand, ChatEvent, FirstMessages},
};
use realtime::message::{ErrorCode, SocketError};

/// A person who types is shown for this long without another word of it, in milliseconds.
pub const TYPING_MS: f64 = 5_000.0;
/// Joins under way at once: each may bring fifty messages, and all of them count for the rate.
const JOINS: usize = 8;

/// All rooms of one socket.
#[derive(Clone, Debug, Default)]
pub struct ChatState {
    /// Who the server says this is.
    me: Option<Uuid>,
    rooms: Vec<RoomState>,
}

impl ChatState {
    /// The rooms that are always there, and the one that is visited, as the server rendered it.
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

    /// Adds a room to the list, unless it is there or none can be called that.
    pub fn enter(&mut self, name: &str) {
        if is_room_name(name) && self.room(name).is_none() {
            self.rooms.push(RoomState::new(name));
        }
    }

    /// Takes a room off the list; what to tell the server.
    pub fn leave(&mut self, name: &str) -> ChatCommand {
        self.rooms.retain(|room| room.name != name);
        ChatCommand::Leave {
            room: name.to_owned(),
        }
    }

    /// A connection stands, and the server knows this person as `me`. Nothing has been asked on it yet.
    pub fn connected(&mut self, me: Uuid) {
        self.me = Some(me);
        for room in &mut self.rooms {
            room.entry = Entry::Outside;
            room.history_asked = None;
        }
    }

    /// The rooms to join now, `first` before all others.
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

    /// Takes what came, at `now` (Unix milliseconds). What is of a room that was left is ignored.
    pub fn take(&mut self, event: ChatEvent, now: f64) {
        let me = self.me;
        let Some(room) = self.room_mut(room_of(&event)) else {
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
                // The first message may be another by now: the page would leave a hole before it.
                let fits = room.history_asked.take() == room.log.first_offset();
                if fits && room.log.prepend(messages, more) {
                    room.log.show_older();
                }
            }
        }
    }

    /// Something was refused that does not wait in the outbox. Says whether it is worth another try after a while; that is
    /// [`ChatState::go_on`].
    pub fn refused(&mut self, error: &SocketError) -> bool {
        let Some(room) = error.room.as_deref().and_then(|room| self.room_mut(room)) else {
            return false;
        };
        if error.code == ErrorCode::NotJoined {
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
        // A message has its own line to say so.
        if error.re.is_none() {
            room.refusal = Some(error.message.clone());
        }
        false
    }

    /// The wait after a refusal is over. What it was about is not known, so all of it may be asked for and told again.
    pub fn go_on(&mut self, name: &str) {
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

    /// Ends what expired by `now`.
    pub fn expire(&mut self, now: f64) {
        for room in &mut self.rooms {
            room.typing.retain(|_, until| *until > now);
        }
    }

    /// The unread messages of all rooms.
    pub fn unread(&self) -> usize {
        self.rooms.iter().map(|room| room.unread).sum()
    }

    /// The end of what is shown of a room is before the reader's eyes: what to tell the server, unless it knows.
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

    /// Which of one's own messages shows how many have read it.
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
        // The newest always; before it those where somebody stopped reading. Every other one would say what the next says.
        let mut said = None;
        for offset in own.rev().map(|message| message.offset) {
            let count = readers(offset);
            if said != Some(count) {
                receipts.insert(offset, count);
                said = Some(count);
            }
            if count == others.len() {
                break;
            }
        }
        receipts
    }
}

fn room_of(event: &ChatEvent) -> &str {
    match event {
        ChatEvent::Joined(joined) => &joined.room,
        ChatEvent::Message { room, .. }
        | ChatEvent::Ack { room, .. }
        | ChatEvent::UserJoined { room, .. }
        | ChatEvent::UserLeft { room, .. }
        | ChatEvent::Typing { room, .. }
        | ChatEvent::Read { room, .. }
        | ChatEvent::History { room, .. } => room,
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
