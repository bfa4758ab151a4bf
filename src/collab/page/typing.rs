//! Passes the events of the text area to [`Typing`], which decides, and executes the result on the socket and the page.

use std::time::Duration;

use leptos::prelude::*;
use web_sys::HtmlTextAreaElement;

use super::{
    editor::{Editor, now},
    sync::{
        Client, Step,
        text::Selection,
        typing::{Change, Typing},
        word_count::count_words,
    },
};

/// How often a hidden tab updates its text. It gets no animation frames.
const HIDDEN_FRAME: Duration = Duration::from_millis(200);

impl Editor {
    /// The user edited the text area.
    pub fn edited(self) {
        self.on_field(Typing::edited);
        // Composed text moves the carets behind it.
        self.draw_carets_soon();
    }

    pub fn composition_began(self) {
        self.typing(Typing::composition_began);
    }

    pub fn composition_ended(self) {
        self.on_field(Typing::composition_ended);
        self.show_soon();
    }

    /// The text area got the focus.
    pub fn focused(self) {
        if let Some(field) = self.field.try_get_untracked().flatten() {
            self.typing(|typing| typing.focused(&field));
        }
    }

    /// The user points at a position in the text area.
    pub fn pointed(self) {
        self.typing(Typing::pointed);
    }

    /// The text area lost the focus.
    pub fn blurred(self) {
        // Nothing is composed without focus, even if the browser does not fire `compositionend`.
        if self.is_composing() {
            self.composition_ended();
        }
        self.send_state_soon();
    }

    pub fn undo(self) {
        self.step(Client::undo);
    }

    pub fn redo(self) {
        self.step(Client::redo);
    }

    pub(super) fn is_composing(self) -> bool {
        self.typing(|typing| typing.is_composing())
            .unwrap_or_default()
    }

    /// Adopts the text area's value, including an unfinished composition.
    pub(super) fn take_over(self) {
        self.on_field(Typing::take_over);
    }

    fn step(self, step: fn(&mut Client, f64) -> Option<Step>) {
        let Some(field) = self.field.get_untracked() else {
            return;
        };
        let Some((change, caret)) = self.typing(|typing| typing.step(&field, now(), step)) else {
            return;
        };
        self.execute_change(change);
        if let Some(caret) = caret {
            // After the call to `step`, because the focus event sets the caret.
            let _ = field.focus();
            self.carets.reveal(&field, caret);
        }
        self.keep_soon();
    }

    /// Displays received updates with the next animation frame, so that a burst of letters is one change.
    pub(super) fn show_soon(self) {
        if !self.editable.get_untracked() {
            // The first text is displayed without waiting for a frame.
            return self.show();
        }
        if document().hidden() {
            return self.once(self.pending_show, HIDDEN_FRAME, Self::show);
        }
        if self.pending_show.schedule() {
            request_animation_frame(move || {
                // The page may have been disposed by then.
                if self.pending_show.run() {
                    self.show();
                }
            });
        }
    }

    /// Applies the waiting updates to the text area. The visible lines keep their place.
    fn show(self) {
        if self.is_composing() {
            return;
        }
        let Some(field) = self.field.get_untracked() else {
            return;
        };
        let anchor = self.carets.anchor(&field);
        let anchored = anchor.map(|(index, top)| {
            let held = self.with(|client| client.hold(Selection::caret(index)));
            (held, top)
        });
        let Some(change) = self.typing(|typing| typing.show(&field, now())) else {
            return;
        };
        if change.changed
            && let Some((Some(held), top)) = anchored
            && let Some(place) = self.with(|client| client.find(&held)).flatten()
        {
            self.carets.bring_back(&field, place.start, top);
        }
        self.execute_change(change);
    }

    fn on_field(self, action: fn(&mut Typing, &HtmlTextAreaElement, f64) -> Change) {
        let Some(field) = self.field.try_get_untracked().flatten() else {
            return;
        };
        if let Some(change) = self.typing(|typing| action(typing, &field, now())) {
            self.execute_change(change);
        }
    }

    fn execute_change(self, change: Change) {
        if let Some(fault) = change.fault {
            leptos::logging::warn!("an update of the shared text cannot be applied: {fault}");
        }
        self.send(change.frames);
        match change.typed {
            Some(Err(refusal)) => self.refuse(refusal.to_string()),
            Some(Ok(())) if self.refusal.with_untracked(Option::is_some) => self.refusal.set(None),
            _ => {}
        }
        if change.typed.is_some() {
            self.keep_soon();
        }
        if change.changed {
            let words = self.with(|client| count_words(client.shown()));
            self.words.set(words.unwrap_or_default());
            self.draw_carets_soon();
        }
        self.update_signals();
        // Other clients receive a position in the document, and the character next to the caret may be a new one.
        self.send_state_soon();
    }
}
