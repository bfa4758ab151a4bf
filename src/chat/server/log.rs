//! The log of a room: stores its messages on the bus and reads them back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    bus::{BusError, Event, Follower, NewEvent, Searchable, SharedBus},
    chat::message::ChatMessage,
    session::User,
};
use realtime::{
    id::SpelledId,
    position::{Epoch, Position},
};

/// How many of the latest messages a newcomer gets.
pub const LATEST: usize = 50;
/// Prefix of the names of all rooms' logs.
pub const PREFIX: &str = "chat/";

/// What the search index covers: the texts of all rooms' messages.
pub const SEARCHABLE: Searchable = Searchable {
    prefix: PREFIX,
    text: |bytes| Some(serde_json::from_slice::<Stored>(bytes).ok()?.text),
};

/// The log of one room. Cheap to clone.
#[derive(Clone)]
pub struct RoomLog {
    bus: SharedBus,
    name: Arc<str>,
}

/// The stored form of a message; offset, id and time are stored beside it.
#[derive(Serialize, Deserialize)]
struct Stored {
    from: User,
    text: String,
    /// The client's spelling of the id, if it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spelling: Option<Box<str>>,
}

/// A page of the log.
#[derive(Debug, Default)]
pub struct Messages {
    pub messages: Vec<ChatMessage>,
    /// More messages exist in the direction of the read.
    pub more: bool,
}

/// Where a member's subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The room's head at the time of the read.
    pub head: Position,
    /// Everything after the member's position is still held, and follows.
    pub recovered: bool,
    /// Messages after this offset follow.
    pub after: u64,
    pub replayed: u64,
}

/// Why a message was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("Another person's message has this id. Make a new one.")]
    IdTaken,
}

impl RoomLog {
    pub fn new(bus: SharedBus, room: &str) -> Self {
        let name = format!("{PREFIX}{room}").into();
        Self { bus, name }
    }

    pub fn epoch(&self) -> Epoch {
        self.bus.epoch()
    }

    /// Stores a message, unless its id is stored already. Returns the offset and the time of the stored one either way.
    pub async fn post(
        &self,
        id: impl Into<SpelledId>,
        from: &User,
        text: &str,
    ) -> Result<(u64, u64), PostError> {
        let id = id.into();
        let stored = Stored {
            from: from.clone(),
            text: text.to_owned(),
            spelling: id.spelling().map(Into::into),
        };
        let bytes = serde_json::to_vec(&stored)
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        let event = NewEvent::new(&*self.name, id.value(), bytes).by(from.id);
        let appended = self.bus.append(event).await?;
        let (offset, at) = (appended.event.offset, appended.event.at);
        if !appended.new && decode(appended.event).from.id != from.id {
            return Err(PostError::IdTaken);
        }
        Ok((offset, at))
    }

    /// Where a member at position `after` begins: right there if everything since is held; else at the [`LATEST`]
    /// messages.
    pub async fn start(&self, after: Option<&Position>) -> Result<Start, BusError> {
        let (epoch, head) = (self.bus.epoch(), self.bus.head(&self.name).await?);
        let known = after.filter(|after| head.continues(&epoch, after));
        let offset = match known {
            Some(known) => known.offset,
            None => self.before_the_latest(head.head).await?,
        };
        Ok(Start {
            recovered: known.is_some(),
            after: offset,
            // Counted up to the head in the answer: messages stored meanwhile are delivered live.
            replayed: self.bus.count(&self.name, offset, head.head, None).await?,
            head: Position::new(epoch, head.head),
        })
    }

    /// The offset after which the latest [`LATEST`] messages begin. Long messages take more than one page.
    async fn before_the_latest(&self, head: u64) -> Result<u64, BusError> {
        let (mut before, mut missing) = (head + 1, LATEST);
        loop {
            let page = self.bus.read_before(&self.name, before, missing).await?;
            before = page.events.last().map_or(before, |oldest| oldest.offset);
            missing -= page.events.len();
            if missing == 0 || !page.more {
                return Ok(before - 1);
            }
        }
    }

    /// Messages after an offset, oldest first.
    pub async fn after(&self, after: u64, limit: usize) -> Result<Messages, BusError> {
        self.bus
            .read(&self.name, after, limit)
            .await
            .map(Into::into)
    }

    /// Messages before an offset, newest first.
    pub async fn before(&self, before: u64, limit: usize) -> Result<Messages, BusError> {
        let page = self.bus.read_before(&self.name, before, limit);
        page.await.map(Into::into)
    }

    /// Messages in which all words of a text occur, newest first. A new message can be found after a tenth of a second.
    pub async fn search(&self, text: &str, limit: usize) -> Result<Messages, BusError> {
        let page = self.bus.search(&self.name, text, limit);
        page.await.map(Into::into)
    }

