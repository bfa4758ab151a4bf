//! The other clients in the text with their carets, and the own state that they receive.

use leptos::prelude::*;

use super::{
    editor::{Editor, now},
    sync::{
        Mark,
        awareness::{State, StateUser},
        splice::splice_between,
        typing::TextArea,
    },
    writer::{CaretPlace, Writer, shown_color, shown_name},
};

impl Editor {
    /// Draws the other clients' carets with the next animation frame.
    pub fn draw_carets_soon(self) {
        self.carets
            .draw_soon(self.field, move || self.caret_places());
    }

    /// The positions of the other clients' carets in the current value of the text area.
    pub fn caret_places(self) -> Vec<CaretPlace> {
        let composed = self
            .is_composing()
            .then(|| self.field.get_untracked())
            .flatten();
        let writers = self.writers.try_get_untracked().unwrap_or_default();
        let places = self.with(|client| {
            // Composed text is in the text area, but not in the document.
            let composed = composed.map(|field| (field.value(), field.selection().end));
            let splice = composed
                .as_ref()
                .and_then(|(value, caret)| splice_between(client.shown(), value, *caret));
            let shown_at = |index: u32| splice.map_or(index, |splice| splice.carry(index));
            let place_of = |writer: Writer| {
                let cursor = writer.cursor?;
                Some(CaretPlace {
                    client: writer.client,
                    name: writer.name,
                    color: writer.color,
                    anchor: shown_at(client.text().index_of(&cursor.anchor)?),
                    head: shown_at(client.text().index_of(&cursor.head)?),
                })
            };
            writers.into_iter().filter_map(place_of).collect()
        });
        places.unwrap_or_default()
    }

    /// Sends the own user and caret to the other clients.
    pub(super) fn send_state(self) {
        if self.is_composing() {
            return;
        }
        let Some(field) = self.field.try_get_untracked().flatten() else {
            return;
        };
        let user = self.visitor.get_untracked().map(|user| StateUser {
            name: Some(user.name),
            color: Some(user.color),
            id: Some(user.id.to_string()),
        });
        let frame = self.with(|client| {
            let here = field.has_focus() && client.mark() != Mark::Loading;
            let cursor = here.then(|| client.hold(field.selection()).cursor());
            client.set_state(Some(&State { user, cursor }), now())
        });
        self.send(frame.flatten().into_iter().collect());
    }

    /// A client joined, left, or moved its caret.
    pub(super) fn people_changed(self) {
        let writers = self.with(|client| {
            let writer = |(client, state): (u64, &State)| {
                let user = state.user.clone().unwrap_or_default();
                Writer {
                    client,
                    key: user.id.unwrap_or_else(|| format!("client {client}")),
                    name: shown_name(user.name.as_deref()),
                    color: shown_color(user.color.as_deref(), client),
                    cursor: state.cursor.clone(),
                }
            };
            client.others().map(writer).collect::<Vec<_>>()
        });
        self.writers.set(writers.unwrap_or_default());
        self.draw_carets_soon();
    }
}
