//! One client of a document, between the text area and the socket: decides what is sent when, what waits, and what is
//! saved. Pure: the page passes events in and executes the result.
//!
//! The order of the exchange: the server asks for the client's state (sync step 1), the client answers with what the
//! server lacks, and asks the same. Only after that are edits sent one by one, so that no edit overtakes what was
//! written offline before it. After a disconnect the exchange starts again, and nothing is lost: the document itself
//! holds everything unsent.

pub mod awareness;
pub mod position;
pub mod rendered;
pub mod saving;
pub mod splice;
pub mod text;
pub mod typing;
pub mod word_count;

use base64::{Engine, engine::general_purpose::STANDARD};

use self::{
    awareness::{Awareness, State},
    saving::Saving,
    text::{HeldSelection, STEP_BYTES, Selection, SharedText, TooLong, Undone},
};
use crate::collab::protocol::{
    Clocks, Message, decode, decode_awareness, decode_state_vector, encode_state_vector,
};

/// The maximum size of all unsaved edits, in bytes. After a disconnect they are sent in one message, and the server
/// accepts messages of up to 4 MiB.
pub const UNSAVED_BYTES: usize = 3_500_000;

/// How safe the text is, as the page displays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The server's state has not been received yet.
    Loading,
    ReadOnly,
    Saving,
    /// The server has stored nothing for some seconds, although something waits: its storage is away.
    Unsaved,
    /// Everything in this copy is on the server's disk.
    Saved,
    /// There is no connection. This many edits are kept in the tab.
    Offline {
        unsent: usize,
    },
}

/// Why an edit was refused. The text is unchanged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "That would make the document longer than 6 MiB. It was not put in; the text is as it was."
    )]
    TooLong,
    #[error(
        "More than 3 MiB are not saved yet. It was not put in; the text is as it was. Put in less at a time, or try again when all is saved."
    )]
    TooMuchUnsaved,
}

/// The effect of a received frame, or of time that passed.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// To be sent in this order.
    pub frames: Vec<Vec<u8>>,
    /// [`Client::take_waiting`] has updates to apply.
    pub text_waits: bool,
    /// A client joined, left, or moved its caret.
    pub people_changed: bool,
    /// The server's reason for a refusal.
    pub denied: Option<String>,
}

/// A step of undo or redo.
#[derive(Debug, PartialEq)]
pub struct Step {
    pub frames: Vec<Vec<u8>>,
    /// The caret's new position, if the displayed text changed.
    pub caret: Option<u32>,
}

/// The client's copy of the document and the state of its exchange with the server.
pub struct Client {
    text: SharedText,
    awareness: Awareness,
    saving: Saving,
    /// Received updates that are not in the text yet.
    waiting: Vec<Vec<u8>>,
    /// The waiting updates include a sync step 2: once they are applied, the text is the server's.
    sync_waits: bool,
    /// Edits that an earlier visit of this tab could not save.
    kept: Option<Vec<u8>>,
    /// The client ids of edits that were made in this tab: the own id, and those of the kept edits. All other content
    /// came from the server.
    own: Vec<u64>,
    readonly: bool,
    connected: bool,
    /// On this connection the server was sent everything that it lacked, so edits may be sent one by one.
    step_2_sent: bool,
    /// The server could not store an update. Everything unsaved must be sent again later.
    refused: bool,
    /// How often it was sent again since everything was saved.
    resent: u32,
    /// Something waited to be stored at the last tick, and nothing was stored since.
    waits: bool,
    /// So it was at the tick before as well.
    waits_long: bool,
    /// The server's text was received at least once.
    synced: bool,
}

impl Client {
    /// `id` is random and new for every visit. `kept` is what [`Client::to_keep`] returned at the end of the last one.
    pub fn new(id: u32, readonly: bool, kept: Option<Vec<u8>>) -> Self {
        let text = SharedText::new(id);
        Self {
            awareness: Awareness::new(text.client()),
            own: vec![text.client()],
            text,
            saving: Saving::default(),
            waiting: vec![],
            sync_waits: false,
            kept,
            readonly,
            connected: false,
            step_2_sent: false,
            refused: false,
            resent: 0,
            waits: false,
            waits_long: false,
            synced: false,
        }
    }

    /// The text that the text area displays.
    pub fn shown(&self) -> &str {
        self.text.shown()
    }

    /// Whether the user may type. Not before the server's text was received, or the rendered text would be merged with
    /// itself.
    pub fn is_editable(&self) -> bool {
        self.synced && !self.readonly
    }

    /// A connection was opened. Returns the frames to be sent.
    pub fn connected(&mut self, now: f64) -> Vec<Vec<u8>> {
        self.connected = true;
        (self.step_2_sent, self.refused) = (false, false);
        self.saving.reconnected();
        let vector = self.text.state_vector();
        let mut frames = vec![Message::SyncStep1(&vector).encode()];
        frames.extend(self.awareness.connected(now).map(awareness_frame));
        frames
    }

