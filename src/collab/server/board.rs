//! One board: its roster, the shared text, and the task that writes the text to the log.
//!
//! An update passes the guarded function, is queued for the other clients and added to the list of unsaved updates, all
//! under the text's lock. So the log has the updates in the order in which they were sent to everybody. The writer
//! gathers unsaved updates, appends them to the log, and only then reports them as saved. A client that asks for what
//! it lacks gets the text in memory, saved or not.

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

use super::{
    document::{Applied, Document, Refusal},
    offload::INLINE_BYTES,
    roster::Roster,
    store::{Growth, LoadError, Store},
    unsaved::Unsaved,
};
use crate::{
    bus::{BusError, SharedBus},
    collab::message::PeerId,
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
}

/// The text in memory.
#[derive(Default)]
struct Text {
    /// `None` until it is loaded, and after an update broke it. It is then loaded from the log, and the unsaved updates
    /// are applied again. The broken document is never used again, because its lock is never released.
    document: Option<Document>,
    unsaved: Unsaved,
    growth: Growth,
}

/// Why an update was refused.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The storage is unavailable or slow. No part of the update was kept.
    #[error("too much waits for the storage")]
    Behind,
}

impl Board {
    pub fn new(bus: SharedBus, name: &str) -> Self {
        Self {
            store: Store::new(bus, name),
            roster: StdMutex::default(),
            text: Arc::default(),
            moved: AtomicBool::new(false),
            changed: Notify::new(),
            progress: watch::Sender::new((0, 0)),
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

    /// Sends all pointer changes since the last tick.
    pub fn tick(&self) {
        // Before the lock, so that a later move schedules the next tick.
        self.moved.store(false, Ordering::Relaxed);
        self.roster().tick();
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
        let Some(batch) = self.text.lock().await.unsaved.oldest() else {
            return false;
        };
        let id = Uuid::now_v7();
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
        for update in &batch.updates {
            text.growth.add(update.len());
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

    async fn compact_if_large(&self, head: u64) {
        let Ok(mut text) = self.loaded().await else {
            return;
        };
        let bytes = text.document().map_or(0, |document| document.bytes());
        if !text.growth.is_large(bytes) {
            return;
        }
        let snapshot = inline_or_blocking(bytes, text, |text| {
            // Even if this fails, the next attempt is made only after the log has grown again.
            text.growth = Growth::default();
            text.with_document(Document::snapshot)
        });
        let compacted = match snapshot.await {
            Ok(snapshot) => self.store.compact(head, snapshot).await,
            Err(error) => Err(BusError::Unavailable(error.to_string())),
        };
        if let Err(error) = compacted {
            tracing::warn!(%error, "a document's log could not be compacted; it stays complete");
        }
    }

    /// The text, loaded if necessary.
    async fn loaded(&self) -> Result<OwnedMutexGuard<Text>, LoadError> {
        let mut text = self.text.clone().lock_owned().await;
        if text.document.is_some() {
            return Ok(text);
        }
        let loaded = self.store.load(text.unsaved.updates()).await?;
        if text.unsaved.newest() == 0 {
            self.roster().loaded(loaded.document.clocks());
        }
        text.growth = loaded.growth;
        text.document = Some(loaded.document);
        Ok(text)
    }
}

impl Text {
    fn document(&mut self) -> Result<&mut Document, LoadError> {
        // `Board::loaded` ensures that the document is present.
        let missing = || LoadError::Damaged("it is not loaded".into());
        self.document.as_mut().ok_or_else(missing)
    }

    /// Runs an operation on the document. Drops the document if the operation broke it.
    fn with_document<T>(
        &mut self,
        operation: impl FnOnce(&mut Document) -> Result<T, Refusal>,
    ) -> Result<T, TakeError> {
        let answer = operation(self.document()?);
        if matches!(answer, Err(Refusal::Harmful)) {
            tracing::warn!("an update broke a document; it is loaded again from its log");
            self.document = None;
        }
        Ok(answer?)
    }
}

/// Runs work under the text's lock: in place if it is small, otherwise on a thread for blocking work.
async fn inline_or_blocking<T: Send + 'static, E: From<LoadError> + Send + 'static>(
    bytes: usize,
    mut text: OwnedMutexGuard<Text>,
    work: impl FnOnce(&mut Text) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    if bytes <= INLINE_BYTES {
        return work(&mut text);
    }
    tokio::task::spawn_blocking(move || work(&mut text))
        .await
        .unwrap_or_else(|error| Err(LoadError::Damaged(error.to_string()).into()))
}

#[cfg(test)]
mod tests {
    use axum::extract::ws::Message as Frame;

    use super::*;
    use crate::{
        bus::embedded::Embedded,
        collab::{
            protocol::{Message, decode},
            server::test_client::TestClient,
        },
    };
    use realtime::server::queue::OutQueue;

    #[tokio::test]
    async fn a_broken_document_is_loaded_again_with_the_unsaved_updates() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let board = Arc::new(Board::new(bus.clone(), "notes"));
        let ana = TestClient::new(1);
        board
            .take(1, ana.insert(0, "on disk").into(), false)
            .await
            .unwrap();
        while board.write_some().await {}
        assert!(board.is_written());
        // This update stays unsaved, because no writer runs in this test.
        board
            .take(1, ana.insert(7, " and not").into(), false)
            .await
            .unwrap();
        let broken = board
            .text
            .lock()
            .await
            .with_document(|_| Err::<(), _>(Refusal::Harmful));
        assert!(matches!(broken, Err(TakeError::Refused(Refusal::Harmful))));
        assert_eq!(board.read().await.unwrap(), "on disk and not");
        board
            .take(1, ana.insert(0, "all ").into(), false)
            .await
            .unwrap();
        while board.write_some().await {}
        assert!(board.is_written());
        let again = Arc::new(Board::new(bus, "notes"));
        assert_eq!(again.read().await.unwrap(), "all on disk and not");
    }

    #[tokio::test]
    async fn a_writer_begins_with_what_an_earlier_one_left_unsaved() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let board = Arc::new(Board::new(bus, "notes"));
        let update = TestClient::new(1).insert(0, "unsaved").into();
        board.take(1, update, false).await.unwrap();
        // The notification was received by a writer that then panicked.
        board.changed.notified().await;
        let writer = tokio::spawn(board.clone().write());
        let written = tokio::time::timeout(Duration::from_secs(20), board.written()).await;
        assert!(written.is_ok(), "it waits for another change");
        writer.abort();
    }

    #[tokio::test]
    async fn an_update_without_room_is_refused_and_requested_once_the_storage_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let board = Arc::new(Board::new(bus.clone(), "notes"));
        let queue = OutQueue::default();
        board.roster().join_yjs(1, queue.clone());
        board.roster().send_initial_state(1);
        queue.take().await;
        // Nothing is written, because no writer runs in this test.
        let ana = TestClient::new(1);
        let megabyte = "x".repeat(1024 * 1024);
        let mut refused = 0;
        for _ in 0..20 {
            // The text stays short; the unsaved list holds its history.
            let update = ana.insert(0, &megabyte).into();
            let applied = board.take(1, update, false).await;
            if matches!(applied, Err(TakeError::Behind)) {
                board.roster().refused(1);
                refused += 1;
            }
            let update = ana.remove(0, megabyte.len() as u32).into();
            board.take(1, update, false).await.unwrap();
        }
        assert_eq!(refused, 5);
        let waiting: usize = board
            .text
            .lock()
            .await
            .unsaved
            .updates()
            .iter()
            .map(Bytes::len)
            .sum();
        assert!(waiting <= 16 * 1024 * 1024, "{waiting}");
        let last = ana.insert(0, "all is here");
        let applied = board.take(1, last.into(), false).await.unwrap();
        assert!(applied.incomplete, "it builds on what was refused");

        // The storage is available again.
        while board.write_some().await {}
        let sent = queue.take().await.messages;
        let questions = sent.iter().filter_map(|message| match message {
            Frame::Binary(frame) => match decode(frame).next() {
                Some(Ok(Message::SyncStep1(vector))) => Some(vector.to_vec()),
                _ => None,
            },
            _ => None,
        });
        let questions: Vec<_> = questions.collect();
        assert_eq!(questions.len(), 1, "one question for all that was refused");
        let answer = ana.difference(&questions[0]);
        board.take(1, answer.into(), true).await.unwrap();
        while board.write_some().await {}
        let again = Arc::new(Board::new(bus, "notes"));
        assert_eq!(again.read().await.unwrap(), "all is here");
    }
}
