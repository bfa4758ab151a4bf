//! The shared text as one client holds it: a Yjs document with one plain text, its undo, and places that move with it.
//!
//! Pure: time and chance are passed in, updates come out as bytes. The document always holds exactly what the text area
//! shows; updates of others that come while a person is composing wait outside, so that an edit is always of what they saw.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use yrs::{
    Any, Assoc, ClientID, Doc, IndexedSequence, Observable, OffsetKind, Origin, Out, ReadTxn,
    StateVector, Text, TextRef, Transact, UndoManager, Update,
    branch::{Branch, BranchPtr},
    types::Delta,
    undo,
    updates::{decoder::Decode, encoder::Encode},
};

use super::{
    awareness::Cursor,
    position::RelativePosition,
    rendered::Shown,
    splice::{pieces, splice_between, units},
};
use crate::collab::ROOT;
use crate::web::text_rules::with_line_feeds;

/// Longer insertions leave in several updates: none holds up what comes after it for long.
pub const UPDATE_BYTES: usize = 512 * 1024;
/// An edit that puts in or takes out more than this, in bytes, cannot be undone: what a step brings back leaves as one message,
/// and the server takes 4 MiB.
pub const STEP_BYTES: usize = 2 * 1024 * 1024;
/// What a document's text may be long in bytes: the server takes documents of 8 MiB, and a history needs room beside the text.
pub const TEXT_BYTES: usize = 6 * 1024 * 1024;

/// Whose transactions can be undone here. No others: undo is one's own.
const LOCAL: &str = "local";
const REMOTE: &str = "remote";
/// Edits within this are undone together, in milliseconds; Yjs's own default.
const UNDO_TOGETHER_MS: u64 = 500;

/// What others must be told of a step that was undone (or done again), and where the caret goes, when anything is shown
/// otherwise.
pub type Undone = (Vec<Vec<u8>>, Option<u32>);

/// The text would be too long; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What is selected in the text area, in UTF-16 units of the shown text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub start: u32,
    pub end: u32,
    /// The caret is at its start.
    pub backward: bool,
}

impl Selection {
    /// Nothing is selected, and the caret is here.
    pub fn caret(at: u32) -> Self {
        Self {
            start: at,
            end: at,
            backward: false,
        }
    }

    /// Where the caret is.
    pub fn head(self) -> u32 {
        if self.backward { self.start } else { self.end }
    }
}

/// A selection that moves with the text. What others put at a caret comes behind it; what they put at the ends of a
/// selection stays outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSelection {
    start: RelativePosition,
    end: RelativePosition,
    backward: bool,
}

impl HeldSelection {
    /// As others are told of it.
    pub fn cursor(self) -> Cursor {
        let Self {
            start,
            end,
            backward,
        } = self;
        if backward {
            Cursor {
                anchor: end,
                head: start,
            }
        } else {
            Cursor {
                anchor: start,
                head: end,
            }
        }
    }
}

/// One client's copy.
pub struct SharedText {
    doc: Doc,
    text: TextRef,
    undo: UndoManager,
    /// What the undo manager takes for the time: the time of the edit that is being made.
    time: Arc<AtomicU64>,
    /// What the edit that is being made has to tell others. A std mutex, because yrs wants its observers `Sync`; it is
    /// held for a push.
    made: Arc<Mutex<Vec<Vec<u8>>>>,
    shown: Shown,
}

impl SharedText {
    /// An empty text. `client` is random, 32 bits as in Yjs, and new with every copy: two that share one break the document.
    pub fn new(client: u32) -> Self {
        let mut options = yrs::Options::with_client_id(ClientID::new(client.into()));
        options.offset_kind = OffsetKind::Utf16;
        // It would delete others' formats in passing, and tell nobody.
        options.cleanup_formatting = false;
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text(ROOT);
        // From 1 on: 0 is the undo manager's sign for a new step.
        let time = Arc::new(AtomicU64::new(1));
        let clock = time.clone();
        let mut undo = UndoManager::with_options(undo::Options {
            capture_timeout_millis: UNDO_TOGETHER_MS,
            tracked_origins: HashSet::from([Origin::from(LOCAL)]),
            capture_transaction: None,
            timestamp: Arc::new(move || clock.load(Ordering::Relaxed)),
            init_undo_stack: vec![],
            init_redo_stack: vec![],
        });
        undo.expand_scope(&doc, &text);
        let made = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let told = made.clone();
        let remote = Origin::from(REMOTE);
        let observed = doc.observe_update_v1(LOCAL, move |transaction, event| {
            if transaction.origin() != Some(&remote) {
                lock(&told).push(event.update.clone());
            }
        });
        debug_assert!(observed.is_ok(), "no transaction is open");
        Self {
            doc,
            text,
            undo,
            time,
            made,
            shown: Shown::default(),
        }
    }