    pub fn disconnected(&mut self) {
        self.connected = false;
        (self.step_2_sent, self.refused) = (false, false);
        (self.waits, self.waits_long) = (false, false);
        self.saving.reconnected();
        self.awareness.disconnected();
    }

    /// Handles a binary frame. The error describes the part that could not be read; the messages before it are applied.
    pub fn receive(&mut self, frame: &[u8], now: f64) -> (Outcome, Result<(), String>) {
        let mut outcome = Outcome::default();
        for message in decode(frame) {
            let read = message
                .map_err(|error| error.to_string())
                .and_then(|message| self.handle(message, now, &mut outcome));
            if let Err(fault) = read {
                return (outcome, Err(fault));
            }
        }
        (outcome, Ok(()))
    }

    /// Applies the waiting updates to the text. Must not be called during a composition, when the text area must not be
    /// changed. Returns whether the displayed text changed, the frames to be sent, and an error if an update could not
    /// be applied.
    pub fn take_waiting(&mut self) -> (bool, Vec<Vec<u8>>, Result<(), String>) {
        let waiting = std::mem::take(&mut self.waiting);
        let (mut changed, mut read) = self.text.apply(waiting.iter().map(Vec::as_slice));
        let mut frames = vec![];
        if std::mem::take(&mut self.sync_waits) && !self.synced {
            self.synced = true;
            // Not earlier, because the kept edits build on the server's text.
            if let Some(kept) = self.kept.take() {
                let before = self.clocks();
                let (restored, kept_read) = self.text.apply([kept.as_slice()]);
                changed |= restored;
                read = read.and(kept_read);
                let moved = self.clocks().into_iter();
                let moved = moved.filter(|(client, clock)| before.get(client) != Some(clock));
                self.own.extend(moved.map(|(client, _)| client));
                frames = self.send(vec![kept]);
            }
        }
        (changed, frames, read)
    }

    /// Adopts the text area's value, with its caret. Returns the frames to be sent.
    pub fn edit(&mut self, value: &str, caret: u32, now: f64) -> Result<Vec<Vec<u8>>, Refusal> {
        let grows = value.len().saturating_sub(self.shown().len());
        if grows > 0 && self.saving.unsaved_bytes() + grows > UNSAVED_BYTES {
            return Err(Refusal::TooMuchUnsaved);
        }
        let made = self.text.edit(value, caret, now);
        let made = made.map_err(|TooLong| Refusal::TooLong)?;
        Ok(self.send(made))
    }

    pub fn can_undo(&self) -> bool {
        self.may_step() && self.text.can_undo()
    }

    pub fn can_redo(&self) -> bool {
        self.may_step() && self.text.can_redo()
    }

    /// A step may be as large as the largest edit. It must fit, because it must not be refused either.
    fn may_step(&self) -> bool {
        self.is_editable() && self.saving.unsaved_bytes() + STEP_BYTES <= UNSAVED_BYTES
    }

    /// Undoes the last own step; `None` if no step changes anything.
    pub fn undo(&mut self, now: f64) -> Option<Step> {
        self.step(now, SharedText::undo)
    }

    pub fn redo(&mut self, now: f64) -> Option<Step> {
        self.step(now, SharedText::redo)
    }

    /// The server reported what is on its disk.
    pub fn saved(&mut self, state_vector: &str, updates: u64) {
        let vector = STANDARD.decode(state_vector).ok();
        let clocks = vector.and_then(|vector| decode_state_vector(&vector).ok());
        if let Some(clocks) = clocks {
            self.saving.saved(clocks, updates);
            (self.waits, self.waits_long) = (false, false);
        }
        if self.saving.is_saved() {
            self.resent = 0;
        }
    }

    /// The server could not store an update now and kept nothing of it. No edit is sent until all of them are, with
    /// [`Client::resend`]. Returns how often that was tried since everything was saved.
    pub fn refused(&mut self) -> u32 {
        (self.step_2_sent, self.refused) = (false, true);
        self.resent
    }

    /// Some time after a refusal: returns a frame with everything that was written in this tab and is not on the
    /// server's disk. `None` if the server was sent all of it in the meantime.
    pub fn resend(&mut self) -> Option<Vec<u8>> {
        if !(self.connected && self.refused) {
            return None;
        }
        // The server has the edits of other clients, saved or not. With all of them the message might be too long.
        let mut known = self.clocks();
        let own = self.own.iter();
        known.extend(own.map(|client| (*client, self.saving.clock(*client))));
        let lacks = self.text.difference(&encode_state_vector(&known))?;
        self.resent += 1;
        Some(self.step_2_frame(&lacks))
    }

