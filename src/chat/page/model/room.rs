//! The browser's state of one room.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;

use super::transcript::Transcript;
use crate::{
    chat::message::{ChatCommand, ChatMessage, Joined},
    session::User,
    ui::bidi::isolated,
};

/// The user's own typing is sent at most once in this time, in milliseconds.
const TYPING_GAP_MS: f64 = 3_000.0;
/// Messages in a page of history.
pub(super) const PAGE: usize = 100;
/// Messages in a page of history while a message further up is sought; the most that one request may ask for.
const SEEK_PAGE: usize = 200;
/// Most messages kept for an announcement: those of a room that is not shown are never announced.
const MOST_NEWS: usize = 100;

/// The state of one room.
#[derive(Clone, Debug, Default)]
pub struct RoomState {
    pub name: String,
    pub log: Transcript,
    pub members: Vec<User>,
    /// How many messages of other users are not read yet.
    pub unread: usize,
    /// Why the server refused the join, or another command that is not a message.
    pub refusal: Option<String>,
    /// The user's own messages that are acknowledged and whose `message` event has not arrived yet.
    pub acknowledged: Vec<Acknowledged>,
    /// Whether the room is joined.
    pub(super) is_joined: bool,
    /// The head when the room was joined: messages up to it are not news, and the unread count of `joined` includes them.
    joined_at: u64,
    pub(super) marks: BTreeMap<Uuid, u64>,
    pub(super) typing: BTreeMap<Uuid, f64>,
    typing_sent_at: Option<f64>,
    /// The offset before which a page of history was requested that has not arrived yet.
    pub(super) history_asked: Option<u64>,
    seeking: Option<u64>,
    /// The offset of the newest message when the reader was last at the end.
    seen_upto: u64,
    /// The offset of the newest message on the page. Later ones wait for a frame, and the user cannot have read them.
    pub(super) shown_upto: Option<u64>,
    news: Vec<Arc<ChatMessage>>,
}

/// One of the user's own messages, between its acknowledgement and its arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    pub id: Uuid,
    pub offset: u64,
    pub text: String,
}

/// The result of seeking a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Sought {
    /// It is shown.
    Shown,
    /// It is further up: this command requests the next page, and after each page the search continues.
    Ask(ChatCommand),
    /// A page was requested already.
    Coming,
    /// The room's history does not hold it any more.
    Gone,
}

impl RoomState {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn joined(&mut self, joined: Joined, me: Option<Uuid>) {
        self.refusal = None;
        self.members = joined.members;
        self.unread = joined.unread;
        self.joined_at = joined.head;
        self.typing.clear();
        if !joined.recovered {
            self.log.begin_anew(joined.head);
            self.acknowledged.clear();
            self.marks.clear();
            self.news.clear();
            self.seeking = None;
            self.shown_upto = None;
        }
        // The user's own mark is the server's, if there is one: a mark that the server missed is then sent again.
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

    pub(super) fn message(&mut self, message: Arc<ChatMessage>, me: Option<Uuid>) {
        self.acknowledged.retain(|own| own.id != message.id.value());
        self.typing.remove(&message.from.id);
        self.log.append(message.clone());
        if me == Some(message.from.id) {
            return;
        }
        let mark = me.and_then(|me| self.marks.get(&me)).copied().unwrap_or(0);
        if message.offset > self.joined_at.max(mark) {
            self.unread += 1;
        }
        if message.offset > self.joined_at && self.news.len() < MOST_NEWS {
            self.news.push(message);
        }
    }

    pub(super) fn read(&mut self, user: Uuid, offset: u64, me: Option<Uuid>) {
        let mark = self.marks.entry(user).or_default();
        *mark = offset.max(*mark);
        if me != Some(user) {
            return;
        }
        let mark = *mark;
        // The unread messages can be counted here only if everything after the mark is held; else the server's count
        // stays.
        let holds_all_after = self
            .log
            .first_offset()
            .is_some_and(|first| first <= mark + 1);
        let after = self.log.after(mark);
        if holds_all_after || (after.is_empty() && mark >= self.joined_at) {
            self.unread = after
                .iter()
                .filter(|message| me != Some(message.from.id))
                .count();
        }
    }

    /// Which of these messages the log holds.
    pub fn held(&self, ids: &BTreeSet<Uuid>) -> BTreeSet<Uuid> {
        let held = self.log.after(0).iter().map(|message| message.id.value());
        held.filter(|id| ids.contains(id)).collect()
    }

    /// The reader left the end of the log, or returned to it.
    pub fn scrolled_up(&mut self, scrolled_up: bool) {
        if scrolled_up && !self.log.is_scrolled_up() {
            self.seen_upto = self.log.last_offset().unwrap_or(0);
        }
        self.log.scrolled_up(scrolled_up);
    }

    /// The reader goes to the end; a search for a message is ended.
    pub fn to_latest(&mut self) {
        self.seeking = None;
        self.scrolled_up(false);
        self.log.show_latest();
    }

    /// The page shows the present state.
    pub fn shown(&mut self) {
        self.shown_upto = self.log.last_shown();
        self.log.is_shown();
    }

    /// How many messages arrived since the reader left the end.
    pub fn new_below(&self) -> usize {
        if self.log.is_scrolled_up() {
            self.log.after(self.seen_upto).len()
        } else {
            0
        }
    }

    /// Takes the new messages of other users, for the announcement; each is returned once.
    pub fn take_news(&mut self) -> Vec<Arc<ChatMessage>> {
        std::mem::take(&mut self.news)
    }

    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The command for the next page of history, if the reader is where it is missing and none is under way.
    pub fn history_due(&mut self) -> Option<ChatCommand> {
        let before = self.log.history_before()?;
        self.ask_history(before, PAGE)
    }

    /// Seeks a message, page by page.
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
        // While the reader is further up, new messages do not displace the pages found on the way.
        self.scrolled_up(true);
        self.ask_history(first, SEEK_PAGE)
            .map_or(Sought::Coming, Sought::Ask)
    }

    /// The offset of the message that is sought.
    pub fn sought(&self) -> Option<u64> {
        self.seeking
    }

    /// The user is typing at `now` (Unix milliseconds): returns the command for the server, if one is due.
    pub fn typing_due(&mut self, now: f64) -> Option<ChatCommand> {
        let early = self
            .typing_sent_at
            .is_some_and(|before| now - before < TYPING_GAP_MS);
        if early || !self.is_joined {
            return None;
        }
        self.typing_sent_at = Some(now);
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
                .map(|member| isolated(&member.name))
        };
        // A user who has left the room is not shown as typing.
        let names: BTreeSet<_> = self.typing.keys().filter_map(name).collect();
        match names.into_iter().collect::<Vec<_>>().as_slice() {
            [] => String::new(),
            [one] => format!("{one} is typing"),
            [one, two] => format!("{one} and {two} are typing"),
            [one, two, three] => format!("{one}, {two} and {three} are typing"),
            many => format!("{} people are typing", many.len()),
        }
    }

    fn ask_history(&mut self, before: u64, limit: usize) -> Option<ChatCommand> {
        if self.history_asked.is_some() || !self.is_joined {
            return None;
        }
        self.history_asked = Some(before);
        Some(ChatCommand::History {
            room: self.name.clone(),
            before,
            limit,
        })
    }
}
