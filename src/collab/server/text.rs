//! The text of a board in memory: its document, and what is not on disk yet.

use std::collections::HashSet;

use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::{
    document::{Document, Refusal},
    offload::INLINE_BYTES,
    store::{Growth, LoadError},
    unsaved::Unsaved,
};

/// The text in memory.
#[derive(Default)]
pub struct Text {
    /// `None` until it is loaded, and after an update broke it. It is then loaded from the log, and the unsaved updates
    /// are applied again. The broken document is never used again, because its lock is never released.
    pub document: Option<Document>,
    pub unsaved: Unsaved,
    /// The growth of the log since its last snapshot, ...
    pub growth: Growth,
    /// ... which ended at this offset.
    pub floor: u64,
    /// The document lacks a part of the log that could not be applied, so no snapshot of it may replace the log.
    pub is_partial: bool,
    /// In a cluster: the events of this node that its follower has not come to. The document holds their updates.
    pub own: HashSet<Uuid>,
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

impl Text {
    pub fn document(&mut self) -> Result<&mut Document, LoadError> {
        // `Board::loaded` ensures that the document is present.
        let missing = || LoadError::Damaged("it is not loaded".into());
        self.document.as_mut().ok_or_else(missing)
    }

    /// Runs an operation on the document. Drops the document if the operation broke it.
    pub fn with_document<T>(
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
pub async fn inline_or_blocking<T: Send + 'static, E: From<LoadError> + Send + 'static>(
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
