//! The messages of one room that the browser holds, and the part of them that it shows. Pure.
//!
//! They are a contiguous part of the room's log, in the order of offsets. New messages are appended; older ones are
//! prepended, page by page. The page shows a part of them, so that a long history costs no more to show than a short
//! one.

use std::{ops::Range, sync::Arc};

use crate::{
    chat::message::{ChatMessage, FirstMessages},
    session::User,
};

/// Messages shown at first, and while the reader follows the end.
const LATEST: usize = 200;
/// Messages that are added to and removed from the page together when the reader comes near an edge of the shown part:
/// as many as the browser can lay out in a frame.
const BLOCK: usize = 10;
/// Most messages shown: enough for several screens on both sides of the reader.
const MOST_SHOWN: usize = 400;
/// Most messages held while the reader follows the end. Older ones are requested again when the reader scrolls up.
const MOST_HELD: usize = 2_000;
/// Messages of one author closer together than this are grouped under one name, in milliseconds.
const GROUP_MS: u64 = 5 * 60_000;

/// One room's messages.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    messages: Vec<Arc<ChatMessage>>,
    /// The number of the first message. Prepended messages count downwards, so that a message keeps its number and its
    /// block.
    first_number: i64,
    /// Messages before the first may exist.
    older: bool,
    shown: Range<usize>,
    /// The shown part has moved by a block, and the page does not show that yet.
    has_moved: bool,
    /// The reader has left the end: new messages are appended and move nothing.
    scrolled_up: bool,
}

/// A message with what is needed to show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub message: Arc<ChatMessage>,
    /// The block that it belongs to.
    pub block: i64,
    /// It begins a group, and shows the author's name and the time.
    pub leads: bool,
    /// It is the first of this day (days since 1970 in the reader's zone).
    pub day: Option<i64>,
}

impl Transcript {
    /// The messages that the server rendered.
    pub fn rendered(first: FirstMessages) -> Self {
        let mut log = Self {
            older: first.position.offset > 0,
            messages: first.messages.into_iter().map(Arc::new).collect(),
            ..Self::default()
        };
        log.show_latest();
        log
    }

    /// The position could not be resumed (another epoch, or too old): everything is dropped, and the latest messages up to
    /// `head` follow.
    pub fn begin_anew(&mut self, head: u64) {
        *self = Self {
            older: head > 0,
            ..Self::default()
        };
    }

    /// Appends the next message of the log.
    pub fn append(&mut self, message: Arc<ChatMessage>) {
        let showed_the_end = self.shows_the_end();
        self.messages.push(message);
        if !self.scrolled_up {
            self.forget_the_oldest();
            self.show_latest();
        } else if showed_the_end && self.shown.len() < MOST_SHOWN {
            self.shown.end = self.messages.len();
        }
    }

    /// Prepends a page of history (newest first). Returns whether any message was new.
    pub fn prepend(&mut self, page: Vec<ChatMessage>, more: bool) -> bool {
        self.older = more;
        let first = self.first_offset().unwrap_or(u64::MAX);
        let news = page
            .into_iter()
            .rev()
            .filter(|message| message.offset < first);
        let news: Vec<_> = news.map(Arc::new).collect();
        let count = news.len();
        self.messages.splice(0..0, news);
        self.first_number -= count as i64;
        self.shown = self.shown.start + count..self.shown.end + count;
        count > 0
    }

    /// Moves the shown part up to the beginning of the next block. Returns whether there was anything to show.
    pub fn show_older(&mut self) -> bool {
        let Some(next) = self.shown.start.checked_sub(1) else {
            return false;
        };
        let start = next - self.place_in_block(next).min(next);
        self.shown = start..self.shown.end.min(start + MOST_SHOWN);
        self.has_moved = true;
        true
    }

    /// Moves the shown part down to the end of the next block. Returns whether there was anything to show.
    pub fn show_newer(&mut self) -> bool {
        let next = self.shown.end;
        if next == self.messages.len() {
            return false;
        }
        let end = (next + BLOCK - self.place_in_block(next)).min(self.messages.len());
        self.shown = self.shown.start.max(end.saturating_sub(MOST_SHOWN))..end;
        self.has_moved = true;
        true
    }

