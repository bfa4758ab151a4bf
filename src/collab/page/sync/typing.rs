//! Between a text area and the client's copy of the document: what a person types goes into the document, what others write
//! goes into the text area. Pure over [`TextArea`], so that tests can put a simulated text area in its place.
//!
//! Text area and document hold the same text after every call, except while an input method composes: the text area is not
//! written then, updates of others wait, and both are brought together after the composition has ended.

use super::{
    Client, Refusal, Step,
    splice::{character_end, splice_between},
    text::{HeldSelection, Selection},
};

/// What is used of a browser's text area. Selections are in UTF-16 units of its value.
pub trait TextArea {
    fn value(&self) -> String;
    /// Browsers move the caret to the end when the value is another than before.
    fn set_value(&self, value: &str);
    fn selection(&self) -> Selection;
    /// To be called only with focus: without it, some browsers move the focus here and others ignore the call.
    fn select(&self, selection: Selection);
    fn has_focus(&self) -> bool;
}

/// What follows from an edit, the person's or another's.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// To be sent, in this order.
    pub frames: Vec<Vec<u8>>,
    /// The person's edit was taken over, or refused.
    pub typed: Option<Result<(), Refusal>>,
    /// The text area shows another text than at the last call.
    pub changed: bool,
    /// What could not be applied.
    pub fault: Option<String>,
}

/// The text of one document, and the state of the text area that shows it.
pub struct Typing {
    pub client: Client,
    composing: bool,
    /// The selection of a text area that has no focus, once its value was set: the browser's own moved to the end, and
    /// may be put back only when the text area gets the focus.
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

    /// Whether an input method composes: what it has put into the text area is not in the document yet.
    pub fn is_composing(&self) -> bool {
        self.composing
    }

    pub fn composition_began(&mut self) {
        self.composing = true;
        self.kept = None;
    }

    /// The text area may be written from the next task on: some browsers put in the chosen word only after this event.
    pub fn composition_ended(&mut self, area: &impl TextArea, now: f64) -> Change {
        self.composing = false;
        self.take_over(area, now)
    }

    /// The person edited the text area. What is composed is taken over in one piece, when the composition has ended.
    pub fn edited(&mut self, area: &impl TextArea, now: f64) -> Change {
        if self.composing {
            return Change::default();
        }
        self.take_over(area, now)
    }

    /// Takes over what the text area holds, half a composition too.
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
                // What it would have replaced is selected again.
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

    /// Puts what waits into the text area. Caret and selection stay where they are in the text, with focus or without.
    pub fn show(&mut self, area: &impl TextArea, now: f64) -> Change {
        if self.composing {
            return Change::default();
        }
        // An edit whose event is still to come would be overwritten.
        let mut change = self.take_over(area, now);
        let before = area.value();
        // A text that the server rendered is in no document yet: nothing in it can be held.
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
        // Others may have put a mark upon the letter before the caret: the next key must not come between the two.
        let selection = Selection {
            start: character_end(shown, selection.start),
            end: character_end(shown, selection.end),
            ..selection
        };
        if before != self.client.shown() {
            change.changed = true;
            self.put(area, selection);
        } else if selection != area.selection() {
            // The same letters, and the caret is beside another of them now.
            self.select(area, selection);
        }
        change
    }

    /// Undoes or does again. Returns the place of the caret as well, when the text is another now.
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

    /// The person points at a place in the text area: the browser puts the caret there, before or after the focus event.
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

/// Where a selection of one text is in another, by what the two have in common.
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