    pub fn client(&self) -> u64 {
        self.doc.client_id().get()
    }

    /// What the text area shows.
    pub fn shown(&self) -> &str {
        self.shown.text()
    }

    /// Takes over what the text area holds after an edit, with its caret. Returns what others must be told.
    pub fn edit(&mut self, value: &str, caret: u32, now: f64) -> Result<Vec<Vec<u8>>, TooLong> {
        let value = with_line_feeds(value);
        let Some(splice) = splice_between(self.shown.text(), &value, caret) else {
            return Ok(vec![]);
        };
        if value.len() > TEXT_BYTES && value.len() > self.shown.text().len() {
            return Err(TooLong);
        }
        let taken_out = self.shown.text().len() + splice.inserted.len() - value.len();
        let weight = splice.inserted.len().max(taken_out);
        self.set_time(now);
        // Never beyond the end: yrs panics there.
        let length = self.text.len(&self.doc.transact());
        let at = self.shown.to_document(splice.at).min(length);
        let end = self.shown.to_document(splice.at + splice.removed);
        let removed = end.min(length) - at;
        let mut pieces = pieces(splice.inserted, UPDATE_BYTES);
        let mut place = at;
        {
            // What is typed over a selection is one update.
            let mut transaction = self.doc.transact_mut_with(LOCAL);
            if removed > 0 {
                self.text.remove_range(&mut transaction, at, removed);
            }
            if let Some(first) = pieces.next() {
                self.text.insert(&mut transaction, place, first);
                place += units(first);
            }
        }
        for piece in pieces {
            let mut transaction = self.doc.transact_mut_with(LOCAL);
            self.text.insert(&mut transaction, place, piece);
            place += units(piece);
        }
        if weight > STEP_BYTES {
            self.undo.clear_all();
        }
        self.refresh();
        Ok(self.take_made())
    }

