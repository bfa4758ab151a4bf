//! A competition of nodes for a key: the node whose message stands under the key's subject owns it.
//!
//! The stream keeps one message a subject, for [`LEASE_LIFETIME`](streams::LEASE_LIFETIME). A message is accepted only where the sender knows the last one
//! (`Nats-Expected-Last-Subject-Sequence`): none, to become the owner, or its own, to stay it. A node that dies renews
//! nothing, and the stream drops its message. No clock of a node counts.
//!
//! In a replicated stream two nodes may both become the owner (nats-server 4320, 8469). The sequences of their messages
//! are their terms: the higher one counts, and the other node fails to renew. A node without a connection stays the owner
//! for its own people until it learns otherwise.

use std::time::Duration;

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};
use bytes::Bytes;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{link::Link, streams};
use crate::bus::{Ownership, Volatile};

/// How often the owner renews its message: two renewals may fail.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the others try to become the owner.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// One node's part in the competition.
pub struct Competitor {
    pub link: Link,
    pub node: Uuid,
    pub subject: String,
    pub ownership: watch::Sender<Ownership>,
    /// Receives a message when the owner gave the key up.
    pub released: Volatile,
    pub cancelled: CancellationToken,
}

/// The answer of the stream to a message.
enum Written {
    /// Its sequence.
    Taken(u64),
    /// Another message stands there.
    Refused,
    /// There is no answer: it may have been taken.
    Unknown,
}

impl Competitor {
    /// Competes until it is cancelled. Returns whether it gave the key up, rather than lost it.
    pub async fn run(mut self) -> bool {
        let cancelled = self.cancelled.clone();
        loop {
            let Some(term) = cancelled.run_until_cancelled(self.win()).await else {
                return false;
            };
            tracing::info!(subject = %self.subject, term, "this node owns the key");
            self.ownership.send_replace(Ownership::Owned { term });
            let mut last = term;
            let kept = cancelled.run_until_cancelled(self.keep(&mut last)).await;
            self.ownership.send_replace(Ownership::Waiting);
            match kept {
                Some(()) => {
                    tracing::warn!(subject = %self.subject, term, "another node owns the key, or its lease ended");
                }
                None => {
                    self.give_up().await;
                    return true;
                }
            }
        }
    }

    /// Resolves when this node is the owner, with its term.
    async fn win(&mut self) -> u64 {
        loop {
            if let Written::Taken(term) = self.write(0).await {
                return term;
            }
            // A message that tells of the release, or the end of the wait: both are a reason to try.
            let _ = timeout(TRY_EVERY, self.released.next()).await;
        }
    }

    /// Renews the message, as long as it is this node's. `last` is its sequence.
    async fn keep(&mut self, last: &mut u64) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match self.write(*last).await {
                Written::Taken(sequence) => *last = sequence,
                Written::Unknown => {}
                // An earlier renewal may have been taken although its answer was lost.
                Written::Refused => match self.standing().await {
                    Some((sequence, node)) if node == self.node => *last = sequence,
                    _ => return,
                },
            }
        }
    }

    async fn write(&self, expected: u64) -> Written {
        if !self.link.is_up() {
            return Written::Unknown;
        }
        let message = PublishMessage::build()
            .payload(Bytes::copy_from_slice(self.node.as_bytes()))
            .expected_last_subject_sequence(expected);
        let jetstream = &self.link.jetstream;
        let acknowledged = match jetstream.send_publish(self.subject.clone(), message).await {
            Ok(sent) => sent.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledgement) => Written::Taken(acknowledgement.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Written::Refused,
            Err(_) => Written::Unknown,
        }
    }

    /// The message that stands under the subject.
    async fn standing(&self) -> Option<(u64, Uuid)> {
        let stream = streams::stream(&self.link.jetstream, streams::LEASES).await;
        let stream = stream.ok()?;
        let standing = stream.get_last_raw_message_by_subject(&self.subject).await;
        let standing = standing.ok()?;
        let node = Uuid::from_slice(&standing.payload).ok()?;
        Some((standing.sequence, node))
    }

    /// Removes the own message. If that fails, the stream drops it after [`LEASE_LIFETIME`](streams::LEASE_LIFETIME).
    async fn give_up(&self) {
        if let Some((sequence, node)) = self.standing().await
            && node == self.node
        {
            let _ = streams::remove(&self.link.jetstream, streams::LEASES, sequence).await;
        }
    }
}
