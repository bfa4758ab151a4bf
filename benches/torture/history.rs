//! What the sockets delivered, in the order in which each of them did, before any de-duplication.

use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A writer made a message; it may be sent many times from here on. `number` grows within writer and room.
    Wrote {
        writer: usize,
        room: String,
        number: u64,
        id: Uuid,
        text: String,
    },
    /// The server acknowledged it.
    Acknowledged { room: String, id: Uuid, offset: u64 },
    /// A subscription begins: what the client asked for and what it was told.
    Joined {
        reader: usize,
        /// Differs for each join of each socket.
        subscription: u64,
        room: String,
        after: Option<(String, u64)>,
        epoch: String,
        head: u64,
        recovered: bool,
        replayed: u64,
    },
    /// A message on a subscription.
    Delivered {
        subscription: u64,
        offset: u64,
        id: Uuid,
        text: String,
    },
    /// The server closed a socket; without a code it broke.
    Closed { code: Option<u16> },
    /// The test is over: whoever subscribes now has everything.
    Settled { subscription: u64 },
}

/// A message in a room's log, as it was read in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub offset: u64,
    pub id: Uuid,
    pub text: String,
}

/// All that was recorded. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Vec<Record>>>);

impl History {
    pub fn add(&self, record: Record) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }

    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
