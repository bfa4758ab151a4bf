//! One shared text. Foreign bytes reach yrs in two functions only: an update in [`Document::take`], the guarded
//! function, and a state vector in [`Document::difference`], which scans it first and changes nothing.
//!
//! yrs trusts its input. A hostile update can make it panic while a transaction is open. The transaction's destructor
//! then commits, panics again, and so aborts the process. Other updates are accepted and leave a document that can no
//! longer be encoded. Therefore the bytes are scanned first (`update_validation.rs`), the transaction's destructor is suppressed,
//! applying and committing are caught one by one, and the change is encoded and decoded again before it is passed on.
//! After [`Refusal::Harmful`] the document must not be used again. Its owner loads it from the log, which holds only
//! verified changes. The broken one is leaked, because its transaction never ends; `offenders.rs` bounds that.

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

use super::update_validation::{NESTED_TYPES, ScanError, Scanned, scan, scan_state_vector};
use crate::collab::{
    ROOT,
    protocol::{Clocks, encode_state_vector},
};

/// The maximum size of a document, in bytes of its updates.
pub const DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// The maximum number of clients whose edits one document may hold; each page that writes is one. All of them are in
/// the state vector, which every new connection is sent twice: up to 1 MB. The size of what is sent for an edit does
/// not depend on their number.
pub const CLIENTS: usize = 32 * 1024;
/// A document that seems full is measured after this many accepted bytes since the last measurement, ...
const MEASURE_AFTER: usize = 64 * 1024;
/// ... or after any accepted bytes and this time. Measuring costs as much as encoding the whole document.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// A shared text.
pub struct Document {
    doc: Doc,
    /// The clocks of each client. The same as yrs's state vector, which yrs builds as a new map of all clients on every
    /// call. The cost of an edit must not grow with the number of clients that wrote before.
    clocks: Clocks,
    /// When the document was last measured because it seemed full.
    measured: Option<Instant>,
    /// The bytes accepted since the last measurement.
    unmeasured: usize,
    /// The approximate size of the encoded document: exact after [`Document::snapshot`], otherwise an upper bound.
    bytes: usize,
    nested_types: usize,
}

/// The effect of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What the update changed, to be stored and sent to the others; `None` if all of it was known.
    pub change: Option<Vec<u8>>,
    /// The update builds on updates that the document lacks. That part is not kept: the sender has the rest, and sends
    /// all of it in answer to a sync step 1.
    pub incomplete: bool,
    /// The clients whose clocks the change moved, with their new clocks. A deletion moves none.
    pub moved: Vec<(u64, u32)>,
}

/// Why an update was refused.
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
    /// The document is broken and must be loaded again. Another call would wait for its lock forever.
    #[error("the update would harm the document")]
    Harmful,
}