    /// Applies what others did. Says whether the shown text is another now, and whether all could be read.
    pub fn apply<'a>(
        &mut self,
        updates: impl IntoIterator<Item = &'a [u8]>,
    ) -> (bool, Result<(), String>) {
        let mut fault = Ok(());
        {
            let mut transaction = self.doc.transact_mut_with(REMOTE);
            for update in updates {
                let update = Update::decode_v1(update).map_err(|error| error.to_string());
                let applied = update.and_then(|update| {
                    transaction
                        .apply_update(update)
                        .map_err(|error| error.to_string())
                });
                if applied.is_err() {
                    fault = applied;
                }
            }
        }
        (self.refresh(), fault)
    }

    pub fn can_undo(&self) -> bool {
        self.undo.can_undo()
    }

    pub fn can_redo(&self) -> bool {
        self.undo.can_redo()
    }

    /// Undoes one's own last step; `None` when there is none that changes anything.
    pub fn undo(&mut self, now: f64) -> Option<Undone> {
        self.step(now, UndoManager::undo_blocking)
    }

    pub fn redo(&mut self, now: f64) -> Option<Undone> {
        self.step(now, UndoManager::redo_blocking)
    }

    /// The next edit is a step of its own.
    pub fn end_step(&mut self) {
        self.undo.reset();
    }

    /// What is known here, encoded (v1).
    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// What whoever has `state_vector` lacks, all deletions included; `None` when that is no state vector.
    pub fn difference(&self, state_vector: &[u8]) -> Option<Vec<u8>> {
        let known = StateVector::decode_v1(state_vector).ok()?;
        Some(self.doc.transact().encode_diff_v1(&known))
    }

    /// Whether who has so many clocks of each client has every character that is known here.
    pub fn is_covered_by(&self, clock_of: impl Fn(u64) -> u32) -> bool {
        let ours = self.doc.transact().state_vector();
        ours.iter()
            .all(|(client, clock)| *clock <= clock_of(client.get()))
    }

    /// Takes hold of a selection.
    pub fn hold(&self, selection: Selection) -> HeldSelection {
        let Selection {
            start,
            end,
            backward,
        } = selection;
        let before_start = if start == end {
            Assoc::Before
        } else {
            Assoc::After
        };
        HeldSelection {
            start: self.position(start, before_start),
            end: self.position(end, Assoc::Before),
            backward,
        }
    }

    /// Where what was held is now.
    pub fn find(&self, held: &HeldSelection) -> Option<Selection> {
        let (start, end) = (self.index_of(&held.start)?, self.index_of(&held.end)?);
        Some(Selection {
            start: start.min(end),
            end: end.max(start),
            backward: held.backward,
        })
    }

    /// Where a position is in the shown text; `None` when it is not known here (yet), or is not in this text.
    pub fn index_of(&self, position: &RelativePosition) -> Option<u32> {
        let transaction = self.doc.transact();
        let offset = position.to_sticky()?.get_offset(&transaction)?;
        let here = offset.branch == BranchPtr::from(AsRef::<Branch>::as_ref(&self.text));
        here.then(|| self.shown.to_shown(offset.index))
    }

    fn position(&self, index: u32, assoc: Assoc) -> RelativePosition {
        let index = self.shown.to_document(index);
        let transaction = self.doc.transact();
        let other = match assoc {
            Assoc::Before => Assoc::After,
            Assoc::After => Assoc::Before,
        };
        let held = [assoc, other].into_iter().find_map(|assoc| {
            let held = self.text.sticky_index(&transaction, index, assoc)?;
            // Beside what was deleted, and at the end, only one of the two sides may do.
            (held.get_offset(&transaction)?.index == index).then_some(held)
        });
        let end = || {
            let root = yrs::IndexScope::Root(ROOT.into());
            yrs::StickyIndex::new(root, Assoc::After)
        };
        RelativePosition::new(&held.unwrap_or_else(end), ROOT)
    }

    fn step(&mut self, now: f64, step: fn(&mut UndoManager) -> bool) -> Option<Undone> {
        self.set_time(now);
        // The document knows which of many equal letters was put back or taken away; the texts before and after do not.
        let end = Arc::<AtomicU32>::default();
        let told = end.clone();
        self.text.observe(LOCAL, move |transaction, event| {
            told.store(end_of(event.delta(transaction)), Ordering::Relaxed);
        });
        step(&mut self.undo);
        self.text.unobserve(LOCAL);
        let changed = self.refresh();
        // The next edit is not joined with what was undone.
        self.end_step();
        let made = self.take_made();
        // A letter that is put back where the same one is taken away: nothing is seen of it, and others must know.
        let caret = changed.then(|| self.shown.to_shown(end.load(Ordering::Relaxed)));
        (!made.is_empty()).then_some((made, caret))
    }

    /// Never back: the undo manager subtracts.
    fn set_time(&self, now: f64) {
        self.time.fetch_max(now.max(1.0) as u64, Ordering::Relaxed);
    }

    fn refresh(&mut self) -> bool {
        let shown = Shown::of(&self.text, &self.doc.transact());
        let changed = shown.text() != self.shown.text();
        self.shown = shown;
        changed
    }

    fn take_made(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *lock(&self.made))
    }
}

/// Where the last part of a change ends, in UTF-16 units of the changed text.
fn end_of(delta: &[Delta]) -> u32 {
    let (mut at, mut end) = (0, 0);
    for part in delta {
        at += match part {
            Delta::Retain(length, _) => *length,
            Delta::Inserted(Out::Any(Any::String(text)), _) => units(text),
            Delta::Inserted(..) => 1,
            Delta::Deleted(_) => 0,
        };
        if !matches!(part, Delta::Retain(..)) {
            end = at;
        }
    }
    end
}

/// A panic while it was held leaves a list of updates, whole.
fn lock(made: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
