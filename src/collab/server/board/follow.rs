//! Follows the log of a board that several nodes write.
//!
//! Every node applies what the log holds, in its order. What is new to the document is sent to the clients of this node. No
//! limit refuses it, and it is not written again. Events of this node come back too; the document holds them already. So
//! an event builds only on events before it, and a document that holds the log up to an offset lacks nothing that a later
//! event needs.

use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::{Board, RETRY};
use crate::{
    bus::{BusError, Event},
    collab::{
        message::NOBODY,
        protocol::Clocks,
        server::{
            document::Applied,
            store::{LoadError, PAGE, updates},
            text::{TakeError, Text, inline_or_blocking},
        },
    },
};

impl Board {
    /// Applies what other nodes write to the log, as long as the board is open.
    pub async fn follow(self: Arc<Self>) {
        loop {
            match self.follow_from_here().await {
                // Another node has replaced events with a snapshot before this one came to them.
                Ok(()) => self.text.lock().await.document = None,
                Err(LoadError::Bus(BusError::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "a document cannot be followed; trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Follows the log from what the document holds on. Returns when the log no longer holds the next event.
    async fn follow_from_here(self: &Arc<Self>) -> Result<(), LoadError> {
        drop(self.loaded().await?);
        let mut follower = self.store.follow(*self.applied.borrow());
        loop {
            match follower.next(PAGE).await {
                Ok(events) => self.apply(events).await?,
                Err(BusError::Forgotten { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn apply(self: &Arc<Self>, events: Vec<Event>) -> Result<(), LoadError> {
        let text = self.loaded().await?;
        let foreign = events.iter().filter(|event| !text.own.contains(&event.id));
        let bytes = foreign.map(|event| event.bytes.len()).sum();
        let board = self.clone();
        let apply = move |text: &mut Text| {
            board.apply_events(text, &events);
            Ok(())
        };
        inline_or_blocking(bytes, text, apply).await
    }

    fn apply_events(&self, text: &mut Text, events: &[Event]) {
        let mut moved = Clocks::new();
        for event in events {
            // The document may have been loaded again meanwhile, with this event.
            if event.offset <= *self.applied.borrow() {
                continue;
            }
            match text.own.remove(&event.id) {
                true => updates(event)
                    .flatten()
                    .for_each(|update| text.growth.add(update.len())),
                false => self.apply_event(text, event, &mut moved),
            }
            if text.document.is_none() {
                // It is loaded again from the log, which holds these events.
                break;
            }
            self.applied.send_replace(event.offset);
        }
        self.roster().found_saved(moved);
    }

    /// Applies an event of another node and sends what is new to those who are here. `moved` gets the clocks that it moved.
    fn apply_event(&self, text: &mut Text, event: &Event, moved: &mut Clocks) {
        for update in updates(event) {
            let applied = update.map_err(TakeError::from).and_then(|update| {
                text.growth.add(update.len());
                text.with_document(|document| document.restore(update))
            });
            match applied {
                Ok(Applied {
                    incomplete: true, ..
                }) if !text.is_partial => {
                    tracing::error!(
                        offset = event.offset,
                        "an event builds on what the document lacks; it is loaded again"
                    );
                    text.document = None;
                    return;
                }
                Ok(applied) => {
                    if let Some(change) = applied.change {
                        self.roster().broadcast_update(&change, NOBODY);
                    }
                    moved.extend(applied.moved);
                }
                // The board goes on without it: a newer version may have written it.
                Err(error) => {
                    tracing::error!(%error, offset = event.offset, "an event of a document cannot be applied");
                    text.is_partial = true;
                }
            }
        }
    }

    /// Waits until the follower has come to an offset. Returns whether it did so soon.
    pub(super) async fn follows_to(&self, offset: u64) -> bool {
        let mut applied = self.applied.subscribe();
        let follows = applied.wait_for(|applied| *applied >= offset);
        timeout(RETRY, follows).await.is_ok()
    }

    /// Whether a snapshot of the document may take the place of the log: the document holds all of the log, and nothing
    /// else. If it held unsaved updates, and this node ended before it wrote them, other nodes would lack for ever what a
    /// reader of the snapshot has.
    pub(super) async fn may_compact(&self, text: &mut Text) -> bool {
        let Ok(log) = self.store.head().await else {
            return false;
        };
        if log.floor > text.floor {
            // Another node has compacted the log since this one began to count.
            (text.growth, text.floor) = (Default::default(), log.floor);
            return false;
        }
        log.head == *self.applied.borrow() && text.unsaved.is_empty() && !text.is_partial
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
