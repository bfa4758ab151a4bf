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
    Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Transact, TransactionMut, Update,
    WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

use super::scan::{NESTED_TYPES, ScanError, Scanned, scan, scan_state_vector};
use crate::collab::{
    ROOT,
    protocol::{Clocks, encode_state_vector},
};

/// How large a document may grow, in bytes of the updates that it is made of.
pub const DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// Clients whose edits one document may hold; each page that writes is one. All of them are in the state vector, which every
/// newcomer is told, twice: up to 1 MB. What is told of an edit does not depend on them.
pub const CLIENTS: usize = 32 * 1024;
/// A document that seems full is measured when it took this many bytes since it was measured last, ...
const MEASURE_AFTER: usize = 64 * 1024;
/// ... or when it took anything and so much time has passed: measuring takes as long as encoding all of it.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// A shared text.
pub struct Document {
    doc: Doc,
    /// How many clocks of each client it has. The same as yrs's state vector, which is a new map of all clients for every
    /// question: an edit must not cost more the more clients wrote before.
    clocks: Clocks,
    /// When it was last measured because it seemed full.
    measured: Option<Instant>,
    /// What was taken since it was measured, in bytes.
    unmeasured: usize,
    /// About what the whole would be when encoded: exact after [`Document::snapshot`], an upper bound in between.
    bytes: usize,
    nested_types: usize,
}

/// What an update came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What it changed, to be stored and told to the others; `None` when all of it was known.
    pub change: Option<Vec<u8>>,
    /// It builds on updates that are not here. That part is not kept: the sender has the rest, and gives all of it when asked
    /// with a sync step 1.
    pub incomplete: bool,
    /// The clients whose clocks the change moved, each with its new clock. A deletion moves none.
    pub moved: Vec<(u64, u32)>,
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
            clocks: Clocks::new(),
            measured: None,
            unmeasured: 0,
            bytes: 0,
            nested_types: 0,
        }
    }
}

impl Document {
    /// Takes an update of anybody's.
    pub fn take(&mut self, update: &[u8]) -> Result<Applied, Refusal> {
        let found = self.scan(update)?;
        let update = found.without_gaps.as_deref().unwrap_or(update);
        // What only deletes makes room, sooner or later.
        if found.inserts && !self.has_room(update.len())? {
            return Err(Refusal::Full);
        }
        if found.new_clients > 0 && self.clocks.len() + found.new_clients > CLIENTS {
            return Err(Refusal::Clients);
        }
        if self.nested_types + found.nested_types > NESTED_TYPES {
            return Err(Refusal::Nested);
        }
        let mut taken = self.apply(decode(update)?, found.special)?;
        taken.incomplete |= found.without_gaps.is_some();
        if let Some(change) = &taken.change {
            self.bytes += change.len();
            self.unmeasured += change.len();
            self.nested_types += found.nested_types;
        }
        Ok(taken)
    }

    /// Takes back what was stored. It came out of [`Document::take`] once, so that no bound applies, but it is guarded alike:
    /// a disk is not to be trusted either.
    pub fn restore(&mut self, update: &[u8]) -> Result<(), Refusal> {
        let found = self.scan(update)?;
        self.bytes += update.len();
        self.unmeasured += update.len();
        self.nested_types += found.nested_types;
        self.apply(decode(update)?, found.special).map(drop)
    }

    /// About how many bytes are worked through to take an update of so many: all of the document where it is measured first.
    pub fn work_of(&self, bytes: usize) -> usize {
        if self.is_to_be_measured(bytes) {
            self.bytes
        } else {
            bytes
        }
    }

    fn scan(&self, update: &[u8]) -> Result<Scanned, ScanError> {
        scan(update, |client| self.clock(client))
    }

    /// How many clocks of a client it has.
    fn clock(&self, client: u64) -> u32 {
        self.clocks.get(&client).copied().unwrap_or(0)
    }

    fn fits(&self, bytes: usize) -> bool {
        self.bytes + bytes <= DOCUMENT_BYTES
    }

