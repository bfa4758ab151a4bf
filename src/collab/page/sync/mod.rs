//! One client of a document, between the text area and the socket: what is sent when, what waits, what is saved. Pure: the page
//! feeds it and executes what it returns.
//!
//! Order: the server asks what we have (sync step 1), we answer with what it lacks, and ask the same; only then do edits leave
//! one by one, so that none overtakes what was written offline before it. After a cut it all begins anew, and nothing is lost:
//! the document itself is the list of what is unsent.

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
    awareness::{Presence, State},
    saving::Saving,
    text::{HeldSelection, STEP_BYTES, Selection, SharedText, TooLong, Undone},
};
use crate::collab::protocol::{
    Clocks, Message, decode, decode_awareness, decode_state_vector, encode_state_vector,
};

/// What may be unsaved at once, in bytes: after a cut it leaves in one message, and the server takes messages of 4 MiB.
pub const UNSAVED_BYTES: usize = 3_500_000;

/// What the page says about the text's safety.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// What the server has was not heard yet.
    Loading,
    ReadOnly,
    Saving,
    /// All that is here is on the server's disk.
    Saved,
    /// No connection. So many edits are kept here.
    Offline {
        unsent: usize,
    },
}

/// Why an edit was not taken; nothing was changed then.
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

/// What follows from what was heard.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// To be sent, in this order.
    pub frames: Vec<Vec<u8>>,
    /// [`Client::take_waiting`] has something to do.
    pub text_waits: bool,
    /// Somebody came, went, or moved their caret.
    pub people_changed: bool,
    /// The server says no, in words.
    pub denied: Option<String>,
}

/// A step of undo or redo.
#[derive(Debug, PartialEq)]
pub struct Step {
    pub frames: Vec<Vec<u8>>,
    /// Where the caret goes, when the text is another now.
    pub caret: Option<u32>,
}

/// One client.
pub struct Client {
    text: SharedText,
    presence: Presence,
    saving: Saving,
    /// Updates of others, not in the text yet.
    waiting: Vec<Vec<u8>>,
    /// With what waits the text is as the server's.
    sync_waits: bool,
    /// What a former visit of this tab could not save.
    kept: Option<Vec<u8>>,
    /// Under which ids what is written here stands in the document: one's own, and those of what was kept. All else came from
    /// the server.
    own: Vec<u64>,
    readonly: bool,
    connected: bool,
    /// On this connection the server was told what it lacked: edits may leave one by one.
    told: bool,
    /// The server could not take something: it is to be told anew, some time later.
    refused: bool,
    /// How often it was told anew since all was saved.
    resent: u32,
    /// The text is at least as new as the server's was once.
    synced: bool,
}

impl Client {
    /// `id` is random, and new with every visit; `kept` is what [`Client::to_keep`] gave at the end of the last one.
    pub fn new(id: u32, readonly: bool, kept: Option<Vec<u8>>) -> Self {
        let text = SharedText::new(id);
        Self {
            presence: Presence::new(text.client()),
            own: vec![text.client()],
            text,
            saving: Saving::default(),
            waiting: vec![],
            sync_waits: false,
            kept,
            readonly,
            connected: false,
            told: false,
            refused: false,
            resent: 0,
            synced: false,
        }
    }

    /// What the text area shows.
    pub fn shown(&self) -> &str {
        self.text.shown()
    }

    /// Whether one may type: never before the server's text is here, or what is shown would be merged with itself.
    pub fn is_editable(&self) -> bool {
        self.synced && !self.readonly
    }

    /// The connection stands. Returns what is to be sent.
    pub fn connected(&mut self, now: f64) -> Vec<Vec<u8>> {
        self.connected = true;
        (self.told, self.refused) = (false, false);
        self.saving.reconnected();
        let vector = self.text.state_vector();
        let mut frames = vec![Message::SyncStep1(&vector).encode()];
        frames.extend(self.presence.connected(now).map(awareness));
        frames
    }

    pub fn disconnected(&mut self) {
        self.connected = false;
        (self.told, self.refused) = (false, false);
        self.saving.reconnected();
        self.presence.disconnected();
    }

    /// Takes a binary frame; the error says what could not be read, and what came before it counts.
    pub fn receive(&mut self, frame: &[u8], now: f64) -> (Outcome, Result<(), String>) {
        let mut outcome = Outcome::default();
        for message in decode(frame) {
            let read = message
                .map_err(|error| error.to_string())
                .and_then(|message| self.take(message, now, &mut outcome));
            if let Err(fault) = read {
                return (outcome, Err(fault));
            }
        }
        (outcome, Ok(()))
    }

