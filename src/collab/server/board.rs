//! One board: the people on it, the shared text, and the task that writes the text down.
//!
//! An update goes: guarded function, the others' queues, the list of what is unsaved, all under the text's lock, so that the
//! log has the updates in the order in which everybody was told of them. The writer gathers what is unsaved, appends it, and
//! only then says so. Whoever asks for what they lack gets what is in memory, saved or not.

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
    roster::People,
    store::{Growth, LoadError, Store},
    unsaved::Unsaved,
};
use crate::bus::{BusError, SharedBus};
use crate::collab::message::PeerId;

/// How long the writer gathers: a second is promised, and one event for several keystrokes is worth more than one for each.
const GATHER: Duration = Duration::from_millis(50);
/// Between two tries while the storage is away.
const RETRY: Duration = Duration::from_secs(1);
/// A board.
pub struct Board {
    store: Store,
    /// A std mutex: it is held for pushes into queues and never across an await.
    people: StdMutex<People>,
    text: Arc<Mutex<Text>>,
    /// Somebody moved since the last tick.
    moved: AtomicBool,
    /// Something is unsaved.
    changed: Notify,
    /// The newest change, and the newest that is on disk.
    progress: watch::Sender<(u64, u64)>,
}

/// The text in memory.
#[derive(Default)]
struct Text {
    /// `None` until it is loaded, and again when an update broke it: then it is loaded anew, and what is unsaved is put on top.
    /// The broken one is never touched again, for its lock is held for ever.
    document: Option<Document>,
    unsaved: Unsaved,
    growth: Growth,
}

/// Why an update was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The storage is away, or slow. Nothing of the update was kept.
    #[error("too much waits for the storage")]
    Behind,
}

impl Board {
    pub fn new(bus: SharedBus, name: &str) -> Self {
        Self {
            store: Store::new(bus, name),
            people: StdMutex::default(),
            text: Arc::default(),
            moved: AtomicBool::new(false),
            changed: Notify::new(),
            progress: watch::Sender::new((0, 0)),
        }
    }

    /// The people. A panic while the lock was held leaves at worst a pointer that is told a tick late.
    pub fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody moved. Says whether the board is to be ticked for it: once, however many move.
    pub fn moved(&self) -> bool {
        !self.moved.swap(true, Ordering::Relaxed)
    }

    /// Tells everybody who moved since the last tick.
    pub fn tick(&self) {
        // Before the lock: a move that comes after this asks for the next tick.
        self.moved.store(false, Ordering::Relaxed);
        self.people().tick();
    }

    /// Loads the text, if it is not loaded yet.
    pub async fn load(&self) -> Result<(), LoadError> {
        self.loaded().await.map(drop)
    }

    /// The text as it is now.
    pub async fn read(&self) -> Result<String, LoadError> {
        let mut text = self.loaded().await?;
        let bytes = text.document()?.bytes();
        inline_or_blocking(bytes, text, |text| Ok(text.document()?.text())).await
    }

    /// What is in the text, encoded as a state vector.
    pub async fn state_vector(&self) -> Result<Vec<u8>, LoadError> {
        Ok(self.loaded().await?.document()?.state_vector())
    }

    /// What a peer lacks that has this state vector.
    pub async fn difference(&self, state_vector: Bytes) -> Result<Vec<u8>, TakeError> {
        let mut text = self.loaded().await?;
        let bytes = text.document()?.bytes();
        let ask = move |text: &mut Text| text.ask(|document| document.difference(&state_vector));
        inline_or_blocking(bytes, text, ask).await
    }

