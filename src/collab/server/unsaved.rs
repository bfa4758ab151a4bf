//! The changes of a document that are not on disk yet. Pure.
//!
//! The list is bounded: if the storage is unavailable for an hour, it must not fill the memory. An update that does not
//! fit is refused, and its sender keeps it: the sender's document holds everything that the server lacks.

use std::collections::VecDeque;

use bytes::Bytes;

use super::document::DOCUMENT_BYTES;
use crate::collab::protocol::Clocks;

/// The maximum size of all unsaved changes, in bytes: twice the size of a document, so that healthy storage never
/// reaches it.
const MOST_BYTES: usize = 2 * DOCUMENT_BYTES;
/// The maximum number of unsaved changes. Each costs about 200 bytes in addition to its own.
const MOST_CHANGES: usize = 32 * 1024;
/// One write holds at most this many bytes of updates, unless a single one is larger.
const WRITE_BYTES: usize = 256 * 1024;

/// The unsaved changes, oldest first.
#[derive(Debug, Default)]
pub struct Unsaved {
    changes: VecDeque<Change>,
    bytes: usize,
    /// The number of the newest change, counted from when the board was opened.
    newest: u64,
}

#[derive(Debug)]
struct Change {
    update: Bytes,
    moved: Vec<(u64, u32)>,
}

/// The oldest changes, for one write.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    pub updates: Vec<Bytes>,
    /// The clients whose clocks the changes moved, with their new clocks.
    pub moved: Clocks,
    /// The number of the last change.
    pub sequence: u64,
}

impl Unsaved {
    /// Whether an update of this size may be accepted. The first one always may.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.changes.is_empty()
            || (self.changes.len() < MOST_CHANGES && self.bytes + bytes <= MOST_BYTES)
    }

    /// Whether refused clients may try again. There may be many of them.
    pub fn is_half_empty(&self) -> bool {
        self.changes.len() <= MOST_CHANGES / 2 && self.bytes <= MOST_BYTES / 2
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds a change. `moved`: the clients whose clocks it moved.
    pub fn push(&mut self, update: Bytes, moved: Vec<(u64, u32)>) {
        self.newest += 1;
        self.bytes += update.len();
        self.changes.push_back(Change { update, moved });
    }

    /// The number of the newest change.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// All unsaved updates.
    pub fn updates(&self) -> Vec<Bytes> {
        let changes = self.changes.iter();
        changes.map(|change| change.update.clone()).collect()
    }

    /// The changes for the next write; `None` if there are none.
    pub fn oldest(&self) -> Option<Batch> {
        let written = self.newest - self.changes.len() as u64;
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let first = bytes == 0;
            bytes += change.update.len();
            first || bytes <= WRITE_BYTES
        };
        let (mut updates, mut moved) = (vec![], Clocks::new());
        for change in self.changes.iter().take_while(fits) {
            updates.push(change.update.clone());
            moved.extend(change.moved.iter().copied());
        }
        let sequence = written + updates.len() as u64;
        (!updates.is_empty()).then_some(Batch {
            updates,
            moved,
            sequence,
        })
    }

    /// Removes a batch that is on disk.
    pub fn written(&mut self, batch: &Batch) {
        let written = self.changes.drain(..batch.updates.len());
        self.bytes -= written.map(|change| change.update.len()).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_the_newest_clock_of_each_client_that_moved() {
        let mut unsaved = Unsaved::default();
        assert_eq!(unsaved.oldest(), None);
        unsaved.push(Bytes::from_static(b"a"), vec![(1, 1)]);
        unsaved.push(Bytes::from_static(b"b"), vec![(1, 2), (2, 7)]);
        unsaved.push(Bytes::from_static(b"a deletion"), vec![]);
        let batch = unsaved.oldest().unwrap();
        assert_eq!(
            (batch.sequence, &batch.moved),
            (3, &Clocks::from([(1, 2), (2, 7)]))
        );
        unsaved.push(Bytes::from_static(b"later"), vec![(2, 8)]);
        unsaved.written(&batch);
        let batch = unsaved.oldest().unwrap();
        assert_eq!((batch.sequence, batch.updates.len()), (4, 1));
        unsaved.written(&batch);
        assert_eq!((unsaved.oldest(), unsaved.bytes), (None, 0));
    }

    #[test]
    fn unsaved_changes_are_bounded_in_bytes_and_in_number_and_a_write_makes_room() {
        let mut unsaved = Unsaved::default();
        let quarter = Bytes::from(vec![0; MOST_BYTES / 4]);
        assert!(unsaved.has_room(2 * MOST_BYTES), "the first always may");
        for _ in 0..4 {
            assert!(unsaved.has_room(quarter.len()));
            unsaved.push(quarter.clone(), vec![]);
        }
        assert!(!unsaved.has_room(1) && !unsaved.is_half_empty());
        let batch = unsaved.oldest().unwrap();
        assert_eq!(
            batch.updates.len(),
            1,
            "one that is large is a write of its own"
        );
        unsaved.written(&batch);
        assert!(unsaved.has_room(quarter.len()));

        let mut unsaved = Unsaved::default();
        for _ in 0..MOST_CHANGES {
            assert!(unsaved.has_room(1));
            unsaved.push(Bytes::from_static(b"x"), vec![(1, 1)]);
        }
        assert!(!unsaved.has_room(1));
    }
}
