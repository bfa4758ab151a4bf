//! Records what the sockets delivered, in the order of each socket, before any de-duplication.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

/// One recorded event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A writer created a message. It may be sent many times from here on. `number` grows within writer and room.
    Wrote {
        writer: usize,
        room: String,
        number: u64,
        id: Uuid,
        text: String,
    },
    /// The server acknowledged a message.
    Acknowledged { room: String, id: Uuid, offset: u64 },
    /// A subscription begins: the request of the client and the answer of the server.
    Joined {
        reader: usize,
        /// Unique for each join of each socket.
        subscription: u64,
        room: String,
        after: Option<(String, u64)>,
        epoch: String,
        head: u64,
        recovered: bool,
        replayed: u64,
    },
    /// A message was delivered on a subscription.
    Delivered {
        subscription: u64,
        offset: u64,
        id: Uuid,
        text: String,
    },
    /// The server closed a socket, or the connection broke (no code).
    Closed { code: Option<u16> },
    /// The run is over, and this subscription must have delivered everything.
    Settled { subscription: u64 },
}

/// A message in the log of a room, as read after the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub offset: u64,
    pub id: Uuid,
    pub text: String,
}

/// The records of all clients. Cheap to clone; all clones share one list.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Vec<Record>>>);

impl History {
    pub fn add(&self, record: Record) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }

    /// The ids of the messages of a room that were acknowledged.
    pub fn acknowledged(&self, of: &str) -> HashSet<Uuid> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = records.iter().filter_map(|record| match record {
            Record::Acknowledged { room, id, .. } if room == of => Some(*id),
            _ => None,
        });
        ids.collect()
    }

    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
