//! One shared text. Bytes of others meet yrs only in [`Document::take`], the guarded function.
//!
//! yrs trusts what it is given. Hostile updates make it panic while a transaction is open, whose destructor commits, panics
//! again and so ends the process; others are taken and leave a document that cannot be encoded any more. So: the bytes are
//! read through first (`scan.rs`), the transaction has no destructor, applying and committing are caught one by one, and what
//! changed is encoded and decoded again before anybody else hears of it. A document that failed is [`Refusal::Harmful`] and of
//! no more use: its owner makes it anew from the log, which holds only what came out of here. The broken one stays in memory
//! (the transaction that never ends holds it), which `harm.rs` bounds.

use std::{
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Transact, Update,
    WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

use super::{
    ROOT,
    scan::{NESTED_TYPES, ScanError, Scanned, scan, scan_state_vector},
};

/// How large a document may grow, in bytes of the updates that it is made of.
pub const DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// Clients whose edits one document may hold; each page that writes is one. All of them are in the state vector, which every
/// newcomer is told, twice: so many are some 750 KB, where a socket's queue takes 1 MiB.
pub const CLIENTS: usize = 32 * 1024;
/// A full document is measured this often at most: that takes as long as encoding it.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// A shared text.
pub struct Document {
    doc: Doc,
    /// When it was last measured because it was full.
    measured: Option<Instant>,
    /// About what the whole would be when encoded: exact after [`Document::snapshot`], an upper bound in between.
    bytes: usize,
    nested_types: usize,
}

/// What an update came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What it changed, to be stored and told to the others; `None` when all of it was known.
    pub change: Option<Vec<u8>>,
    /// It builds on updates that are not here. That part is not kept: the sender has the rest, and gives all of it when asked
    /// with a sync step 1.
    pub incomplete: bool,
}

/// Why an update is not in the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the update cannot be read: {0}")]
    Malformed(#[from] ScanError),
    #[error("the update cannot be decoded")]
    Undecodable,
    #[error("the document would grow beyond {DOCUMENT_BYTES} bytes")]
    Full,
    #[error("a document holds at most {NESTED_TYPES} nested types")]
    Nested,
    #[error("a document holds the edits of at most {CLIENTS} clients; go on in a new one")]
    Clients,
    /// The document is broken and must be made anew: to touch it once more would wait for ever.
    #[error("the update would harm the document")]
    Harmful,
}

impl Default for Document {
    fn default() -> Self {
        let options = Options {
            offset_kind: OffsetKind::Utf16,
            // It would remove formats of others that show nothing any more: the server has no edits of its own.
            cleanup_formatting: false,
            ..Options::default()
        };
        let doc = Doc::with_options(options);
        // What the root is must be known before the first update names it.
        doc.get_or_insert_text(ROOT);
        Self {
            doc,
            measured: None,
            bytes: 0,
            nested_types: 0,
        }
    }
}

impl Document {
    /// Takes an update of anybody's.
    pub fn take(&mut self, update: &[u8]) -> Result<Taken, Refusal> {
        let (found, clients) = self.scan(update)?;
        let update = found.without_gaps.as_deref().unwrap_or(update);
        // What only deletes makes room, sooner or later.
        if found.inserts && !self.has_room(update.len())? {
            return Err(Refusal::Full);
        }
        if found.new_clients > 0 && clients + found.new_clients > CLIENTS {
            return Err(Refusal::Clients);
        }
        if self.nested_types + found.nested_types > NESTED_TYPES {
            return Err(Refusal::Nested);
        }
        let mut taken = self.apply(decode(update)?)?;
        taken.incomplete |= found.without_gaps.is_some();
        if let Some(change) = &taken.change {
            self.bytes += change.len();
            self.nested_types += found.nested_types;
        }
        Ok(taken)
    }