impl Default for Document {
    fn default() -> Self {
        let options = Options {
            offset_kind: OffsetKind::Utf16,
            // It would remove formats of other clients that no longer have a visible effect. The server makes no edits
            // of its own.
            cleanup_formatting: false,
            ..Options::default()
        };
        let doc = Doc::with_options(options);
        // The type of the root must be known before the first update names it.
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
    /// Applies an untrusted update.
    pub fn take(&mut self, update: &[u8]) -> Result<Applied, Refusal> {
        let found = self.scan(update)?;
        let update = found.without_gaps.as_deref().unwrap_or(update);
        // A pure deletion makes room, sooner or later.
        if found.inserts && !self.has_room(update.len())? {
            return Err(Refusal::Full);
        }
        if found.new_clients > 0 && self.clocks.len() + found.new_clients > CLIENTS {
            return Err(Refusal::Clients);
        }
        if self.nested_types + found.nested_types > NESTED_TYPES {
            return Err(Refusal::Nested);
        }
        let mut applied = self.apply(decode(update)?, found.special)?;
        applied.incomplete |= found.without_gaps.is_some();
        self.count(&applied, found.nested_types);
        Ok(applied)
    }

    /// Applies a stored update. It came out of [`Document::take`] once, here or at another node, so no limits apply. It is
    /// guarded all the same, because the disk is not trusted either.
    pub fn restore(&mut self, update: &[u8]) -> Result<Applied, Refusal> {
        let found = self.scan(update)?;
        let update = found.without_gaps.as_deref().unwrap_or(update);
        let mut applied = self.apply(decode(update)?, found.special)?;
        applied.incomplete |= found.without_gaps.is_some();
        self.count(&applied, found.nested_types);
        Ok(applied)
    }

    fn count(&mut self, applied: &Applied, nested_types: usize) {
        if let Some(change) = &applied.change {
            self.bytes += change.len();
            self.unmeasured += change.len();
            self.nested_types += nested_types;
        }
    }

    /// The approximate number of bytes processed to apply an update of this size: the whole document if it must be
    /// measured first.
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

    /// The number of known clocks of a client.
    fn clock(&self, client: u64) -> u32 {
        self.clocks.get(&client).copied().unwrap_or(0)
    }

    fn fits(&self, bytes: usize) -> bool {
        self.bytes + bytes <= DOCUMENT_BYTES
    }

    /// The counted size is an upper bound, and far too high if much was deleted. Measuring again helps only if
    /// something was accepted since the last time.
    fn is_to_be_measured(&self, bytes: usize) -> bool {
        let lately = |at: Instant| at.elapsed() < MEASURE_EVERY;
        !self.fits(bytes)
            && self.unmeasured > 0
            && (self.unmeasured >= MEASURE_AFTER || !self.measured.is_some_and(lately))
    }

    /// Whether this many bytes fit in.
    fn has_room(&mut self, bytes: usize) -> Result<bool, Refusal> {
        if self.is_to_be_measured(bytes) {
            self.measured = Some(Instant::now());
            self.snapshot()?;
        }
        Ok(self.fits(bytes))
    }

    /// The only place where an update is applied. If [`caught`] returns `None`, the transaction stays open forever and
    /// the document is lost: there is no safe way to close it. `special`: see [`Scanned::special`].
    fn apply(&mut self, update: Update, special: bool) -> Result<Applied, Refusal> {
        // yrs finds the changes of a transaction by comparing the clocks of all clients. An edit of a single client is
        // all new, so its own blocks are the change. They are encoded here, before they are moved into the document.
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
        // The transaction is committed, so its destructor only unlocks the document.
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

    /// What a peer with this state vector lacks.
    pub fn difference(&self, state_vector: &[u8]) -> Result<Vec<u8>, Refusal> {
        scan_state_vector(state_vector)?;
        let known = caught(|| StateVector::decode_v1(state_vector))
            .and_then(Result::ok)
            .ok_or(Refusal::Undecodable)?;
        caught(|| self.doc.transact().encode_diff_v1(&known)).ok_or(Refusal::Harmful)
    }

    /// The whole document as one update that was checked to be decodable.
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

    /// The approximate size of the encoded document.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The known clocks of each client.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// The state vector, encoded.
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

/// The blocks of an update without its deletions: the beginning of an encoded update.
fn encode_blocks(update: &Update) -> Vec<u8> {
    let mut bytes = update.encode_v1();
    let deletions = update.delete_set().encode_v1();
    bytes.truncate(bytes.len() - deletions.len());
    bytes
}

/// The changes of a transaction as an update, and the clocks that it moved. `blocks` are the new blocks, if they are
/// known. Otherwise all clients are compared.
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

/// No transaction is open yet, so a panic here does no harm.
fn decode(update: &[u8]) -> Result<Update, Refusal> {
    caught(|| Update::decode_v1(update))
        .and_then(Result::ok)
        .ok_or(Refusal::Undecodable)
}

/// Checks that an update to be stored and sent can be read again. Returns the number of nested types in it.
fn verify(update: &[u8]) -> Result<usize, Refusal> {
    let found = scan(update, |_| u32::MAX).map_err(|_| Refusal::Harmful)?;
    decode(update).map_err(|_| Refusal::Harmful)?;
    Ok(found.nested_types)
}

/// Returns `None` if the work panics.
fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