    /// What was counted is an upper bound, far from the truth where much was deleted. To measure again helps only where
    /// something was taken since the last time.
    fn is_to_be_measured(&self, bytes: usize) -> bool {
        let lately = |at: Instant| at.elapsed() < MEASURE_EVERY;
        !self.fits(bytes)
            && self.unmeasured > 0
            && (self.unmeasured >= MEASURE_AFTER || !self.measured.is_some_and(lately))
    }

    /// Whether so many bytes fit in.
    fn has_room(&mut self, bytes: usize) -> Result<bool, Refusal> {
        if self.is_to_be_measured(bytes) {
            self.measured = Some(Instant::now());
            self.snapshot()?;
        }
        Ok(self.fits(bytes))
    }

    /// The one place where an update is applied. `None` from [`caught`] leaves the transaction open for ever, and the
    /// document with it: there is no safe way to close it. `special`: see [`Scanned::special`].
    fn apply(&mut self, update: Update, special: bool) -> Result<Applied, Refusal> {
        // yrs finds out what a transaction changed by comparing the clocks of all clients. An edit of one client is all new,
        // so that its own blocks are what changed, and are encoded here before the document takes them.
        let blocks = match special {
            true => None,
            false => Some(caught(|| encode_blocks(&update)).ok_or(Refusal::Undecodable)?),
        };
        let mut transaction = ManuallyDrop::new(self.doc.transact_mut());
        caught(|| transaction.apply_update(update))
            .and_then(Result::ok)
            .ok_or(Refusal::Harmful)?;
        let incomplete = transaction.has_missing_updates();
        if incomplete {
            caught(|| transaction.prune_pending()).ok_or(Refusal::Harmful)?;
        }
        caught(|| transaction.commit()).ok_or(Refusal::Harmful)?;
        let blocks = blocks.filter(|_| !incomplete);
        let (change, moved) =
            caught(|| changed_by(&transaction, blocks)).ok_or(Refusal::Harmful)?;
        self.clocks.extend(moved.iter().copied());
        // Committed: its destructor has nothing left to do but to unlock the document.
        drop(ManuallyDrop::into_inner(transaction));
        if let Some(change) = &change {
            verify(change)?;
        }
        Ok(Applied {
            change,
            incomplete,
            moved,
        })
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
        self.unmeasured = 0;
        self.nested_types = found;
        Ok(whole)
    }

    /// About how large the whole is when encoded.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many clocks of each client it has.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// What is in it, encoded.
    pub fn state_vector(&self) -> Vec<u8> {
        encode_state_vector(&self.clocks)
    }

    /// The text.
    pub fn text(&self) -> String {
        let transaction = self.doc.transact();
        let text = transaction.get_text(ROOT);
        text.map(|text| text.get_string(&transaction))
            .unwrap_or_default()
    }
}

/// The blocks of an update without its deletions, as an update begins.
fn encode_blocks(update: &Update) -> Vec<u8> {
    let mut bytes = update.encode_v1();
    let deletions = update.delete_set().encode_v1();
    bytes.truncate(bytes.len() - deletions.len());
    bytes
}

/// What a transaction changed, as an update, and the clocks that it moved. `blocks` are those that were new, where they are
/// known; else all clients are gone through.
fn changed_by(
    transaction: &TransactionMut,
    blocks: Option<Vec<u8>>,
) -> (Option<Vec<u8>>, Vec<(u64, u32)>) {
    if !transaction.has_changes() {
        return (None, vec![]);
    }
    let inserted = transaction.insert_set();
    if let Some(blocks) = blocks {
        let deletions = transaction.delete_set().encode_v1();
        let moved = inserted.iter().filter_map(|(client, ranges)| {
            let newest = ranges.iter().next_back()?;
            Some((client.get(), newest.end))
        });
        return (Some([blocks, deletions].concat()), moved.collect());
    }
    let known = transaction.state_vector();
    let moved = inserted.client_ids();
    let moved = moved.map(|client| (client.get(), known.get(&client)));
    (Some(transaction.encode_update_v1()), moved.collect())
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