    /// Whether the page has still to show that the shown part moved by a block. If it moved once more, two blocks would be added
    /// in one frame.
    pub fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// The page shows the present state.
    pub fn is_shown(&mut self) {
        self.has_moved = false;
    }

    /// Shows the latest messages.
    pub fn show_latest(&mut self) {
        let end = self.messages.len();
        self.shown = end.saturating_sub(LATEST)..end;
    }

    /// Shows a message and its surroundings. Returns whether it is held.
    pub fn show(&mut self, offset: u64) -> bool {
        let Ok(place) = self
            .messages
            .binary_search_by_key(&offset, |message| message.offset)
        else {
            return false;
        };
        if !self.shown.contains(&place) {
            self.shown =
                place.saturating_sub(LATEST / 2)..(place + LATEST / 2).min(self.messages.len());
        }
        true
    }

    /// The reader left the end, or returned to it.
    pub fn scrolled_up(&mut self, scrolled_up: bool) {
        self.scrolled_up = scrolled_up;
    }

    pub fn is_scrolled_up(&self) -> bool {
        self.scrolled_up
    }

    /// Whether the shown part ends with the newest message.
    pub fn shows_the_end(&self) -> bool {
        self.shown.end == self.messages.len()
    }

    /// The offset before which history is to be requested; `None` if there is none, or if some is held that is not
    /// shown yet.
    pub fn history_before(&self) -> Option<u64> {
        self.first_offset()
            .filter(|_| self.older && self.shown.start == 0)
    }

    /// Whether messages before the first may exist.
    pub fn has_older(&self) -> bool {
        self.older
    }

    pub fn first_offset(&self) -> Option<u64> {
        self.messages.first().map(|message| message.offset)
    }

    pub fn last_offset(&self) -> Option<u64> {
        self.messages.last().map(|message| message.offset)
    }

    /// The offset of the last message that is shown.
    pub fn last_shown(&self) -> Option<u64> {
        let shown = self.messages.get(self.shown.clone())?;
        shown.last().map(|message| message.offset)
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages after an offset.
    pub fn after(&self, offset: u64) -> &[Arc<ChatMessage>] {
        let from = self
            .messages
            .partition_point(|message| message.offset <= offset);
        &self.messages[from..]
    }

    /// The rows to show; `day_of` converts Unix milliseconds into days since 1970 in the reader's zone.
    pub fn rows(&self, day_of: impl Fn(u64) -> i64) -> Vec<Row> {
        let before = self
            .shown
            .start
            .checked_sub(1)
            .map(|place| &self.messages[place]);
        let mut previous = before.map(|message| (message, day_of(message.at)));
        let rows = self.shown.clone().map(|place| {
            let message = &self.messages[place];
            let day = day_of(message.at);
            let same_day = previous.is_some_and(|(_, before)| before == day);
            let leads = !same_day || previous.is_none_or(|(before, _)| !continues(before, message));
            previous = Some((message, day));
            Row {
                message: message.clone(),
                block: self.number(place).div_euclid(BLOCK as i64),
                leads,
                day: (!same_day).then_some(day),
            }
        });
        rows.collect()
    }

    fn number(&self, place: usize) -> i64 {
        self.first_number + place as i64
    }

    /// How many messages of its block are before the one at `place`.
    fn place_in_block(&self, place: usize) -> usize {
        self.number(place).rem_euclid(BLOCK as i64) as usize
    }

    fn forget_the_oldest(&mut self) {
        if self.messages.len() > MOST_HELD {
            // Half at once: dropping one at a time would copy all of them for each message.
            self.messages.drain(..MOST_HELD / 2);
            self.first_number += MOST_HELD as i64 / 2;
            self.older = true;
        }
    }
}

/// Whether a message is grouped under the name of the one before it.
fn continues(before: &ChatMessage, message: &ChatMessage) -> bool {
    let same = |one: &User, two: &User| one.id == two.id && one.name == two.name;
    same(&before.from, &message.from) && message.at.saturating_sub(before.at) < GROUP_MS
}

#[cfg(test)]
#[path = "transcript_tests.rs"]
mod tests;