    /// Puts what waits into the text. Not while something is composed: the text area is not to be touched then. Says whether
    /// the shown text is another now; the frames are to be sent; the error says what could not be applied.
    pub fn take_waiting(&mut self) -> (bool, Vec<Vec<u8>>, Result<(), String>) {
        let waiting = std::mem::take(&mut self.waiting);
        let (mut changed, mut read) = self.text.apply(waiting.iter().map(Vec::as_slice));
        let mut frames = vec![];
        if std::mem::take(&mut self.sync_waits) && !self.synced {
            self.synced = true;
            // Only now: what was kept builds upon what the server has.
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

    /// Takes over what the text area holds, with its caret. Returns what is to be sent.
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

    /// A step back may bring as much as the largest edit, and is not to be refused either.
    fn may_step(&self) -> bool {
        self.is_editable() && self.saving.unsaved_bytes() + STEP_BYTES <= UNSAVED_BYTES
    }

    /// Undoes the last step that was made here; `None` when there is none that changes anything.
    pub fn undo(&mut self, now: f64) -> Option<Step> {
        self.step(now, SharedText::undo)
    }

    pub fn redo(&mut self, now: f64) -> Option<Step> {
        self.step(now, SharedText::redo)
    }

    /// The server told what is on its disk.
    pub fn saved(&mut self, state_vector: &str, updates: u64) {
        let vector = STANDARD.decode(state_vector).ok();
        let clocks = vector.and_then(|vector| decode_state_vector(&vector).ok());
        if let Some(clocks) = clocks {
            self.saving.saved(clocks, updates);
        }
        if self.saving.is_saved() {
            self.resent = 0;
        }
    }

    /// The server could not take an update now, and keeps nothing of it: no edit leaves until all of them do, with
    /// [`Client::resend`]. Returns how often that was tried since all was saved.
    pub fn refused(&mut self) -> u32 {
        (self.told, self.refused) = (false, true);
        self.resent
    }

    /// After a refusal, and a while: tells the server what was written here and is not on its disk. `None` where it was told
    /// meanwhile.
    pub fn resend(&mut self) -> Option<Vec<u8>> {
        if !(self.connected && self.refused) {
            return None;
        }
        // What others wrote the server has, saved or not: with all of it the message might be too long.
        let mut known = self.clocks();
        let own = self.own.iter();
        known.extend(own.map(|client| (*client, self.saving.clock(*client))));
        let lacks = self.text.difference(&encode_state_vector(&known))?;
        self.resent += 1;
        Some(self.tell(&lacks))
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
            _ if self.told && self.saving.is_saved() && self.is_covered() => Mark::Saved,
            _ => Mark::Saving,
        }
    }

    /// What is lost if the tab goes now and the server fails: to be kept in the tab's storage.
    pub fn to_keep(&self) -> Option<Vec<u8>> {
        if !self.synced {
            return self.kept.clone();
        }
        let unsaved = self.saving.unsaved() > 0;
        unsaved
            .then(|| self.text.difference(&self.saving.state_vector()))
            .flatten()
    }

    /// Sets who one is and where one's caret is; `None` leaves. Returns what is to be sent.
    pub fn set_state(&mut self, state: Option<&State>, now: f64) -> Option<Vec<u8>> {
        let told = self.presence.set(state, now);
        told.filter(|_| self.connected).map(awareness)
    }

    /// Time passed: to be called every few seconds.
    pub fn tick(&mut self, now: f64) -> Outcome {
        let heard = self.presence.tick(now);
        Outcome {
            people_changed: heard.changed,
            frames: heard
                .send
                .filter(|_| self.connected)
                .map(awareness)
                .into_iter()
                .collect(),
            ..Outcome::default()
        }
    }

    /// Everybody else whose state is known, Yjs's own clients among them.
    pub fn others(&self) -> impl Iterator<Item = (u64, &State)> {
        self.presence.others()
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

    fn take(&mut self, message: Message, now: f64, outcome: &mut Outcome) -> Result<(), String> {
        match message {
            Message::SyncStep1(vector) => {
                let lacks = self.text.difference(vector);
                let lacks = lacks.ok_or("a state vector cannot be read")?;
                if !self.readonly {
                    outcome.frames.push(self.tell(&lacks));
                }
            }
            Message::SyncStep2(update) => {
                self.waiting.push(update.to_vec());
                self.sync_waits = true;
            }
            Message::Update(update) => self.waiting.push(update.to_vec()),
            Message::Awareness(states) => {
                let states = decode_awareness(states).map_err(|error| error.to_string())?;
                let heard = self.presence.hear(states, now);
                outcome.people_changed |= heard.changed;
                outcome.frames.extend(heard.send.map(awareness));
            }
            Message::QueryAwareness => {
                outcome
                    .frames
                    .extend(self.presence.connected(now).map(awareness));
            }
            Message::Denied(why) => outcome.denied = Some(why.to_owned()),
        }
        outcome.text_waits = !self.waiting.is_empty();
        Ok(())
    }

    /// The server is told all that it lacks.
    fn tell(&mut self, lacks: &[u8]) -> Vec<u8> {
        self.saving.sent_all();
        (self.told, self.refused) = (true, false);
        Message::SyncStep2(lacks).encode()
    }

    /// How many clocks of each client are in the text.
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

    /// What leaves now; nothing while the server was not told what it lacks: then it is in what it will be told.
    fn send(&mut self, updates: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let leaves = self.connected && self.told;
        for update in &updates {
            self.saving.edited(update.len(), leaves);
        }
        let frames = updates
            .iter()
            .map(|update| Message::Update(update).encode());
        frames.filter(|_| leaves).collect()
    }
}

fn awareness(states: Vec<u8>) -> Vec<u8> {
    Message::Awareness(&states).encode()
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
