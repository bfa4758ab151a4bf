//! Between the text area and the document: what a person typed goes into the one, what others did into the other.
//!
//! Both hold the same at every moment, but while something is composed: then the text area is left alone, what others send
//! waits, and both are brought together when the composition ends.

use std::time::Duration;

use leptos::prelude::*;

use super::{
    browser::{has_focus, select, selection_of},
    editor::{Editor, now},
};
use crate::collab::{
    client::{Client, Step},
    splice::units,
    text::Selection,
};

/// In a hidden tab no animation frame comes; its text goes on.
const HIDDEN_FRAME: Duration = Duration::from_millis(200);

impl Editor {
    /// The person edited the text area.
    pub fn edited(self) {
        // What is composed is taken over in one go, when it is done.
        if self.composing.get_value() {
            self.carets.draw_soon(self);
            return;
        }
        self.take_over();
    }

    pub fn composition_began(self) {
        self.composing.set_value(true);
    }

    pub fn composition_ended(self) {
        self.composing.set_value(false);
        self.take_over();
        self.show();
    }

    pub fn undo(self) {
        self.step(Client::undo);
    }

    pub fn redo(self) {
        self.step(Client::redo);
    }

    /// Takes over what the text area holds.
    pub(super) fn take_over(self) {
        let Some(field) = self.field.try_get_untracked().flatten() else {
            return;
        };
        if !self.editable.get_untracked() {
            return;
        }
        let (value, caret) = (field.value(), selection_of(&field).end);
        let Some(edit) = self.with(|client| client.edit(&value, caret, now())) else {
            return;
        };
        match edit {
            Ok(frames) => {
                if !frames.is_empty() || self.refusal.with_untracked(Option::is_some) {
                    self.refusal.set(None);
                }
                self.send(frames);
            }
            Err(refusal) => self.refuse(refusal.to_string()),
        }
        let shown = self
            .with(|client| client.shown().to_owned())
            .unwrap_or_default();
        if shown != value {
            field.set_value(&shown);
            let caret = caret.min(units(&shown));
            let _ = field.set_selection_range(caret, caret);
        }
        self.text_changed(&shown);
        self.keep_soon();
        self.tell_state_soon();
    }

    fn step(self, step: fn(&mut Client, f64) -> Option<Step>) {
        if self.composing.get_value() || !self.editable.get_untracked() {
            return;
        }
        let made = self.with(|client| step(client, now())).flatten();
        if let Some(step) = made {
            self.send(step.frames);
            if let (Some(caret), Some(field)) = (step.caret, self.field.get_untracked()) {
                let shown = self.with(|client| client.shown().to_owned());
                let shown = shown.unwrap_or_default();
                field.set_value(&shown);
                let _ = field.focus();
                let _ = field.set_selection_range(caret, caret);
                self.carets.reveal(&field, caret);
                self.text_changed(&shown);
            }
            self.keep_soon();
            self.tell_state_soon();
        }
        self.tell();
    }

    /// Shows what others did with the next frame: a burst of letters is one change.
    pub(super) fn show_soon(self) {
        if !self.editable.get_untracked() {
            // The first text: nobody waits a frame for it.
            return self.show();
        }
        if document().hidden() {
            return self.once(self.show_asked, HIDDEN_FRAME, Self::show);
        }
        if self.show_asked.arm() {
            request_animation_frame(move || {
                // The page may be gone by then.
                if self.show_asked.fired() {
                    self.show();
                }
            });
        }
    }

    /// Puts what waits into the text area; caret, selection and the lines that are looked at stay where they are in the text.
    fn show(self) {
        if self.composing.get_value() {
            return;
        }
        let Some(field) = self.field.get_untracked() else {
            return;
        };
        let held = self.with(|client| client.hold(selection_of(&field)));
        let anchor = self.carets.anchor(&field);
        let anchored = anchor.map(|(index, top)| {
            let caret = Selection {
                start: index,
                end: index,
                backward: false,
            };
            (self.with(|client| client.hold(caret)), top)
        });
        let Some((changed, frames, read)) = self.with(Client::take_waiting) else {
            return;
        };
        if let Err(fault) = read {
            leptos::logging::warn!("an update of the shared text cannot be applied: {fault}");
        }
        self.send(frames);
        let shown = self
            .with(|client| client.shown().to_owned())
            .unwrap_or_default();
        if changed || field.value() != shown {
            field.set_value(&shown);
            let find = |held| self.with(|client| client.find(&held)).flatten();
            // Elsewhere it would take the focus in some browsers.
            if has_focus(&field)
                && let Some(selection) = held.and_then(find)
            {
                select(&field, selection);
            }
            if let Some((Some(held), top)) = anchored
                && let Some(Selection { start, .. }) = find(held)
            {
                self.carets.bring_back(&field, start, top);
            }
            self.text_changed(&shown);
        }
        self.tell();
        // What others cannot be told of one's caret before the text is here can be now.
        self.tell_state_soon();
    }
}
