//! The log of a room: stores its messages on the bus and reads them back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    bus::{BusError, Event, Follower, NewEvent, Searchable, SharedBus},
    chat::message::{ChatMessage, Posted},
    session::User,
};
use realtime::{
    channel::Entry,
    id::SpelledId,
    position::Epoch,
    server::channel::{Appended, Follow, Head, Log, LogError},
};

/// How many of the latest messages a newcomer gets.
pub const LATEST: usize = 50;
/// The id of a message is the client's choice, and one of another user's messages has it.
const ID_TAKEN: &str = "Another person's message has this id. Make a new one.";
/// The storage works but rejects this message. The refusal is final: a message that is sent again and again would hold
/// up all later ones for ever.
const NOT_STORABLE: &str = "This message cannot be stored. Write it anew.";
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

/// Follows a room's log.
pub struct RoomFollower(Follower);

impl RoomLog {
    pub fn new(bus: SharedBus, room: &str) -> Self {
        let name = format!("{PREFIX}{room}").into();
        Self { bus, name }
    }

    /// The bus that holds the log.
    pub fn bus(&self) -> &SharedBus {
        &self.bus
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
}

impl Log for RoomLog {
    type Message = Posted;
    type Follower = RoomFollower;

    fn epoch(&self) -> Epoch {
        self.bus.epoch()
    }

    async fn head(&self) -> Result<Head, LogError> {
        Ok(self.bus.head(&self.name).await?)
    }

    async fn reach(&self, offset: u64) -> Result<(), LogError> {
        Ok(self.bus.reach(offset).await?)
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry<Posted>>, LogError> {
        let page = self.bus.read(&self.name, after, limit).await?;
        Ok(page.events.into_iter().map(decode).collect())
    }

    async fn count(&self, after: u64, upto: u64) -> Result<u64, LogError> {
        Ok(self.bus.count(&self.name, after, upto, None).await?)
    }

    /// Long messages take more than one page.
    async fn before_latest(&self, head: u64, count: usize) -> Result<u64, LogError> {
        let (mut before, mut missing) = (head + 1, count);
        loop {
            let page = self.bus.read_before(&self.name, before, missing).await?;
            before = page.events.last().map_or(before, |oldest| oldest.offset);
            missing -= page.events.len();
            if missing == 0 || !page.more {
                return Ok(before - 1);
            }
        }
    }

    async fn append(&self, id: SpelledId, posted: Posted) -> Result<Appended, LogError> {
        let author = posted.from.id;
        let stored = Stored {
            from: posted.from,
            text: posted.text,
            spelling: id.spelling().map(Into::into),
        };
        let bytes = serde_json::to_vec(&stored)
            .map_err(|error| LogError::Unavailable(error.to_string()))?;
        let event = NewEvent::new(&*self.name, id.value(), bytes).by(author);
        let appended = self.bus.append(event).await?;
        let (offset, at, new) = (appended.event.offset, appended.event.at, appended.new);
        if !new && decode(appended.event).message.from.id != author {
            return Err(LogError::Refused(ID_TAKEN.into()));
        }
        Ok(Appended { offset, at, new })
    }

    fn follow(&self, after: u64) -> RoomFollower {
        RoomFollower(Follower::new(self.bus.clone(), &self.name, after))
    }
}

impl Follow for RoomFollower {
    type Message = Posted;

