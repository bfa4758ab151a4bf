//! The browser's state of all its rooms. Pure: events and the time go in, commands come out.

pub mod links;
mod room;
pub mod transcript;

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

pub use self::room::{Acknowledged, RoomState, Sought};
use self::transcript::Transcript;
use crate::chat::{
    ROOMS, is_room_name,
    message::{ChatCommand, ChatEvent, ChatSocket, FirstMessages},
};
use realtime::{
    channel::ChannelContract,
    client::channel::{Applied, ChannelList},
    message::SocketError,
    position::Position,
};

/// A user is shown as typing for this long after each `typing` event, in milliseconds.
pub const TYPING_MS: f64 = 5_000.0;

/// All rooms of one socket.
#[derive(Clone, Default)]
pub struct ChatState {
    /// This user's id, as sent by the server.
    me: Option<Uuid>,
    rooms: Vec<RoomState>,
    /// The same rooms: which are joined, and where each of them continues.
    channels: ChannelList<ChatSocket>,
}

impl ChatState {
    /// The permanent rooms, and the visited room as the server rendered it.
    pub fn new(me: Option<Uuid>, visited: &str, first: Option<FirstMessages>) -> Self {
        let mut state = Self {
            me,
            ..Self::default()
        };
        let mut position = first.as_ref().map(|first| first.position.clone());
        for room in ROOMS.into_iter().chain([visited]) {
            let position = position.take_if(|_| room == visited);
            state.enter_at(room, position);
        }
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
        self.enter_at(name, None);
    }

    fn enter_at(&mut self, name: &str, position: Option<Position>) {
        if is_room_name(name) && self.room(name).is_none() {
            self.rooms.push(RoomState::new(name));
            self.channels.add(name, position);
        }
    }

    /// Removes a room from the list; returns the command for the server.
    pub fn leave(&mut self, name: &str) -> Option<ChatCommand> {
        self.rooms.retain(|room| room.name != name);
        self.channels.remove(name)
    }

    /// A connection is open, and its user is `me`. Nothing has been requested on it yet.
    pub fn connected(&mut self, me: Uuid) {
        self.me = Some(me);
        self.channels.lost();
        for room in &mut self.rooms {
            room.is_joined = false;
            room.history_asked = None;
        }
    }

    /// The joins to send now, the one of `first` before all others, and when to ask again if nothing else happens before
    /// (Unix milliseconds).
    pub fn joins_due(&mut self, first: &str, now: f64) -> (Vec<ChatCommand>, Option<f64>) {
        let joins = self.channels.joins_due(first, now);
        (joins, self.channels.due_at())
    }

    /// Applies an event that was received at `now` (Unix milliseconds). Returns what it means for the socket. Events of a
    /// room that was left are ignored.
    pub fn apply(&mut self, event: ChatEvent, now: f64) -> Applied {
        let applied = self.channels.apply(&event);
        let (me, is_joined) = (self.me, self.channels.is_ready(event.room()));
        let Some(room) = self.room_mut(event.room()) else {
            return applied;
        };
        room.is_joined = is_joined;
        let is_new = match applied {
            Applied::New => true,
            Applied::Gap { rejoins, .. } => !rejoins,
            _ => false,
        };
        match event {
            ChatEvent::Joined(joined) => room.joined(joined, me),
            ChatEvent::Message { message, .. } if is_new => room.message(Arc::new(message), me),
            ChatEvent::Message { .. } | ChatEvent::Ack { .. } => {}
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
                // At once, so that what is above the reader is there as soon as something may move it. Otherwise the page shows it
                // after the frame that it waits for.
                if fits && room.log.prepend(messages, more) && !room.log.has_moved() {
                    room.log.show_older();
                }
            }
        }
        applied
    }

    /// The server has acknowledged one of the user's own messages.
    pub fn acknowledge(&mut self, name: &str, own: Acknowledged) {
        let position = self.channels.position(name);
        let has_arrived = position.is_some_and(|position| own.offset <= position.offset);
        if let Some(room) = self.room_mut(name).filter(|_| !has_arrived) {
            room.acknowledged.push(own);
        }
    }

    /// A command that is not kept in the outbox was refused at `now` (Unix milliseconds). Returns when to retry it, with
    /// [`ChatState::retry`].
    pub fn refused(&mut self, error: &SocketError, now: f64) -> Option<f64> {
        let name = ChatSocket::channel_of(error)?;
        let again_at = self.channels.refused(error, now);
        let is_joined = self.channels.is_ready(name);
        let room = self.room_mut(name)?;
        room.is_joined = is_joined;
        if again_at.is_none() {
            room.history_asked = None;
            // A refused message shows the error in its own row.
            if error.re.is_none() {
                room.refusal = Some(error.message.clone());
            }
        }
        again_at
    }

    /// The wait after a refusal is over. Which command was refused is not known, so history and read mark may both be
    /// sent again.
    pub fn retry(&mut self, name: &str) {
        let me = self.me;
        let Some(room) = self.room_mut(name) else {
            return;
        };
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
        let room = self.room_mut(name).filter(|room| room.is_joined)?;
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
