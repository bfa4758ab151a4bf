//! One board: the people on it, the shared text, and the task that writes the text down.
//!
//! An update goes: guarded function, the others' queues, the list of what is unsaved, all under the text's lock, so that the
//! log has the updates in the order in which everybody was told of them. The writer gathers what is unsaved, appends it, and
//! only then says so. Whoever asks for what they lack gets what is in memory, saved or not.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, Notify, OwnedMutexGuard, watch},
    time::sleep,
};
use uuid::Uuid;

use super::{
    document::{Document, Refusal, Taken},
    message::PeerId,
    people::{Durable, People},
    store::{Growth, LoadError, Store},
};
use crate::bus::{BusError, SharedBus};

/// How long the writer gathers: a second is promised, and one event for several keystrokes is worth more than one for each.
const GATHER: Duration = Duration::from_millis(50);
/// One write takes no more updates than this many bytes, unless a single one is larger.
const WRITE_BYTES: usize = 256 * 1024;
/// Between two tries while the storage is away.
const RETRY: Duration = Duration::from_secs(1);
/// Work on more bytes than this is done on a thread of its own, so that it holds nobody else up.
const QUICK_BYTES: usize = 32 * 1024;

/// A board.
pub struct Board {
    store: Store,
    /// A std mutex: it is held for pushes into queues and never across an await.
    people: StdMutex<People>,
    text: Arc<Mutex<Option<Text>>>,
    /// Something is unsaved.
    changed: Notify,
    /// The newest change, and the newest that is on disk.
    progress: watch::Sender<(u64, u64)>,
}

/// The text in memory.
struct Text {
    document: Document,
    sequence: u64,
    /// What is not on disk yet, oldest first.
    unsaved: VecDeque<Change>,
    growth: Growth,
}

#[derive(Clone)]
struct Change {
    sequence: u64,
    update: Bytes,
    /// Of the document with this change.
    state_vector: Bytes,
}