    async fn next(&mut self, limit: usize) -> Result<Vec<Entry<Posted>>, LogError> {
        let events = self.0.next(limit).await?;
        Ok(events.into_iter().map(decode).collect())
    }
}

impl From<BusError> for LogError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Forgotten { floor } => Self::Truncated { floor },
            BusError::Closed => Self::Closed,
            BusError::Refused(_) => Self::Refused(NOT_STORABLE.into()),
            BusError::Unavailable(_) | BusError::HeadMoved { .. } | BusError::TimedOut => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<crate::bus::Page> for Messages {
    fn from(page: crate::bus::Page) -> Self {
        Self {
            messages: page
                .events
                .into_iter()
                .map(|event| decode(event).into())
                .collect(),
            more: page.more,
        }
    }
}

/// Decodes an event into a message. An event that cannot be read becomes a placeholder, because a missing offset would
/// look like a gap.
fn decode(event: Event) -> Entry<Posted> {
    let stored = serde_json::from_slice(&event.bytes).unwrap_or_else(|error| {
        tracing::error!(offset = event.offset, %error, "a stored message cannot be read");
        Stored {
            from: User::new(Uuid::nil(), "?".into()),
            text: "This message cannot be shown.".into(),
            spelling: None,
        }
    });
    Entry {
        offset: event.offset,
        id: SpelledId::new(event.id, stored.spelling),
        at: event.at,
        message: Posted {
            from: stored.from,
            text: stored.text,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::embedded::Embedded;
    use realtime::{position::Position, server::channel::Start};

    async fn room_with(count: usize) -> (RoomLog, User, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let bus = Arc::new(Embedded::open(folder.path()).unwrap());
        let (log, ada) = (
            RoomLog::new(bus, "lobby"),
            User::new(Uuid::new_v4(), "Ada".into()),
        );
        for number in 1..=count {
            let text = format!("message {number}");
            post(&log, Uuid::new_v4(), &ada, &text).await.unwrap();
        }
        (log, ada, folder)
    }

    async fn post(log: &RoomLog, id: Uuid, from: &User, text: &str) -> Result<Appended, LogError> {
        let (from, text) = (from.clone(), text.to_owned());
        log.append(id.into(), Posted { from, text }).await
    }

    async fn offsets(start: &Start, log: &RoomLog) -> Vec<u64> {
        let entries = log.read(start.after, 1_000).await.unwrap();
        entries.iter().map(|entry| entry.offset).collect()
    }

    #[tokio::test]
    async fn the_same_id_is_stored_once_and_belongs_to_one_user() {
        let (log, ada, _folder) = room_with(0).await;
        let id = Uuid::new_v4();
        let first = post(&log, id, &ada, "hello").await.unwrap();
        post(&log, Uuid::new_v4(), &ada, "other").await.unwrap();
        let again = post(&log, id, &ada, "hello").await.unwrap();
        assert_eq!(
            (first.new, again),
            (
                true,
                Appended {
                    new: false,
                    ..first
                }
            )
        );
        assert_eq!(log.head().await.unwrap().head, 2);
        let bob = User::new(Uuid::new_v4(), "Bob".into());
        let taken = post(&log, id, &bob, "hello").await;
        assert_eq!(taken, Err(LogError::Refused(ID_TAKEN.into())));
        let page = log.before(u64::MAX, 10).await.unwrap();
        assert_eq!(
            (page.messages[1].id.value(), &page.messages[1].from),
            (id, &ada)
        );
    }

    #[tokio::test]
    async fn a_member_that_reconnects_gets_exactly_the_missed_messages() {
        let (log, _, _folder) = room_with(100).await;
        for (offset, replayed) in [(97, 3), (100, 0), (0, 100)] {
            let position = Position::new(log.epoch(), offset);
            let start = Start::of(&log, Some(&position), LATEST).await.unwrap();
            let joined = &start.joined;
            assert_eq!((joined.recovered, joined.replayed), (true, replayed));
            let missed: Vec<_> = (offset + 1..=100).collect();
            assert_eq!(offsets(&start, &log).await, missed);
        }
    }

    #[tokio::test]
    async fn a_position_that_cannot_be_resumed_gets_the_latest_and_is_not_recovered() {
        let (log, _, _folder) = room_with(100).await;
        let foreign = Position::new(Epoch::random(), 99);
        let future = Position::new(log.epoch(), 101);
        for after in [None, Some(&foreign), Some(&future)] {
            let start = Start::of(&log, after, LATEST).await.unwrap();
            let found = (start.joined.recovered, start.joined.replayed);
            assert_eq!(found, (false, LATEST as u64), "{after:?}");
            assert_eq!(offsets(&start, &log).await, (51..=100).collect::<Vec<_>>());
        }
        let empty = RoomLog::new(log.bus.clone(), "empty");
        let start = Start::of(&empty, None, LATEST).await.unwrap();
        let found = (start.joined.recovered, start.joined.replayed, start.after);
        assert_eq!(found, (false, 0, 0));
    }

    #[tokio::test]
    async fn what_was_dropped_is_reported_with_the_floor() {
        let (log, _, _folder) = room_with(10).await;
        assert!(log.bus.forget("chat/lobby", u64::MAX).await.unwrap() > 0);
        let Head { floor, head } = log.head().await.unwrap();
        assert!(floor > 0 && head == 10, "{floor} {head}");
        let dropped = Err(LogError::Truncated { floor });
        assert_eq!(log.read(floor - 1, 10).await, dropped);
        assert_eq!(
            log.read(floor, 10).await.unwrap().len() as u64,
            head - floor
        );
    }
}
