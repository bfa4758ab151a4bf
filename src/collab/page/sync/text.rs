//! One client's copy of the shared text: a Yjs document with one plain text, its undo history, and positions that move
//! with the text.
//!
//! Pure: time and random numbers are passed in, updates are returned as bytes. The document always holds exactly what
//! the text area displays. Updates that arrive during a composition wait outside, so that an edit always refers to the
//! text that its user saw.

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
    rendered::Rendered,
    splice::{pieces, splice_between, units},
};
use crate::{collab::ROOT, web::text_rules::with_line_feeds};

/// Longer insertions are split into several updates, so that none delays the messages behind it for long.
pub const UPDATE_BYTES: usize = 512 * 1024;
/// An edit that inserts or removes more bytes than this cannot be undone: an undo step is sent as one message, and the
/// server accepts 4 MiB.
pub const STEP_BYTES: usize = 2 * 1024 * 1024;
/// The maximum length of a document's text, in bytes. The server accepts documents of 8 MiB, and the history needs room
/// beside the text.
pub const TEXT_BYTES: usize = 6 * 1024 * 1024;

/// The origin of transactions that can be undone here. Only own edits can be undone.
const LOCAL: &str = "local";
const REMOTE: &str = "remote";
/// Edits within this time are undone together, in milliseconds. Yjs has the same default.
const UNDO_TOGETHER_MS: u64 = 500;

/// The updates of an undo or redo step, to be sent, and the caret's new position if the displayed text changed.
pub type Undone = (Vec<Vec<u8>>, Option<u32>);

/// The text would be too long; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The selection in the text area, in UTF-16 units of the displayed text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub start: u32,
    pub end: u32,
    /// The caret is at the start.
    pub backward: bool,
}

impl Selection {
    /// An empty selection with the caret at this position.
    pub fn caret(at: u32) -> Self {
        Self {
            start: at,
            end: at,
            backward: false,
        }
    }

    /// The caret's position.
    pub fn head(self) -> u32 {
        if self.backward { self.start } else { self.end }
    }
}

/// A selection that moves with the text. Text that others insert at a caret goes behind it. Text that they insert at
/// the ends of a selection stays outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSelection {
    start: RelativePosition,
    end: RelativePosition,
    backward: bool,
}

impl HeldSelection {
    /// The form in which other clients receive it.
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

/// One client's copy of the document.
pub struct SharedText {
    doc: Doc,
    text: TextRef,
    undo: UndoManager,
    /// The undo manager's clock: the time of the current edit.
    time: Arc<AtomicU64>,
    /// The updates of the current edit, to be sent to others. A std mutex, because yrs requires its observers to be
    /// `Sync`; it is held for a push only.
    made: Arc<Mutex<Vec<Vec<u8>>>>,
    shown: Rendered,
}

impl SharedText {
    /// An empty text. `client` is random, has 32 bits as in Yjs, and is new for every copy: two copies with the same id
    /// would break the document.
    pub fn new(client: u32) -> Self {
        let mut options = yrs::Options::with_client_id(ClientID::new(client.into()));
        options.offset_kind = OffsetKind::Utf16;
        // It would delete formats of other clients without sending an update.
        options.cleanup_formatting = false;
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text(ROOT);
        // Starts at 1, because the undo manager uses 0 as the mark of a new step.
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
        let sink = made.clone();
        let remote = Origin::from(REMOTE);
        let observed = doc.observe_update_v1(LOCAL, move |transaction, event| {
            if transaction.origin() != Some(&remote) {
                lock(&sink).push(event.update.clone());
            }
        });
        debug_assert!(observed.is_ok(), "no transaction is open");
        Self {
            doc,
            text,
            undo,
            time,
            made,
            shown: Rendered::default(),
        }
    }

    pub fn client(&self) -> u64 {
        self.doc.client_id().get()
    }

    /// The text that the text area displays.
    pub fn shown(&self) -> &str {
        self.shown.text()
    }