    pub fn mark(&self) -> Mark {
        match self {
            Self { synced: false, .. } => Mark::Loading,
            Self { readonly: true, .. } => Mark::ReadOnly,
            Self {
                connected: false, ..
            } => Mark::Offline {
                unsent: self.saving.unsaved(),
            },
            _ if self.step_2_sent && self.saving.is_saved() && self.is_covered() => Mark::Saved,
            _ if self.waits_long => Mark::Unsaved,
            _ => Mark::Saving,
        }
    }

    /// What would be lost if the tab were closed now and the server failed. To be kept in the tab's storage.
    pub fn to_keep(&self) -> Option<Vec<u8>> {
        if !self.synced {
            return self.kept.clone();
        }
        let unsaved = self.saving.unsaved() > 0;
        unsaved
            .then(|| self.text.difference(&self.saving.state_vector()))
            .flatten()
    }

    /// Sets the own user and caret; `None` removes the state. Returns the frame to be sent.
    pub fn set_state(&mut self, state: Option<&State>, now: f64) -> Option<Vec<u8>> {
        let body = self.awareness.set(state, now);
        body.filter(|_| self.connected).map(awareness_frame)
    }

    /// The frame with the own state was not sent: the next [`Client::tick`] returns one again.
    pub fn state_unsent(&mut self) {
        self.awareness.unsent();
    }

    /// Handles the passing of time. Call it every few seconds.
    pub fn tick(&mut self, now: f64) -> Outcome {
        let waits = matches!(self.mark(), Mark::Saving | Mark::Unsaved);
        (self.waits, self.waits_long) = (waits, waits && self.waits);
        let change = self.awareness.tick(now);
        Outcome {
            people_changed: change.changed,
            frames: change
                .send
                .filter(|_| self.connected)
                .map(awareness_frame)
                .into_iter()
                .collect(),
            ..Outcome::default()
        }
    }

    /// All other clients whose state is known, including stock Yjs clients.
    pub fn others(&self) -> impl Iterator<Item = (u64, &State)> {
        self.awareness.others()
    }

    pub fn text(&self) -> &SharedText {
        &self.text
    }

    pub fn hold(&self, selection: Selection) -> HeldSelection {
        self.text.hold(selection)
    }

    pub fn find(&self, held: &HeldSelection) -> Option<Selection> {
        self.text.find(held)
    }

    fn handle(&mut self, message: Message, now: f64, outcome: &mut Outcome) -> Result<(), String> {
        match message {
            Message::SyncStep1(vector) => {
                let lacks = self.text.difference(vector);
                let lacks = lacks.ok_or("a state vector cannot be read")?;
                if !self.readonly {
                    outcome.frames.push(self.step_2_frame(&lacks));
                }
            }
            Message::SyncStep2(update) => {
                self.waiting.push(update.to_vec());
                self.sync_waits = true;
            }
            Message::Update(update) => self.waiting.push(update.to_vec()),
            Message::Awareness(states) => {
                let states = decode_awareness(states).map_err(|error| error.to_string())?;
                let change = self.awareness.apply(states, now);
                outcome.people_changed |= change.changed;
                outcome.frames.extend(change.send.map(awareness_frame));
            }
            Message::QueryAwareness => {
                outcome
                    .frames
                    .extend(self.awareness.connected(now).map(awareness_frame));
            }
            Message::Denied(why) => outcome.denied = Some(why.to_owned()),
        }
        outcome.text_waits = !self.waiting.is_empty();
        Ok(())
    }

    /// Answers a sync step 1 with everything that the server lacks.
    fn step_2_frame(&mut self, lacks: &[u8]) -> Vec<u8> {
        self.saving.sent_all();
        (self.step_2_sent, self.refused) = (true, false);
        Message::SyncStep2(lacks).encode()
    }

    /// The number of clocks of each client in the text.
    fn clocks(&self) -> Clocks {
        decode_state_vector(&self.text.state_vector()).unwrap_or_default()
    }

    fn is_covered(&self) -> bool {
        self.text.is_covered_by(|client| self.saving.clock(client))
    }

    fn step(&mut self, now: f64, step: fn(&mut SharedText, f64) -> Option<Undone>) -> Option<Step> {
        if !self.may_step() {
            return None;
        }
        let (made, caret) = step(&mut self.text, now)?;
        Some(Step {
            frames: self.send(made),
            caret,
        })
    }

    /// Returns the frames that may be sent now. None until the server was sent what it lacks, which will include these
    /// updates.
    fn send(&mut self, updates: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let may_send = self.connected && self.step_2_sent;
        for update in &updates {
            self.saving.edited(update.len(), may_send);
        }
        let frames = updates
            .iter()
            .map(|update| Message::Update(update).encode());
        frames.filter(|_| may_send).collect()
    }
}

fn awareness_frame(states: Vec<u8>) -> Vec<u8> {
    Message::Awareness(&states).encode()
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
