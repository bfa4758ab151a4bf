//! What one browser knows of all its rooms. Pure: it is told what came and what time it is, and says what to send.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    ROOMS, is_room_name,
    message::{ChatCommand, ChatEvent, ChatMessage, FirstMessages, Joined},
    transcript::Transcript,
};
use crate::{
    realtime::message::{ErrorCode, SocketError},
    session::User,
};

/// A person who types is shown for this long without another word of it, in milliseconds.
pub const TYPING_MS: f64 = 5_000.0;
/// One's own typing is told at most this often, in milliseconds.
const TYPING_GAP_MS: f64 = 3_000.0;
/// Joins under way at once: each may bring fifty messages, and all of them count for the rate.
const JOINS: usize = 8;
/// Messages in a page of history.
const PAGE: usize = 100;
/// Messages in a page while a message further up is looked for; the most that one request may ask for.
const SEEK_PAGE: usize = 200;

/// Messages kept for an announcement; of a room that nobody looks at, they wait for nothing.
const MOST_NEWS: usize = 100;

/// All rooms of one socket.
#[derive(Clone, Debug, Default)]
pub struct ChatState {
    /// Who the server says this is.
    me: Option<Uuid>,
    rooms: Vec<RoomState>,
}

/// One room.
#[derive(Clone, Debug, Default)]
pub struct RoomState {
    pub name: String,
    pub log: Transcript,
    pub members: Vec<User>,
    /// Messages of others that are not read yet.
    pub unread: usize,
    /// Why the server does not let one in, or refused something else than a message.
    pub refusal: Option<String>,
    /// What the server has and its `message` has not come yet.
    pub acknowledged: Vec<Acknowledged>,
    entry: Entry,
    /// Messages at or below are in the count that `joined` brought.
    counted_upto: u64,
    /// Messages of the backlog that are still to come: they are old news.
    backlog: usize,
    marks: BTreeMap<Uuid, u64>,
    typing: BTreeMap<Uuid, f64>,
    typed_at: Option<f64>,
    history_asked: bool,
    seeking: Option<u64>,
    /// The newest message when the reader last stood at the end.
    seen_upto: u64,
    news: Vec<Arc<ChatMessage>>,
}

/// A message of one's own between its acknowledgement and its arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    pub id: Uuid,
    pub offset: u64,
    pub text: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Entry {
    #[default]
    Outside,
    Asked,
    /// Not let in for now.
    Refused,
    Inside,
}

