//! One board: its roster, the shared text, and the task that writes the text to the log.
//!
//! An update passes the guarded function, is queued for the other clients and added to the list of unsaved updates, all
//! under the text's lock. So the log has the updates in the order in which they were sent to everybody. The writer
//! gathers unsaved updates, appends them to the log, and only then reports them as saved. A client that asks for what
//! it lacks gets the text in memory, saved or not.
//!
//! In a cluster other nodes write to the log too. `board/follow.rs` applies what they write.

mod follow;

use std::{
    sync::{
        Arc, Mutex as StdMutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, Notify, OwnedMutexGuard, watch},
    time::sleep,
};
use uuid::Uuid;

pub use super::text::TakeError;
use super::{
    document::{Applied, Document},
    elsewhere::Announcement,
    roster::Roster,
    store::{Growth, LoadError, Store},
    text::{Text, inline_or_blocking},
};
use crate::{
    bus::{BusError, Questions, SharedBus, Volatile, announcement},
    collab::{
        message::{NOBODY, PeerId},
        protocol::encode_state_vector,
    },
};

/// How long the writer gathers updates. Saving is promised within a second, and one event for several keystrokes is
/// cheaper than one for each.
const GATHER: Duration = Duration::from_millis(50);
/// The wait between two attempts while the storage is unavailable.
const RETRY: Duration = Duration::from_secs(1);

/// A board.
pub struct Board {
    store: Store,
    /// A std mutex: it is held while messages are queued and never across an await.
    roster: StdMutex<Roster>,
    text: Arc<Mutex<Text>>,
    /// A pointer moved or was hidden since the last tick.
    moved: AtomicBool,
    /// Notified when there is something unsaved.
    changed: Notify,
    /// The number of the newest change, and of the newest one on disk.
    progress: watch::Sender<(u64, u64)>,
    /// Other nodes may have the board open too: the log is followed.
    is_shared: bool,
    /// The document holds all events of the log up to this offset. Changed under the text's lock.
    applied: watch::Sender<u64>,
}

impl Board {
    pub fn new(bus: SharedBus, name: &str) -> Self {
        let is_shared = bus.node().is_some();
        let roster = match is_shared {
            true => Roster::shared(),
            false => Roster::default(),
        };
        Self {
            store: Store::new(bus, name),
            roster: StdMutex::new(roster),
            text: Arc::default(),
            moved: AtomicBool::new(false),
            changed: Notify::new(),
            progress: watch::Sender::new((0, 0)),
            is_shared,
            applied: watch::Sender::new(0),
        }
    }

    /// The roster. After a panic while the lock was held, at worst a pointer is sent one tick late.
    pub fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the board as moved. Returns whether it must be scheduled for the next tick: once, for any number of moves.
    pub fn moved(&self) -> bool {
        !self.moved.swap(true, Ordering::Relaxed)
    }

    /// Sends all pointer changes since the last tick, and announces those of this node.
    pub fn tick(&self) {
        // Before the lock, so that a later move schedules the next tick.
        self.moved.store(false, Ordering::Relaxed);
        let mut roster = self.roster();
        // Under the lock, so that announcements are sent in the order of what they say.
        if let Some(news) = roster.tick() {
            self.announce(|node| Announcement::Changed { node, news });
        }
    }

    /// Announces everybody who is here to the other nodes.
    pub fn announce_everybody(&self) {
        let mut roster = self.roster();
        if let Some((peers, states)) = roster.everybody() {
            self.announce(|node| Announcement::Here {
                node,
                peers,
                states,
            });
        }
    }

    /// Announces something about this board to the other nodes.
    pub fn announce(&self, make: impl FnOnce(Uuid) -> Announcement) {
        announcement::announce(self.store.bus(), self.store.name(), make);
    }

    /// Receives what other nodes announce about this board.
    pub fn listen(&self) -> Volatile {
        self.store.bus().listen(self.store.name())
    }

    /// Receives the questions of other nodes who is on this board.
    pub fn questions(&self) -> Questions {
        self.store.bus().questions(self.store.name())
    }

    /// Loads the text, if it is not loaded yet.
    pub async fn load(&self) -> Result<(), LoadError> {
        self.loaded().await.map(drop)
    }

    /// The current text.
    pub async fn read(&self) -> Result<String, LoadError> {
        let mut text = self.loaded().await?;
        let bytes = text.document()?.bytes();
        inline_or_blocking(bytes, text, |text| Ok(text.document()?.text())).await
    }

    /// The state vector of the text, encoded.
    pub async fn state_vector(&self) -> Result<Vec<u8>, LoadError> {
        Ok(self.loaded().await?.document()?.state_vector())
    }

    /// What a peer with this state vector lacks.
    pub async fn difference(&self, state_vector: Bytes) -> Result<Vec<u8>, TakeError> {
        let mut text = self.loaded().await?;
        let bytes = text.document()?.bytes();
        let encode = move |text: &mut Text| {
            text.with_document(|document| document.difference(&state_vector))
        };
        inline_or_blocking(bytes, text, encode).await
    }

