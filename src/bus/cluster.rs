//! What the nodes of a cluster do together: compete for a key, ask each other, and notice who left.

use std::{fmt, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a node may be silent until it counts as gone.
pub const SILENT_AFTER: Duration = Duration::from_secs(15);
/// How long another node may take for an answer.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Whether this node owns what it competes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Another node owns it, or it is not known which.
    Waiting,
    /// This node owns it. Every owner has a higher term than those before it.
    Owned { term: u64 },
}

/// A competition for a key ([`Bus::lease`](super::Bus::lease)). Given up when it is dropped.
#[derive(Debug)]
pub struct Lease {
    pub(super) ownership: watch::Receiver<Ownership>,
    /// Resolves once the key is given up. `None` on a bus of one process.
    pub(super) task: Option<(CancellationToken, JoinHandle<()>)>,
}

/// The nodes that left ([`Bus::departures`](super::Bus::departures)).
#[derive(Debug, Default)]
pub struct Departures(pub(super) Option<broadcast::Receiver<Uuid>>);

/// What other nodes ask ([`Bus::questions`](super::Bus::questions)).
#[derive(Debug, Default)]
pub struct Questions(pub(super) Option<mpsc::Receiver<Question>>);

/// A question of another node. It is dropped without an answer if this node has none.
pub struct Question {
    pub bytes: Bytes,
    pub(super) answer: Box<dyn FnOnce(Bytes) + Send>,
}

impl Lease {
    pub(super) fn owned() -> Self {
        Self {
            ownership: watch::channel(Ownership::Owned { term: 0 }).1,
            task: None,
        }
    }

    /// Whether this node owns the key now.
    pub fn ownership(&self) -> Ownership {
        *self.ownership.borrow()
    }

    /// Resolves when this node owns the key, with its term.
    pub async fn owned_term(&mut self) -> u64 {
        loop {
            if let Ownership::Owned { term } = *self.ownership.borrow_and_update() {
                return term;
            }
            if self.ownership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when this node does not own the key under a term, or no longer.
    pub async fn lost(&mut self, term: u64) {
        let owned = Ownership::Owned { term };
        let is_for_ever = {
            let lost = self.ownership.wait_for(|ownership| *ownership != owned);
            lost.await.is_err()
        };
        if is_for_ever {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the key up, and resolves when the other nodes can own it.
    pub async fn release(mut self) {
        if let Some((cancel, task)) = self.task.take() {
            cancel.cancel();
            let _ = task.await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((cancel, _)) = &self.task {
            cancel.cancel();
        }
    }
}

impl Departures {
    /// The next node that left; `None` once the bus is closed, and at once on a bus of one process.
    pub async fn next(&mut self) -> Option<Uuid> {
        let departures = self.0.as_mut()?;
        loop {
            match departures.recv().await {
                Ok(node) => return Some(node),
                // More nodes than a cluster has.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Questions {
    /// The next question; `None` once the bus is closed, and at once on a bus of one process.
    pub async fn next(&mut self) -> Option<Question> {
        self.0.as_mut()?.recv().await
    }
}

impl Question {
    /// Answers the node that asks.
    pub fn answer(self, bytes: Bytes) {
        (self.answer)(bytes);
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Question")
            .field(&self.bytes)
            .finish()
    }
}