/// What is known of a message that is looked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Sought {
    /// It is shown.
    Shown,
    /// Further up: this brings the next page, and each page comes back here.
    Ask(ChatCommand),
    /// A page is under way already.
    Coming,
    /// The room's history does not hold it any more.
    Gone,
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
            let name = name.to_owned();
            self.rooms.push(RoomState {
                name,
                ..RoomState::default()
            });
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
            room.history_asked = false;
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
                after: room.log.position().cloned(),
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
                room.history_asked = false;
                if room.log.prepend(messages, more) {
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
        room.history_asked = false;
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
        room.history_asked = false;
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

    /// The newest message of a room is before the reader's eyes: what to tell the server, unless it knows.
    pub fn read_due(&mut self, name: &str) -> Option<ChatCommand> {
        let me = self.me?;
        let room = self
            .room_mut(name)
            .filter(|room| room.entry == Entry::Inside)?;
        let offset = room.log.last_offset()?;
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

impl RoomState {
    fn joined(&mut self, joined: Joined, me: Option<Uuid>) {
        self.entry = Entry::Inside;
        self.refusal = None;
        self.members = joined.members;
        self.unread = joined.unread;
        self.counted_upto = joined.head;
        self.backlog = joined.replayed;
        self.typing.clear();
        if !joined.recovered {
            self.log.begin_anew(joined.epoch, joined.head);
            self.acknowledged.clear();
            self.marks.clear();
            self.news.clear();
            self.seeking = None;
        }
        // One's own is what the server has, if it has one: should it have missed the last, it is told again.
        if let Some(me) = me {
            self.marks.remove(&me);
        }
        for mark in joined.read {
            let known = self.marks.entry(mark.user_id).or_default();
            *known = mark.offset.max(*known);
        }
        if !self.log.is_scrolled_up() {
            self.log.show_latest();
        }
    }

    fn message(&mut self, message: Arc<ChatMessage>, me: Option<Uuid>) {
        let old_news = self.backlog > 0;
        self.backlog = self.backlog.saturating_sub(1);
        self.acknowledged.retain(|own| own.id != message.id);
        self.typing.remove(&message.from.id);
        if !self.log.append(message.clone()) {
            return;
        }
        if me == Some(message.from.id) {
            return;
        }
        let mark = me.and_then(|me| self.marks.get(&me)).copied().unwrap_or(0);
        if message.offset > self.counted_upto.max(mark) {
            self.unread += 1;
        }
        if !old_news && self.news.len() < MOST_NEWS {
            self.news.push(message);
        }
    }

    fn read(&mut self, user: Uuid, offset: u64, me: Option<Uuid>) {
        let mark = self.marks.entry(user).or_default();
        *mark = offset.max(*mark);
        if me != Some(user) {
            return;
        }
        let mark = *mark;
        // Only where everything after the mark is held can it be counted here; else the server's count stands.
        let holds_all_after = self
            .log
            .first_offset()
            .is_some_and(|first| first <= mark + 1);
        let after = self.log.after(mark);
        if holds_all_after || (after.is_empty() && mark >= self.counted_upto) {
            self.unread = after
                .iter()
                .filter(|message| me != Some(message.from.id))
                .count();
        }
    }

    /// Which of these messages the log holds.
    pub fn held(&self, ids: &BTreeSet<Uuid>) -> BTreeSet<Uuid> {
        let held = self.log.after(0).iter().map(|message| message.id);
        held.filter(|id| ids.contains(id)).collect()
    }

    /// The server has a message of one's own.
    pub fn acknowledge(&mut self, own: Acknowledged) {
        let arrived = self
            .log
            .position()
            .is_some_and(|position| own.offset <= position.offset);
        if !arrived {
            self.acknowledged.push(own);
        }
    }

    /// The reader left the end of the log, or came back to it.
    pub fn scrolled_up(&mut self, scrolled_up: bool) {
        if scrolled_up && !self.log.is_scrolled_up() {
            self.seen_upto = self.log.last_offset().unwrap_or(0);
        }
        self.log.scrolled_up(scrolled_up);
    }

    /// How many messages came since the reader left the end.
    pub fn new_below(&self) -> usize {
        if self.log.is_scrolled_up() {
            self.log.after(self.seen_upto).len()
        } else {
            0
        }
    }

    /// What came just now from others, for the announcement; each once.
    pub fn take_news(&mut self) -> Vec<Arc<ChatMessage>> {
        std::mem::take(&mut self.news)
    }

    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The next page of history, when the reader is where it is missing and none is under way.
    pub fn history_due(&mut self) -> Option<ChatCommand> {
        let before = self.log.history_before()?;
        self.ask_history(before, PAGE)
    }

    /// Looks for a message, page by page.
    pub fn seek(&mut self, offset: u64) -> Sought {
        self.seeking = None;
        if self.log.show(offset) {
            return Sought::Shown;
        }
        let first = self.log.first_offset();
        let Some(first) = first.filter(|first| offset < *first && self.log.has_older()) else {
            return Sought::Gone;
        };
        self.seeking = Some(offset);
        // What is found on the way is not forgotten again for what comes meanwhile.
        self.scrolled_up(true);
        self.ask_history(first, SEEK_PAGE)
            .map_or(Sought::Coming, Sought::Ask)
    }

    /// The message that is being looked for.
    pub fn sought(&self) -> Option<u64> {
        self.seeking
    }

    /// One's own typing: what to tell the server, when it is time.
    pub fn typing_due(&mut self, now: f64) -> Option<ChatCommand> {
        let early = self
            .typed_at
            .is_some_and(|before| now - before < TYPING_GAP_MS);
        if early || self.entry != Entry::Inside {
            return None;
        }
        self.typed_at = Some(now);
        Some(ChatCommand::Typing {
            room: self.name.clone(),
        })
    }

    /// "Ada and Grace are typing", or nothing.
    pub fn typing_sentence(&self) -> String {
        let name = |user: &Uuid| {
            self.members
                .iter()
                .find(|member| member.id == *user)
                .map(|member| member.name.as_str())
        };
        // Whoever is not here any more does not type.
        let names: BTreeSet<&str> = self.typing.keys().filter_map(name).collect();
        match names.into_iter().collect::<Vec<_>>().as_slice() {
            [] => String::new(),
            [one] => format!("{one} is typing"),
            [one, two] => format!("{one} and {two} are typing"),
            [one, two, three] => format!("{one}, {two} and {three} are typing"),
            many => format!("{} people are typing", many.len()),
        }
    }

    fn ask_history(&mut self, before: u64, limit: usize) -> Option<ChatCommand> {
        if self.history_asked || self.entry != Entry::Inside {
            return None;
        }
        self.history_asked = true;
        Some(ChatCommand::History {
            room: self.name.clone(),
            before,
            limit,
        })
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
#[path = "state_tests.rs"]
mod tests;