    /// Takes back what was stored. It came out of [`Document::take`] once, so that no bound applies, but it is guarded alike:
    /// a disk is not to be trusted either.
    pub fn restore(&mut self, update: &[u8]) -> Result<(), Refusal> {
        let (found, _) = self.scan(update)?;
        self.bytes += update.len();
        self.nested_types += found.nested_types;
        self.apply(decode(update)?).map(drop)
    }

    /// What is in an update, and how many clients are in the document.
    fn scan(&self, update: &[u8]) -> Result<(Scanned, usize), ScanError> {
        let known = self.doc.transact().state_vector();
        let found = scan(update, |client| known.get(&ClientID::new(client)))?;
        Ok((found, known.len()))
    }

    /// Whether so many bytes fit in. What was counted is an upper bound, far from it where much was deleted.
    fn has_room(&mut self, bytes: usize) -> Result<bool, Refusal> {
        let fits = |document: &Self| document.bytes + bytes <= DOCUMENT_BYTES;
        let lately = |at: Instant| at.elapsed() < MEASURE_EVERY;
        if fits(self) || self.measured.is_some_and(lately) {
            return Ok(fits(self));
        }
        self.measured = Some(Instant::now());
        self.snapshot()?;
        Ok(fits(self))
    }

    /// The one place where an update is applied. `None` from [`caught`] leaves the transaction open for ever, and the
    /// document with it: there is no safe way to close it.
    fn apply(&mut self, update: Update) -> Result<Taken, Refusal> {
        let mut transaction = ManuallyDrop::new(self.doc.transact_mut());
        caught(|| transaction.apply_update(update))
            .and_then(Result::ok)
            .ok_or(Refusal::Harmful)?;
        let incomplete = transaction.has_missing_updates();
        if incomplete {
            caught(|| transaction.prune_pending()).ok_or(Refusal::Harmful)?;
        }
        caught(|| transaction.commit()).ok_or(Refusal::Harmful)?;
        let change = match transaction.has_changes() {
            true => Some(caught(|| transaction.encode_update_v1()).ok_or(Refusal::Harmful)?),
            false => None,
        };
        // Committed: its destructor has nothing left to do but to unlock the document.
        drop(ManuallyDrop::into_inner(transaction));
        if let Some(change) = &change {
            verify(change)?;
        }
        Ok(Taken { change, incomplete })
    }

    /// What a peer lacks that has this state vector.
    pub fn difference(&self, state_vector: &[u8]) -> Result<Vec<u8>, Refusal> {
        scan_state_vector(state_vector)?;
        let known = caught(|| StateVector::decode_v1(state_vector))
            .and_then(Result::ok)
            .ok_or(Refusal::Undecodable)?;
        caught(|| self.doc.transact().encode_diff_v1(&known)).ok_or(Refusal::Harmful)
    }

    /// All of it, as one update that has been seen to decode.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, Refusal> {
        let whole = caught(|| {
            let transaction = self.doc.transact();
            transaction.encode_diff_v1(&StateVector::default())
        });
        let whole = whole.ok_or(Refusal::Harmful)?;
        let found = verify(&whole)?;
        self.bytes = whole.len();
        self.nested_types = found;
        Ok(whole)
    }

    /// About how large the whole is when encoded.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is in it, encoded.
    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// The text.
    pub fn text(&self) -> String {
        let transaction = self.doc.transact();
        let text = transaction.get_text(ROOT);
        text.map(|text| text.get_string(&transaction))
            .unwrap_or_default()
    }
}

/// Nothing is open yet: a panic here harms nothing.
fn decode(update: &[u8]) -> Result<Update, Refusal> {
    caught(|| Update::decode_v1(update))
        .and_then(Result::ok)
        .ok_or(Refusal::Undecodable)
}

/// What will be stored and sent must be readable again. Says how many nested types are in it.
fn verify(update: &[u8]) -> Result<usize, Refusal> {
    let found = scan(update, |_| u32::MAX).map_err(|_| Refusal::Harmful)?;
    decode(update).map_err(|_| Refusal::Harmful)?;
    Ok(found.nested_types)
}

/// `None` for a panic.
fn caught<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
