//! Tracks which of the own edits are durable. Pure.
//!
//! The server reports what it has on disk: a state vector, and how many of this connection's updates. Deletions do not
//! move a state vector, so the text counts as saved only if both cover it. The first state vector of a connection names
//! every client. Each later one names only the clients whose clock moved, so they are merged here.

use std::collections::VecDeque;

use crate::collab::protocol::{Clocks, encode_state_vector};

/// The own messages and edits, and which of them are durable.
#[derive(Debug, Default)]
pub struct Saving {
    /// The number of updates (and sync steps 2) that were sent on this connection.
    sent: u64,
    /// How many of them are durable.
    durable: u64,
    /// The clocks that the server has on disk.
    clocks: Clocks,
    /// The next state vector is the first one of its connection.
    begins: bool,
    /// Edits that are not known to be durable, oldest first.
    edits: VecDeque<Edit>,
}

#[derive(Debug)]
struct Edit {
    /// The number of its message on this connection, from 1 on; `None` if it was not sent yet.
    message: Option<u64>,
    bytes: usize,
}

impl Saving {
    /// Adds an edit. `sent`: it was sent at once.
    pub fn edited(&mut self, bytes: usize, sent: bool) {
        self.sent += u64::from(sent);
        let message = sent.then_some(self.sent);
        self.edits.push_back(Edit { message, bytes });
    }

    /// A message was sent that holds everything unsent.
    pub fn sent_all(&mut self) {
        self.sent += 1;
        for edit in &mut self.edits {
            edit.message.get_or_insert(self.sent);
        }
    }

    /// The server has this many messages of this connection on disk, and everything up to these clocks.
    pub fn saved(&mut self, clocks: Clocks, messages: u64) {
        if std::mem::take(&mut self.begins) {
            // The clocks of an earlier connection may be of another server, or of a state before a backup was restored.
            self.clocks.clear();
        }
        for (client, clock) in clocks {
            let known = self.clocks.entry(client).or_default();
            *known = clock.max(*known);
        }
        self.durable = self.durable.max(messages);
        let durable = |edit: &Edit| edit.message.is_some_and(|message| message <= self.durable);
        self.edits.retain(|edit| !durable(edit));
    }

    /// A new connection counts from zero. Edits that are not durable yet may never have arrived.
    pub fn reconnected(&mut self) {
        (self.sent, self.durable, self.begins) = (0, 0, true);
        self.edits.iter_mut().for_each(|edit| edit.message = None);
    }

    /// How many clocks of a client are durable.
    pub fn clock(&self, client: u64) -> u32 {
        self.clocks.get(&client).copied().unwrap_or(0)
    }

    /// The durable clocks, as a state vector.
    pub fn state_vector(&self) -> Vec<u8> {
        encode_state_vector(&self.clocks)
    }

    /// The number of edits that are not known to be durable.
    pub fn unsaved(&self) -> usize {
        self.edits.len()
    }

    /// Their size in bytes.
    pub fn unsaved_bytes(&self) -> usize {
        self.edits.iter().map(|edit| edit.bytes).sum()
    }

    /// Whether everything sent on this connection is durable and no edit is unsent.
    pub fn is_saved(&self) -> bool {
        self.edits.is_empty() && self.durable >= self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collab::protocol::decode_state_vector;

    #[test]
    fn an_edit_is_saved_when_its_message_is() {
        let mut saving = Saving::default();
        assert!(saving.is_saved());
        saving.edited(10, true);
        saving.edited(20, true);
        assert_eq!((saving.unsaved(), saving.unsaved_bytes()), (2, 30));
        saving.saved(Clocks::new(), 1);
        assert_eq!((saving.unsaved(), saving.is_saved()), (1, false));
        saving.saved(Clocks::new(), 2);
        assert_eq!((saving.unsaved(), saving.is_saved()), (0, true));
    }

    #[test]
    fn unsaved_edits_are_sent_in_one_message_after_a_reconnect() {
        let mut saving = Saving::default();
        saving.edited(1, true);
        saving.saved(Clocks::new(), 1);
        saving.edited(1, true);
        saving.reconnected();
        saving.edited(1, false);
        saving.saved(Clocks::new(), 7);
        assert_eq!(
            saving.unsaved(),
            2,
            "an old count says nothing of a new connection"
        );
        saving.reconnected();
        saving.sent_all();
        saving.edited(1, true);
        saving.saved(Clocks::new(), 1);
        assert_eq!(saving.unsaved(), 1);
        saving.saved(Clocks::new(), 2);
        assert!(saving.is_saved());
    }

    #[test]
    fn a_message_without_edits_counts_too() {
        let mut saving = Saving::default();
        saving.sent_all();
        assert!(!saving.is_saved());
        saving.saved(Clocks::new(), 1);
        assert!(saving.is_saved());
    }

    #[test]
    fn clocks_that_moved_are_merged_and_a_new_connection_begins_anew() {
        let mut saving = Saving::default();
        saving.reconnected();
        saving.saved(Clocks::from([(1, 5), (2, 7)]), 0);
        saving.saved(Clocks::from([(2, 9)]), 0);
        saving.saved(Clocks::from([(2, 8), (3, 1)]), 0);
        let clocks = [1, 2, 3, 4].map(|client| saving.clock(client));
        assert_eq!(clocks, [5, 9, 1, 0]);
        let vector = decode_state_vector(&saving.state_vector());
        assert_eq!(vector, Ok(Clocks::from([(1, 5), (2, 9), (3, 1)])));
        saving.reconnected();
        assert_eq!(
            saving.clock(2),
            9,
            "known until the next server says otherwise"
        );
        saving.saved(Clocks::from([(1, 5)]), 0);
        assert_eq!((saving.clock(1), saving.clock(2)), (5, 0));
    }
}
