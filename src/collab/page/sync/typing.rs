//! Keeps a text area and the client's copy of the document equal: typed text goes into the document, updates of other
//! clients go into the text area. Pure over [`TextArea`], so that tests can use a simulated text area.
//!
//! Text area and document hold the same text after every call, except during a composition of an input method. The text
//! area is not written then, updates of other clients wait, and both are merged after the composition has ended.

use super::{
    Client, Refusal, Step,
    splice::{character_end, splice_between},
    text::{HeldSelection, Selection},
};

/// The used part of a browser's text area. Selections are in UTF-16 units of its value.
pub trait TextArea {
    fn value(&self) -> String;
    /// Browsers move the caret to the end if the value changes.
    fn set_value(&self, value: &str);
    fn selection(&self) -> Selection;
    /// Call it only with focus: without it, some browsers move the focus here and others ignore the call.
    fn select(&self, selection: Selection);
    fn has_focus(&self) -> bool;
}

/// The effect of an edit, the user's own or another client's.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// To be sent in this order.
    pub frames: Vec<Vec<u8>>,
    /// The user's edit was accepted or refused.
    pub typed: Option<Result<(), Refusal>>,
    /// The text area displays another text than after the last call.
    pub changed: bool,
    /// Why an update could not be applied.
    pub fault: Option<String>,
}

/// The text of one document, and the state of the text area that shows it.
pub struct Typing {
    pub client: Client,
    composing: bool,
    /// The selection of a text area without focus, after its value was set. The browser moved its own selection to the
    /// end, and it may be restored only when the text area gets the focus.
    kept: Option<HeldSelection>,
}

impl Typing {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            composing: false,
            kept: None,
        }
    }

    /// Whether an input method composes. Its text is in the text area, but not in the document yet.
    pub fn is_composing(&self) -> bool {
        self.composing
    }

    pub fn composition_began(&mut self) {
        self.composing = true;
        self.kept = None;
    }

    /// The text area may be written from the next task on, because some browsers insert the chosen word only after this
    /// event.
    pub fn composition_ended(&mut self, area: &impl TextArea, now: f64) -> Change {
        self.composing = false;
        self.take_over(area, now)
    }

    /// The user edited the text area. Composed text is adopted in one piece after the composition has ended.
    pub fn edited(&mut self, area: &impl TextArea, now: f64) -> Change {
        if self.composing {
            return Change::default();
        }
        self.take_over(area, now)
    }

    /// Adopts the text area's value, including an unfinished composition.
    pub fn take_over(&mut self, area: &impl TextArea, now: f64) -> Change {
        let value = area.value();
        if !self.client.is_editable() || value == self.client.shown() {
            return Change::default();
        }
        let selection = area.selection();
        let edit = self.client.edit(&value, selection.end, now);
        if area.has_focus() {
            self.kept = None;
        }
        let shown = self.client.shown();
        if shown != value {
            let selection = match &edit {
                // Selects again what the edit would have replaced.
                Err(_) => splice_between(shown, &value, selection.end).map(|splice| Selection {
                    start: splice.at,
                    end: splice.at + splice.removed,
                    backward: false,
                }),
                Ok(_) => Some(carried(selection, &value, shown)),
            };
            self.put(area, selection.unwrap_or_default());
        }
        let (frames, typed) = match edit {
            Ok(frames) => (frames, Ok(())),
            Err(refusal) => (vec![], Err(refusal)),
        };
        Change {
            frames,
            typed: Some(typed),
            changed: true,
            fault: None,
        }
    }

    /// Applies the waiting updates to the text area. Caret and selection keep their place in the text, with or without
    /// focus.
    pub fn show(&mut self, area: &impl TextArea, now: f64) -> Change {
        if self.composing {
            return Change::default();
        }
        // Otherwise an edit whose event is still pending would be overwritten.
        let mut change = self.take_over(area, now);
        let before = area.value();
        // A text that the server rendered is not in a document yet, so no position in it can be held.
        let in_document = before == self.client.shown();
        let held = self
            .kept
            .take()
            .or_else(|| in_document.then(|| self.client.hold(area.selection())));
        let (changed, frames, read) = self.client.take_waiting();
        change.frames.extend(frames);
        change.changed |= changed;
        change.fault = read.err();
        let shown = self.client.shown();
        let selection = held
            .and_then(|held| self.client.find(&held))
            .unwrap_or_else(|| carried(area.selection(), &before, shown));
        // Another client may have added a combining mark to the letter before the caret. The next key must not come
        // between the two.
        let selection = Selection {
            start: character_end(shown, selection.start),
            end: character_end(shown, selection.end),
            ..selection
        };
        if before != self.client.shown() {
            change.changed = true;
            self.put(area, selection);
        } else if selection != area.selection() {
            // The letters are the same, but the caret is next to another one of them.
            self.select(area, selection);
        }
        change
    }

    /// Performs an undo or redo step. Also returns the caret's position, if the text changed.
    pub fn step(
        &mut self,
        area: &impl TextArea,
        now: f64,
        step: fn(&mut Client, f64) -> Option<Step>,
    ) -> (Change, Option<u32>) {
        if self.composing {
            return Default::default();
        }
        let mut change = self.take_over(area, now);
        let Some(step) = step(&mut self.client, now) else {
            return (change, None);
        };
        change.frames.extend(step.frames);
        if let Some(caret) = step.caret {
            change.changed = true;
            self.put(area, Selection::caret(caret));
        }
        (change, step.caret)
    }

    /// The text area got the focus.
    pub fn focused(&mut self, area: &impl TextArea) {
        let held = self.kept.take();
        if let Some(selection) = held.and_then(|held| self.client.find(&held)) {
            area.select(selection);
        }
    }

    /// The user points at a position in the text area. The browser puts the caret there, before or after the focus
    /// event.
    pub fn pointed(&mut self) {
        self.kept = None;
    }

    fn put(&mut self, area: &impl TextArea, selection: Selection) {
        area.set_value(self.client.shown());
        self.select(area, selection);
    }

    fn select(&mut self, area: &impl TextArea, selection: Selection) {
        if area.has_focus() {
            self.kept = None;
            area.select(selection);
        } else {
            self.kept = Some(self.client.hold(selection));
        }
    }
}

/// Maps a selection from one text to another by their common parts.
fn carried(selection: Selection, before: &str, after: &str) -> Selection {
    match splice_between(before, after, selection.end) {
        Some(splice) => Selection {
            start: splice.carry(selection.start),
            end: splice.carry(selection.end),
            ..selection
        },
        None => selection,
    }
}

#[cfg(test)]
#[path = "typing_tests.rs"]
mod tests;
