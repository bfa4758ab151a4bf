//! Removes from their stream the messages of latest values that were removed.
//!
//! The stream holds one message a key, so a key that was removed keeps an empty one, which every replica has to read. It
//! stays for [`KEPT_FOR`]. A replica that was away for longer than [`READ_AGAIN_AFTER`] may lack some of them, so it reads
//! all latest values again.

use std::{sync::Arc, time::Duration};

use tokio::time::{interval, sleep};

use super::{
    OpenError, Shared,
    link::Link,
    record,
    streams::{self, LATEST},
};
use crate::bus::embedded::{Embedded, replica::Removal, stream_place::StreamPlace};
use realtime::server::now_ms;

/// How long the message of a removed key stays in the stream.
const KEPT_FOR: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// How long a replica may be away and still go on where it was. Clocks of nodes and of NATS may differ by the rest of
/// [`KEPT_FOR`].
pub const READ_AGAIN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
const CLEAR_EVERY: Duration = Duration::from_secs(60 * 60);
/// Keys that are read and removed together.
const BATCH: usize = 500;

/// Removes the latest values of a replica that was away for too long, so that they are read again. Only for a replica that
/// nobody reads yet.
pub async fn catch_up(link: &Link, replica: &Embedded) -> Result<(), OpenError> {
    let last = replica.last_applied(LATEST).await?;
    if is_old(&last) && last.sequence < streams::ends(&link.jetstream).await?.latest {
        tracing::info!("the replica was away for a day; it reads the latest values again");
        replica.restart_latest(LATEST).await?;
    }
    Ok(())
}

/// Whether the stream took a message too long ago. A replica that is at its beginning lacks nothing.
fn is_old(last: &StreamPlace) -> bool {
    let taken_ms = record::taken_at_ms(last);
    taken_ms
        .is_some_and(|taken| now_ms().saturating_sub(taken) >= READ_AGAIN_AFTER.as_millis() as u64)
}

impl Shared {
    /// Removes old messages again and again. All nodes do so: a message that is gone already costs one question.
    pub(super) async fn clear_removals(self: Arc<Self>) {
        // Not all nodes at the same moment.
        sleep(CLEAR_EVERY.mul_f64(rand::random())).await;
        let mut rounds = interval(CLEAR_EVERY);
        loop {
            rounds.tick().await;
            let before = now_ms().saturating_sub(KEPT_FOR.as_millis() as u64);
            if self.link.is_up()
                && let Err(error) = self.clear_removals_before(before).await
            {
                tracing::warn!(%error, "removed values stay in the stream for another hour");
            }
        }
    }

    /// Removes the messages of keys that were removed before a time (Unix milliseconds).
    pub(super) async fn clear_removals_before(&self, before: u64) -> Result<(), OpenError> {
        loop {
            let removals = self.replica.removals(before, BATCH).await?;
            if removals.is_empty() {
                return Ok(());
            }
            for Removal { sequence, .. } in &removals {
                // This message alone: the key may have a newer value, which this replica has not applied yet.
                streams::remove(&self.link.jetstream, LATEST, *sequence).await?;
            }
            self.replica.forget_removals(removals).await?;
        }
    }
}