    /// Adopts the text area's value after an edit, with its caret. Returns the updates to be sent.
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
        // Not beyond the end, where yrs panics.
        let length = self.text.len(&self.doc.transact());
        let at = self.shown.to_document(splice.at).min(length);
        let end = self.shown.to_document(splice.at + splice.removed);
        let removed = end.min(length) - at;
        let mut pieces = pieces(splice.inserted, UPDATE_BYTES);
        let mut place = at;
        {
            // Typing over a selection is one update.
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

    /// Applies updates of other clients. Returns whether the displayed text changed, and an error if an update could
    /// not be read.
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

    /// Undoes the last own step; `None` if no step changes anything.
    pub fn undo(&mut self, now: f64) -> Option<Undone> {
        self.step(now, UndoManager::undo_blocking)
    }

    pub fn redo(&mut self, now: f64) -> Option<Undone> {
        self.step(now, UndoManager::redo_blocking)
    }

    /// Makes the next edit a step of its own.
    pub fn end_step(&mut self) {
        self.undo.reset();
    }

    /// The state vector of this copy, encoded (v1).
    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// What a peer with this state vector lacks, including all deletions; `None` if the state vector is invalid.
    pub fn difference(&self, state_vector: &[u8]) -> Option<Vec<u8>> {
        let known = StateVector::decode_v1(state_vector).ok()?;
        Some(self.doc.transact().encode_diff_v1(&known))
    }

    /// Whether a peer with these clocks has every character of this copy.
    pub fn is_covered_by(&self, clock_of: impl Fn(u64) -> u32) -> bool {
        let ours = self.doc.transact().state_vector();
        ours.iter()
            .all(|(client, clock)| *clock <= clock_of(client.get()))
    }

    /// Converts a selection to one that moves with the text.
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

    /// The current place of a held selection.
    pub fn find(&self, held: &HeldSelection) -> Option<Selection> {
        let (start, end) = (self.index_of(&held.start)?, self.index_of(&held.end)?);
        Some(Selection {
            start: start.min(end),
            end: end.max(start),
            backward: held.backward,
        })
    }

    /// A position's index in the displayed text; `None` if it is not known here (yet), or is not in this text.
    pub fn index_of(&self, position: &RelativePosition) -> Option<u32> {
        let transaction = self.doc.transact();
        let offset = position.to_sticky()?.get_offset(&transaction)?;
        let here = offset.branch == BranchPtr::from(AsRef::<Branch>::as_ref(&self.text));
        here.then(|| self.shown.to_rendered(offset.index))
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
            // Next to deleted text, and at the end, only one of the two sides may be valid.
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
        // Only the document knows which of several equal letters was restored or removed. Comparing the texts before
        // and after would not show it.
        let end = Arc::<AtomicU32>::default();
        let observed_end = end.clone();
        self.text.observe(LOCAL, move |transaction, event| {
            observed_end.store(end_of(event.delta(transaction)), Ordering::Relaxed);
        });
        step(&mut self.undo);
        self.text.unobserve(LOCAL);
        let changed = self.refresh();
        // The next edit is not merged with the undone step.
        self.end_step();
        let made = self.take_made();
        // If a letter is restored where an equal one is removed, the displayed text is the same, but others still need
        // the update.
        let caret = changed.then(|| self.shown.to_rendered(end.load(Ordering::Relaxed)));
        (!made.is_empty()).then_some((made, caret))
    }

    /// Never sets the time back, because the undo manager subtracts.
    fn set_time(&self, now: f64) {
        self.time.fetch_max(now.max(1.0) as u64, Ordering::Relaxed);
    }

    fn refresh(&mut self) -> bool {
        let shown = Rendered::of(&self.text, &self.doc.transact());
        let changed = shown.text() != self.shown.text();
        self.shown = shown;
        changed
    }

    fn take_made(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *lock(&self.made))
    }
}

/// Where the last changed part ends, in UTF-16 units of the changed text.
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

/// A panic while the lock is held leaves a complete list of updates.
fn lock(made: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