    /// How many messages of other users are after one offset and up to another.
    pub async fn unread(&self, after: u64, upto: u64, user_id: Uuid) -> Result<u64, BusError> {
        let count = self.bus.count(&self.name, after, upto, Some(user_id));
        count.await
    }

    pub async fn head(&self) -> Result<u64, BusError> {
        Ok(self.bus.head(&self.name).await?.head)
    }

    /// Follows the log after an offset.
    pub fn follow(&self, after: u64) -> Follower {
        Follower::new(self.bus.clone(), &self.name, after)
    }
}

impl From<crate::bus::Page> for Messages {
    fn from(page: crate::bus::Page) -> Self {
        Self {
            messages: page.events.into_iter().map(decode).collect(),
            more: page.more,
        }
    }
}

/// Decodes an event into a message. An event that cannot be read becomes a placeholder, because a missing offset would
/// look like a gap.
pub fn decode(event: Event) -> ChatMessage {
    let stored = serde_json::from_slice(&event.bytes).unwrap_or_else(|error| {
        tracing::error!(offset = event.offset, %error, "a stored message cannot be read");
        Stored {
            from: User::new(Uuid::nil(), "?".into()),
            text: "This message cannot be shown.".into(),
            spelling: None,
        }
    });
    ChatMessage {
        offset: event.offset,
        id: SpelledId::new(event.id, stored.spelling),
        from: stored.from,
        text: stored.text,
        at: event.at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::embedded::Embedded;

    async fn room_with(count: usize) -> (RoomLog, User, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let bus = Arc::new(Embedded::open(folder.path()).unwrap());
        let (log, ada) = (
            RoomLog::new(bus, "lobby"),
            User::new(Uuid::new_v4(), "Ada".into()),
        );
        for number in 1..=count {
            let text = format!("message {number}");
            log.post(Uuid::new_v4(), &ada, &text).await.unwrap();
        }
        (log, ada, folder)
    }

    async fn offsets(start: &Start, log: &RoomLog) -> Vec<u64> {
        let page = log.after(start.after, 1_000).await.unwrap();
        page.messages.iter().map(|message| message.offset).collect()
    }

    #[tokio::test]
    async fn the_same_id_is_stored_once_and_belongs_to_one_user() {
        let (log, ada, _folder) = room_with(0).await;
        let id = Uuid::new_v4();
        let first = log.post(id, &ada, "hello").await.unwrap();
        log.post(Uuid::new_v4(), &ada, "other").await.unwrap();
        assert_eq!(log.post(id, &ada, "hello").await.unwrap(), first);
        assert_eq!(log.head().await.unwrap(), 2);
        let bob = User::new(Uuid::new_v4(), "Bob".into());
        let taken = log.post(id, &bob, "hello").await;
        assert!(matches!(taken, Err(PostError::IdTaken)));
        let page = log.before(u64::MAX, 10).await.unwrap();
        assert_eq!(
            (page.messages[1].id.value(), &page.messages[1].from),
            (id, &ada)
        );
    }

    #[tokio::test]
    async fn a_member_that_reconnects_gets_exactly_the_missed_messages() {
        let (log, _, _folder) = room_with(100).await;
        let position = |offset| Position::new(log.epoch(), offset);
        let start = log.start(Some(&position(97))).await.unwrap();
        assert_eq!((start.recovered, start.replayed), (true, 3));
        assert_eq!(offsets(&start, &log).await, [98, 99, 100]);
        let nothing = log.start(Some(&position(100))).await.unwrap();
        assert_eq!((nothing.recovered, nothing.replayed), (true, 0));
        let all = log.start(Some(&position(0))).await.unwrap();
        assert_eq!((all.recovered, all.replayed), (true, 100));
    }

    #[tokio::test]
    async fn a_position_that_cannot_be_resumed_gets_the_latest_and_is_not_recovered() {
        let (log, _, _folder) = room_with(100).await;
        let foreign = Position::new(Epoch::random(), 99);
        let future = Position::new(log.epoch(), 101);
        for after in [None, Some(&foreign), Some(&future)] {
            let start = log.start(after).await.unwrap();
            let expected = (false, LATEST as u64);
            assert_eq!((start.recovered, start.replayed), expected, "{after:?}");
            assert_eq!(offsets(&start, &log).await, (51..=100).collect::<Vec<_>>());
        }
        let empty = RoomLog::new(log.bus.clone(), "empty");
        let start = empty.start(None).await.unwrap();
        assert_eq!(
            (start.recovered, start.replayed, start.after),
            (false, 0, 0)
        );
    }
}