/// Why an update was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Board {
    pub fn new(bus: SharedBus, name: &str) -> Self {
        Self {
            store: Store::new(bus, name),
            people: StdMutex::default(),
            text: Arc::default(),
            changed: Notify::new(),
            progress: watch::Sender::new((0, 0)),
        }
    }

    /// The people. A panic while the lock was held leaves at worst a pointer that is told a tick late.
    pub fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the text, if it is not loaded yet.
    pub async fn load(&self) -> Result<(), LoadError> {
        self.loaded().await.map(drop)
    }

    /// The text as it is now.
    pub async fn read(&self) -> Result<String, LoadError> {
        Ok(loaded_text(&mut *self.loaded().await?)?.document.text())
    }

    /// What is in the text, encoded as a state vector.
    pub async fn state_vector(&self) -> Result<Vec<u8>, LoadError> {
        Ok(loaded_text(&mut *self.loaded().await?)?
            .document
            .state_vector())
    }

    /// What a peer lacks that has this state vector.
    pub async fn difference(&self, state_vector: Bytes) -> Result<Vec<u8>, TakeError> {
        let mut text = self.loaded().await?;
        let bytes = loaded_text(&mut text)?.document.bytes();
        let answer = quickly_or_aside(bytes, text, move |text| {
            Ok(loaded_text(text)?.document.difference(&state_vector)?)
        });
        answer.await
    }

    /// Takes an update of a socket's, tells the others, and sees to it that it is written down.
    pub async fn take(self: &Arc<Self>, from: PeerId, update: Bytes) -> Result<Taken, TakeError> {
        let text = self.loaded().await?;
        let board = self.clone();
        let taken = quickly_or_aside(update.len(), text, move |text| {
            let text = loaded_text(text)?;
            let taken = text.document.take(&update)?;
            if let Some(change) = &taken.change {
                text.push(change);
                board
                    .progress
                    .send_modify(|(newest, _)| *newest = text.sequence);
            }
            let mut people = board.people();
            if let Some(change) = &taken.change {
                people.tell_update(change, from);
            }
            // Before the writer can have written it: it needs this lock.
            people.took(from, text.sequence);
            Ok(taken)
        });
        match taken.await {
            Err(TakeError::Refused(Refusal::Harmful)) => {
                self.make_anew().await?;
                Err(Refusal::Harmful.into())
            }
            Ok(taken) => {
                self.changed.notify_one();
                Ok(taken)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes down what changes, for as long as somebody holds the board.
    pub async fn write(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            sleep(GATHER).await;
            while self.write_some().await {}
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
        let batch = match self.text.lock().await.as_ref() {
            Some(text) => text.oldest_unsaved(),
            None => return false,
        };
        let Some(last) = batch.last().cloned() else {
            return false;
        };
        let updates: Vec<Bytes> = batch.into_iter().map(|change| change.update).collect();
        let id = Uuid::new_v4();
        let head = loop {
            match self.store.append(id, &updates).await {
                Ok(head) => break head,
                Err(BusError::Closed) => return false,
                Err(error) => {
                    tracing::warn!(%error, "a document could not be written; trying again")
                }
            }
            sleep(RETRY).await;
        };
        let mut text = self.text.lock().await;
        if let Some(text) = text.as_mut() {
            text.unsaved.drain(..updates.len());
            updates
                .iter()
                .for_each(|update| text.growth.add(update.len()));
        }
        self.progress
            .send_modify(|(_, saved)| *saved = last.sequence);
        self.people().saved(Durable {
            sequence: last.sequence,
            state_vector: last.state_vector,
        });
        drop(text);
        self.compact_if_large(head).await;
        true
    }

    async fn compact_if_large(&self, head: u64) {
        let text = self.text.clone().lock_owned().await;
        let bytes = match text.as_ref() {
            Some(text) if text.growth.is_large() => text.document.bytes(),
            _ => return,
        };
        let snapshot = quickly_or_aside(bytes, text, |text| {
            let text = loaded_text(text)?;
            let snapshot = text.document.snapshot()?;
            text.growth = Growth::default();
            Ok::<_, TakeError>(snapshot)
        });
        let compacted = match snapshot.await {
            Ok(snapshot) => self
                .store
                .compact(head, snapshot)
                .await
                .map_err(LoadError::from),
            // The log is whole without it, and the document is made anew from the log.
            Err(_) => self.make_anew().await,
        };
        if let Err(error) = compacted {
            tracing::warn!(%error, "a document's log could not be compacted; it is tried again when it has grown");
        }
    }

    /// Makes the document anew from the log and what is not in it yet. Nobody is told: what they have is what is made.
    async fn make_anew(&self) -> Result<(), LoadError> {
        let mut text = self.text.lock().await;
        tracing::warn!("an update broke a document, which is made anew from its log");
        let loaded = self.store.load().await;
        let (Some(text), Ok(loaded)) = (text.as_mut(), loaded) else {
            // What is unsaved would be lost with it: the broken one stays, and refuses whatever comes.
            return Err(LoadError::Damaged("it cannot be read from its log".into()));
        };
        // Leaked on purpose: its transaction is still open.
        std::mem::forget(std::mem::replace(&mut text.document, loaded.document));
        for change in &text.unsaved {
            let again = text.document.restore(&change.update);
            again.map_err(|refusal| LoadError::Damaged(refusal.to_string()))?;
        }
        Ok(())
    }

    async fn loaded(&self) -> Result<OwnedMutexGuard<Option<Text>>, LoadError> {
        let mut text = self.text.clone().lock_owned().await;
        if text.is_none() {
            let loaded = self.store.load().await?;
            let state_vector = loaded.document.state_vector().into();
            *text = Some(Text {
                document: loaded.document,
                sequence: 0,
                unsaved: VecDeque::new(),
                growth: loaded.growth,
            });
            self.people().saved(Durable {
                sequence: 0,
                state_vector,
            });
        }
        Ok(text)
    }
}

impl Text {
    fn push(&mut self, update: &[u8]) {
        self.sequence += 1;
        self.unsaved.push_back(Change {
            sequence: self.sequence,
            update: Bytes::copy_from_slice(update),
            state_vector: self.document.state_vector().into(),
        });
    }

    fn oldest_unsaved(&self) -> Vec<Change> {
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let first = bytes == 0;
            bytes += change.update.len();
            first || bytes <= WRITE_BYTES
        };
        self.unsaved.iter().take_while(fits).cloned().collect()
    }
}

fn loaded_text(text: &mut Option<Text>) -> Result<&mut Text, LoadError> {
    // `Board::loaded` fills it, and nothing empties it.
    text.as_mut()
        .ok_or_else(|| LoadError::Damaged("it is not loaded".into()))
}

/// Does a piece of work under the text's lock: here when it is small, on a thread for such work when it is not.
async fn quickly_or_aside<T: Send + 'static, E: From<LoadError> + Send + 'static>(
    bytes: usize,
    mut text: OwnedMutexGuard<Option<Text>>,
    work: impl FnOnce(&mut Option<Text>) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    if bytes <= QUICK_BYTES {
        return work(&mut text);
    }
    tokio::task::spawn_blocking(move || work(&mut text))
        .await
        .unwrap_or_else(|error| Err(LoadError::Damaged(error.to_string()).into()))
}
