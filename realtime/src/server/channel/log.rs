//! What a channel needs of a log.

use std::future::Future;

use crate::{
    channel::{Entry, Joined},
    id::SpelledId,
    message::{ErrorCode, SocketError},
    position::{Epoch, Position},
};

/// After how long a command that the log could not execute may be sent again, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// An append-only log of messages. Offsets increase within a log and begin above 0. They need not increase in steps of one.
///
/// A handle, cheap to clone; all clones share one log.
pub trait Log: Send + Sync + 'static {
    /// What is stored of a message, beside offset, id and time.
    type Message: Send + 'static;
    /// Follows the log.
    type Follower: Follow<Message = Self::Message>;

    /// Identifies the history that all offsets belong to. It does not change while the process runs.
    fn epoch(&self) -> Epoch;

    /// The range of offsets that the log holds.
    fn head(&self) -> impl Future<Output = Result<Head, LogError>> + Send;

    /// Called for a member that comes with an offset above the head. Where several servers share a log, another one may have
    /// delivered messages that this one has not read yet: waits until it has, or returns [`LogError::Unavailable`] if that
    /// takes too long. By default, and for an offset that does not exist, it returns at once.
    fn reach(&self, _offset: u64) -> impl Future<Output = Result<(), LogError>> + Send {
        async { Ok(()) }
    }

    /// Up to `limit` messages after an offset, oldest first; none only if there are none.
    /// [`LogError::Truncated`] if the log no longer holds every message after the offset.
    fn read(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Entry<Self::Message>>, LogError>> + Send;

    /// The number of messages after one offset and up to another.
    fn count(&self, after: u64, upto: u64) -> impl Future<Output = Result<u64, LogError>> + Send;

    /// The offset after which the latest `count` messages up to `head` begin.
    fn before_latest(
        &self,
        head: u64,
        count: usize,
    ) -> impl Future<Output = Result<u64, LogError>> + Send;

    /// Stores a message. If the log holds a message with this id, nothing is stored, and the answer is the offset and time
    /// of that one. [`LogError::Refused`] if that is the message of somebody else.
    fn append(
        &self,
        id: SpelledId,
        message: Self::Message,
    ) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// Follows the log after an offset.
    fn follow(&self, after: u64) -> Self::Follower;
}

/// Reads a log from an offset on: stored messages first, then new ones, each once and in order.
pub trait Follow: Send + 'static {
    /// The message type of the log.
    type Message;

    /// Up to `limit` next messages; waits until there is at least one. They may be handed over from memory, as they were
    /// committed. Safe to cancel: a call that is dropped skips nothing.
    ///
    /// [`LogError::Truncated`] if the next message is no longer held, [`LogError::Closed`] if none will follow.
    fn next(
        &mut self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Entry<Self::Message>>, LogError>> + Send;
}

/// The range of a log: it holds every message after `floor`, up to `head`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Messages up to this offset are no longer held.
    pub floor: u64,
    /// The offset of the newest message that was ever stored; 0 before the first.
    pub head: u64,
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the stored message.
    pub offset: u64,
    /// When it was stored, in Unix milliseconds.
    pub at: u64,
    /// False if the log held the id already.
    pub new: bool,
}

/// Why an operation of a log failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The log does not hold everything that was asked for.
    #[error("messages up to offset {floor} are no longer held")]
    Truncated {
        /// Messages up to this offset are no longer held.
        floor: u64,
    },
    /// May succeed later: keep the message and try again. The text is for the server's own log.
    #[error("the storage is away: {0}")]
    Unavailable(String),
    /// The log is closed for good; for a client it is the same as an unavailable storage.
    #[error("the storage is closed")]
    Closed,
    /// The same message would be refused again. The text is a sentence for the user.
    #[error("{0}")]
    Refused(String),
}

/// Where a member begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The answer to the join.
    pub joined: Joined,
    /// Messages after this offset follow.
    pub after: u64,
}

impl Head {
    /// Whether every message after a position is held.
    pub fn continues(&self, epoch: &Epoch, position: &Position) -> bool {
        position.epoch == *epoch && (self.floor..=self.head).contains(&position.offset)
    }
}

impl Start {
    /// Where a member at position `after` begins: right there if every message since is held, else at the `latest` messages.
    pub async fn of(
        log: &impl Log,
        after: Option<&Position>,
        latest: usize,
    ) -> Result<Self, LogError> {
        let (epoch, mut head) = (log.epoch(), log.head().await?);
        let ahead = after.filter(|after| after.epoch == epoch && after.offset > head.head);
        if let Some(ahead) = ahead {
            log.reach(ahead.offset).await?;
            head = log.head().await?;
        }
        let known = after.filter(|after| head.continues(&epoch, after));
        let offset = match known {
            Some(known) => known.offset,
            None => log.before_latest(head.head, latest).await?,
        };
        let joined = Joined {
            epoch,
            head: head.head,
            recovered: known.is_some(),
            // Counted up to the head in the answer: messages stored meanwhile are delivered live.
            replayed: log.count(offset, head.head).await?,
        };
        Ok(Self {
            joined,
            after: offset,
        })
    }
}

impl From<LogError> for SocketError {
    fn from(error: LogError) -> Self {
        if let LogError::Refused(sentence) = error {
            return Self::new(ErrorCode::InvalidField, sentence);
        }
        // The cause makes no difference to the client.
        let message =
            "Messages cannot be stored or read at the moment. Keep this one and send it again.";
        let mut error = Self::new(ErrorCode::Unavailable, message);
        error.retry_after_ms = Some(RETRY_AFTER_MS);
        error
    }
}