    /// Takes an update of a socket's, tells the others, and sees to it that it is written down. All of that happens once it
    /// has begun, also when nobody waits for the answer any more.
    /// `whole`: it is all that the socket has and the document lacks, or lacked a moment ago.
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
            let taken = text.ask(|document| document.take(&update))?;
            let mut people = board.people();
            if let Some(change) = &taken.change {
                let change = Bytes::copy_from_slice(change);
                people.tell_update(&change, from);
                text.unsaved.push(change, taken.moved.clone());
                board
                    .progress
                    .send_modify(|(newest, _)| *newest = text.unsaved.newest());
            }
            // Before the writer can have written it: it needs the text's lock.
            people.took(from, text.unsaved.newest(), whole && !taken.incomplete);
            board.changed.notify_one();
            Ok(taken)
        };
        inline_or_blocking(bytes, text, take).await
    }

    /// Writes down what changes, for as long as somebody holds the board. Begins with what an earlier run left.
    pub async fn write(self: Arc<Self>) {
        loop {
            while self.write_some().await {}
            self.changed.notified().await;
            sleep(GATHER).await;
        }
    }

    /// Resolves when everything taken so far is on disk.
    pub async fn written(&self) {
        let newest = self.progress.borrow().0;
        let mut progress = self.progress.subscribe();
        // The sender lives in the board.
        let _ = progress.wait_for(|(_, saved)| *saved >= newest).await;
    }

    /// Whether everything taken so far is on disk.
    pub fn is_written(&self) -> bool {
        let (newest, saved) = *self.progress.borrow();
        newest == saved
    }

    /// Appends what is unsaved, up to a bound. Says whether there may be more.
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
        self.people().saved(batch.sequence, batch.moved);
        let has_room = text.unsaved.is_half_empty();
        drop(text);
        if has_room {
            self.ask_the_refused().await;
        }
        self.compact_if_large(head).await;
        true
    }

    /// Asks the Yjs clients whose updates found no room for all that the server lacks. They know of no refusal that passes.
    async fn ask_the_refused(&self) {
        if !self.people().has_refused() {
            return;
        }
        if let Ok(state_vector) = self.state_vector().await {
            self.people().ask_the_refused(&state_vector);
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
            // Whatever comes of it, the next try is when the log has grown once more.
            text.growth = Growth::default();
            text.ask(Document::snapshot)
        });
        let compacted = match snapshot.await {
            Ok(snapshot) => self.store.compact(head, snapshot).await,
            Err(error) => Err(BusError::Unavailable(error.to_string())),
        };
        if let Err(error) = compacted {
            tracing::warn!(%error, "a document's log could not be compacted; it is whole as it is");
        }
    }

    /// The text, loaded.
    async fn loaded(&self) -> Result<OwnedMutexGuard<Text>, LoadError> {
        let mut text = self.text.clone().lock_owned().await;
        if text.document.is_some() {
            return Ok(text);
        }
        let loaded = self.store.load(text.unsaved.updates()).await?;
        if text.unsaved.newest() == 0 {
            self.people().loaded(loaded.document.clocks());
        }
        text.growth = loaded.growth;
        text.document = Some(loaded.document);
        Ok(text)
    }
}

impl Text {
    fn document(&mut self) -> Result<&mut Document, LoadError> {
        // `Board::loaded` sees to it.
        let missing = || LoadError::Damaged("it is not loaded".into());
        self.document.as_mut().ok_or_else(missing)
    }

    /// Asks the document, and lets go of it when that broke it.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Document) -> Result<T, Refusal>,
    ) -> Result<T, TakeError> {
        let answer = question(self.document()?);
        if matches!(answer, Err(Refusal::Harmful)) {
            tracing::warn!("an update broke a document, which is made anew from its log");
            self.document = None;
        }
        Ok(answer?)
    }
}

/// Does a piece of work under the text's lock: here when it is small, on a thread for such work when it is not.
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
            server::test_client::Client,
        },
    };
    use realtime::server::queue::OutQueue;

    #[tokio::test]
    async fn a_broken_document_is_made_anew_with_what_is_not_written_yet() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let board = Arc::new(Board::new(bus.clone(), "notes"));
        let ana = Client::new(1);
        board
            .take(1, ana.insert(0, "on disk").into(), false)
            .await
            .unwrap();
        while board.write_some().await {}
        assert!(board.is_written());
        // Nobody writes this down: there is no writer here.
        board
            .take(1, ana.insert(7, " and not").into(), false)
            .await
            .unwrap();
        let broken = board
            .text
            .lock()
            .await
            .ask(|_| Err::<(), _>(Refusal::Harmful));
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
    async fn a_writer_begins_with_what_an_earlier_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let board = Arc::new(Board::new(bus, "notes"));
        let update = Client::new(1).insert(0, "unsaved").into();
        board.take(1, update, false).await.unwrap();
        // Heard by a writer that then panicked.
        board.changed.notified().await;
        let writer = tokio::spawn(board.clone().write());
        let written = tokio::time::timeout(Duration::from_secs(20), board.written()).await;
        assert!(written.is_ok(), "it waits for another change");
        writer.abort();
    }

    #[tokio::test]
    async fn what_finds_no_room_is_refused_and_asked_for_once_the_storage_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let board = Arc::new(Board::new(bus.clone(), "notes"));
        let queue = OutQueue::default();
        board.people().enter_yjs(1, queue.clone());
        board.people().brief(1);
        queue.take().await;
        // Nobody writes anything down: there is no writer here.
        let ana = Client::new(1);
        let megabyte = "x".repeat(1024 * 1024);
        let mut refused = 0;
        for _ in 0..20 {
            // The text stays short: what waits is its history.
            let update = ana.insert(0, &megabyte).into();
            let taken = board.take(1, update, false).await;
            if matches!(taken, Err(TakeError::Behind)) {
                board.people().refused(1);
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
        let taken = board.take(1, last.into(), false).await.unwrap();
        assert!(taken.incomplete, "it builds on what was refused");

        // The storage is back.
        while board.write_some().await {}
        let asked = queue.take().await.messages;
        let questions = asked.iter().filter_map(|message| match message {
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
