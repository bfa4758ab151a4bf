//! The reader's position in the log: kept while the log changes, moved when the reader goes elsewhere.

use leptos::{prelude::*, task::spawn_local};

use super::Chat;
use crate::chat::page::{
    model::{RoomState, Sought},
    scroll::{Place, Scroller},
};

impl Chat {
    /// Goes to the newest message and follows new ones.
    pub fn to_latest(self) {
        self.found.set(None);
        self.change_room(RoomState::to_latest);
        self.changed();
    }

    /// Goes to a message, however far up; the error is a sentence.
    pub fn go_to(self, offset: u64) -> Result<(), &'static str> {
        match self.change_room(|room| room.seek(offset)) {
            Some(Sought::Shown) => {
                self.change_room(|room| room.scrolled_up(true));
                self.found.set(Some(offset));
                self.jump.set_value(Some(offset));
                self.changed();
            }
            Some(Sought::Ask(page)) => self.send(Some(page)),
            Some(Sought::Coming) => {}
            Some(Sought::Gone) | None => {
                return Err("This message is not in the room's history any more.");
            }
        }
        Ok(())
    }

    /// The log of the current room is on the page.
    pub fn mounted(self, scroller: Scroller) {
        self.scroller.set_value(Some(scroller));
        self.place.set_value(Place::default());
        scroller.watch_size(move || self.changed());
        // Messages that arrived while another room was shown are not announced now.
        self.change_room(RoomState::take_news);
        self.to_latest();
    }

    /// The reader moved in the log.
    pub fn scrolled(self) {
        let Some(scroller) = self.scroller.try_get_value().flatten() else {
            return;
        };
        let place = scroller.place();
        let before = self
            .place
            .try_update_value(|before| std::mem::replace(before, place));
        self.show_more(scroller);
        let at_end = scroller.is_at_end() && self.shows_the_end();
        let up = self.change_room(|room| room.log.is_scrolled_up()) == Some(true);
        let leaves_the_end = before.is_some_and(|before| before.left_upwards(place));
        if at_end == up && (at_end || leaves_the_end) {
            self.change_room(|room| room.scrolled_up(!at_end));
            self.changed();
        }
    }

    /// Continues to seek a message, if one is sought.
    pub(super) fn continue_seek(self) {
        if let Some(offset) = self.change_room(|room| room.sought()).flatten() {
            // If the message is gone, the reader is at the top of the history that exists.
            let _ = self.go_to(offset);
        }
    }

    /// Notifies all views, and keeps the reader's position.
    pub(super) fn show(self) {
        if !self.frame.run() {
            // The page is gone.
            return;
        }
        self.calendar.turn();
        let scroller = self.scroller.try_get_value().flatten();
        let anchor = scroller.and_then(Scroller::anchor);
        self.state.notify();
        self.announce_soon();
        let Some(scroller) = scroller else { return };
        // The notification has queued the tasks in which the views change; this task runs after them.
        spawn_local(async move {
            let shown = self.change_room(|room| {
                room.shown();
                !room.log.is_scrolled_up()
            });
            let Some(follows) = shown else { return };
            let jump = self.jump.try_get_value().flatten();
            if jump.is_some_and(|offset| scroller.center(offset)) {
                self.jump.set_value(None);
                scroller.focus();
                self.scrolled();
            } else if follows {
                scroller.to_end();
            } else if let Some(anchor) = anchor {
                scroller.restore(&anchor);
            }
            self.place.set_value(scroller.place());
            self.show_more(scroller);
            self.read_soon();
        });
    }

    /// Shows more when the reader comes near the edge of the shown part, and requests history that is not held. One
    /// step a frame: while a frame is pending, the document measured here is older than the state; [`Chat::show`] calls
    /// this again.
    fn show_more(self, scroller: Scroller) {
        if self.frame.is_scheduled() {
            return;
        }
        let (up, down) = (scroller.is_near_start(), scroller.is_near_end());
        let more = self.change_room(|room| {
            let shown = (up && room.log.show_older())
                || (down && !room.log.shows_the_end() && room.log.show_newer());
            (shown, if up { room.history_due() } else { None })
        });
        let Some((shown, history)) = more else { return };
        if shown {
            self.changed();
        }
        self.send(history);
    }

    fn shows_the_end(self) -> bool {
        self.change_room(|room| room.log.shows_the_end())
            .unwrap_or(true)
    }

    pub(super) fn end_is_seen(self) -> bool {
        let visible = !document().hidden() && !self.covered.get_untracked() && self.shows_the_end();
        visible
            && self
                .scroller
                .try_get_value()
                .flatten()
                .is_some_and(Scroller::end_is_visible)
    }
}