    /// Applies an update from a socket, sends it to the others, and schedules it to be written. Once begun, all of this
    /// is completed, even if the caller no longer waits for the result. `whole`: the update holds everything that the
    /// socket has and the document lacks, or lacked a moment ago.
    pub async fn take(
        self: &Arc<Self>,
        from: PeerId,
        update: Bytes,
        whole: bool,
    ) -> Result<Applied, TakeError> {
        let mut text = self.loaded().await?;
        if !text.unsaved.has_room(update.len()) {
            return Err(TakeError::Behind);
        }
        let (board, bytes) = (self.clone(), text.document()?.work_of(update.len()));
        let take = move |text: &mut Text| {
            let applied = text.with_document(|document| document.take(&update))?;
            let mut roster = board.roster();
            if let Some(change) = &applied.change {
                let change = Bytes::copy_from_slice(change);
                roster.broadcast_update(&change, from);
                text.unsaved.push(change, applied.moved.clone());
                board
                    .progress
                    .send_modify(|(newest, _)| *newest = text.unsaved.newest());
            }
            // Recorded before the writer can report the change as saved: the writer needs the text's lock for that.
            roster.accepted(from, text.unsaved.newest(), whole && !applied.incomplete);
            board.changed.notify_one();
            Ok(applied)
        };
        inline_or_blocking(bytes, text, take).await
    }

    /// Writes changes to the log as long as the board is open. Begins with what an earlier run left unsaved.
    pub async fn write(self: Arc<Self>) {
        loop {
            while self.write_some().await {}
            self.changed.notified().await;
            sleep(GATHER).await;
        }
    }

    /// Resolves when all updates accepted so far are on disk.
    pub async fn written(&self) {
        let newest = self.progress.borrow().0;
        let mut progress = self.progress.subscribe();
        // The board owns the sender, so it is not closed.
        let _ = progress.wait_for(|(_, saved)| *saved >= newest).await;
    }

    /// Whether all updates accepted so far are on disk.
    pub fn is_written(&self) -> bool {
        let (newest, saved) = *self.progress.borrow();
        newest == saved
    }

    /// Appends unsaved updates, up to a bound. Returns whether there may be more.
    async fn write_some(&self) -> bool {
        let mut text = self.text.lock().await;
        let Some(batch) = text.unsaved.oldest() else {
            return false;
        };
        let id = Uuid::now_v7();
        if self.is_shared {
            text.own.insert(id);
        }
        drop(text);
        let head = loop {
            match self.store.append(id, &batch.updates).await {
                Ok(head) => break head,
                Err(BusError::Closed) => return false,
                Err(error) => {
                    tracing::warn!(%error, "a document could not be written; trying again")
                }
            }
            sleep(RETRY).await;
        };
        let mut text = self.text.lock().await;
        text.unsaved.written(&batch);
        if !self.is_shared {
            // Otherwise the follower counts all events, and knows which ones come before this.
            for update in &batch.updates {
                text.growth.add(update.len());
            }
            self.applied.send_replace(head);
        }
        self.progress
            .send_modify(|(_, saved)| *saved = batch.sequence);
        self.roster().saved(batch.sequence, batch.moved);
        let has_room = text.unsaved.is_half_empty();
        drop(text);
        if has_room {
            self.sync_refused().await;
        }
        self.compact_if_large(head).await;
        true
    }

    /// Sends a sync step 1 to the Yjs clients whose updates were refused for lack of room. Their protocol has no
    /// temporary refusal.
    async fn sync_refused(&self) {
        if !self.roster().has_refused() {
            return;
        }
        if let Ok(state_vector) = self.state_vector().await {
            self.roster().sync_refused(&state_vector);
        }
    }

    /// Replaces the log with a snapshot if it has grown by much. `head`: the newest event of this node. A node compacts
    /// after events of its own only, so the nodes that have the board open do not all do it.
    async fn compact_if_large(&self, head: u64) {
        if self.is_shared && !self.follows_to(head).await {
            return;
        }
        let Ok(mut text) = self.loaded().await else {
            return;
        };
        let bytes = text.document().map_or(0, |document| document.bytes());
        if !text.growth.is_large(bytes) || (self.is_shared && !self.may_compact(&mut text).await) {
            return;
        }
        let upto = *self.applied.borrow();
        let snapshot = inline_or_blocking(bytes, text, move |text| {
            // Even if this fails, the next attempt is made only after the log has grown again.
            (text.growth, text.floor) = (Growth::default(), upto);
            text.with_document(Document::snapshot)
        });
        let compacted = match snapshot.await {
            Ok(snapshot) => self.store.compact(upto, snapshot).await,
            Err(error) => Err(BusError::Unavailable(error.to_string())),
        };
        match compacted {
            Ok(()) => {}
            // Another node has written meanwhile.
            Err(BusError::HeadMoved { .. }) if self.is_shared => {}
            Err(error) => {
                tracing::warn!(%error, "a document's log could not be compacted; it stays complete");
            }
        }
    }

    /// The text, loaded if necessary.
    async fn loaded(&self) -> Result<OwnedMutexGuard<Text>, LoadError> {
        let mut text = self.text.clone().lock_owned().await;
        if text.document.is_some() {
            return Ok(text);
        }
        // What was loaded may hold events that the follower has not come to, and skips now.
        let known = {
            let roster = self.roster();
            let lack_some = self.is_shared && !roster.is_empty();
            lack_some.then(|| encode_state_vector(roster.durable()))
        };
        let loaded = self.store.load(text.unsaved.updates(), known).await?;
        self.applied.send_replace(loaded.upto);
        (text.growth, text.floor) = (loaded.growth, loaded.floor);
        text.is_partial = loaded.is_partial;
        text.own.clear();
        text.document = Some(loaded.document);
        let mut roster = self.roster();
        if let Some(lacking) = loaded.lacking {
            roster.broadcast_update(&lacking, NOBODY);
        }
        roster.found_saved(loaded.stored);
        drop(roster);
        Ok(text)
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
