//! All rooms of the chat: opens them on demand, closes empty ones, saves read marks and drops old messages.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::interval;

use super::{
    log::{LATEST, PREFIX, RoomLog},
    room::{Room, RoomChannel, save_marks},
};
use crate::{
    background::Supervisor,
    bus::{BusError, SharedBus},
    chat::{
        ROOMS, is_room_name,
        message::{FirstMessages, RoomSummary},
    },
};
use realtime::{
    position::Position,
    server::{
        channel::{Log, LogError},
        now_ms,
    },
};

/// Most rooms that are open at a time. Visiting a name opens a room, and no client may fill the memory with names.
const MOST_ROOMS: usize = 10_000;
/// Size of the room list: the permanent rooms, up to this many open ones, and up to this many recently used ones.
const LISTED: usize = 1_000;
/// Interval of saving read marks and closing empty rooms.
const ROUND: Duration = Duration::from_secs(1);
/// Interval of dropping messages that are too old; shorter if they are kept for a short time only.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// All rooms. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub struct Chat(Arc<Rooms>);

struct Rooms {
    bus: SharedBus,
    /// A std mutex, held for map operations only. A room's own lock may be taken while it is held, never the other way
    /// round.
    open: Mutex<HashMap<String, Arc<Room>>>,
    background: Supervisor,
}

/// Why a room cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    #[error("The server holds as many rooms as it may. Use one that is open.")]
    TooMany,
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Chat {
    pub fn new(bus: SharedBus, background: Supervisor) -> Self {
        Self(Arc::new(Rooms {
            bus,
            open: Mutex::default(),
            background,
        }))
    }

    /// The room of this name; opens it if it is not open.
    pub async fn room(&self, name: &str) -> Result<Arc<RoomChannel>, NoRoom> {
        let room = {
            let mut open_rooms = self.open_rooms();
            // The permanent rooms can always be opened.
            let full = open_rooms.len() >= MOST_ROOMS && !ROOMS.contains(&name);
            match open_rooms.entry(name.to_owned()) {
                Entry::Occupied(room) => room.get().clone(),
                Entry::Vacant(_) if full => return Err(NoRoom::TooMany),
                Entry::Vacant(entry) => {
                    let room = Room::new(name, self.0.bus.clone(), self.0.background.clone());
                    entry.insert(room).clone()
                }
            }
        };
        Ok(room.open().await?)
    }

    /// Runs what the rooms begin.
    pub fn background(&self) -> &Supervisor {
        &self.0.background
    }

    /// A room's messages, whether it is open or not.
    pub fn log(&self, room: &str) -> RoomLog {
        RoomLog::new(self.0.bus.clone(), room)
    }

    /// The first state of a room's page; `None` if the name is invalid or the storage is unavailable.
    pub async fn first_messages(&self, name: &str) -> Option<FirstMessages> {
        if !is_room_name(name) {
            return None;
        }
        let log = self.log(name);
        let mut messages = log.before(u64::MAX, LATEST).await.ok()?.messages;
        let head = match messages.first() {
            Some(newest) => newest.offset,
            None => log.head().await.ok()?.head,
        };
        messages.reverse();
        let room = self.open_rooms().get(name).cloned();
        let members = |room: &Arc<RoomChannel>| room.change(|roster, _| roster.members());
        Some(FirstMessages {
            position: Position::new(log.epoch(), head),
            members: room
                .and_then(|room| room.channel().map(members))
                .unwrap_or_default(),
            messages,
        })
    }

    /// The list of rooms, sorted by name.
    pub async fn summaries(&self) -> Result<Vec<RoomSummary>, LogError> {
        let stored = self.0.bus.logs(PREFIX, LISTED).await?;
        let mut heads: HashMap<&str, u64> = stored
            .iter()
            .filter_map(|summary| Some((summary.log.strip_prefix(PREFIX)?, summary.head)))
            .collect();
        let open_rooms = self.open_rooms().clone();
        let mut names: Vec<&str> = heads.keys().copied().chain(ROOMS).collect();
        let open = open_rooms.keys().map(String::as_str);
        names.extend(open.take(LISTED));
        names.sort_unstable();
        names.dedup();
        if stored.len() == LISTED {
            // The list was cut: read the heads of open or permanent rooms that were not written to recently.
            for name in &names {
                if !heads.contains_key(name) {
                    heads.insert(name, self.log(name).head().await?.head);
                }
            }
        }
        let headcount = |room: &Arc<Room>| {
            let channel = room.channel()?;
            Some(channel.change(|roster, _| roster.presence.len()))
        };
        let summary = |room: &str| RoomSummary {
            room: room.to_owned(),
            members: open_rooms.get(room).and_then(headcount).unwrap_or(0),
            head: heads.get(room).copied().unwrap_or(0),
        };
        Ok(names.into_iter().map(summary).collect())
    }

    /// Saves read marks, closes empty rooms, and drops messages older than `retention`, for ever.
    pub async fn run(self, retention: Option<Duration>) {
        let mut rounds = interval(ROUND);
        let forget_every =
            retention.map_or(FORGET_EVERY, |age| (age / 4).clamp(ROUND, FORGET_EVERY));
        let mut forgetting = interval(forget_every);
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    self.save_marks().await;
                    // Only after saving: a room that is opened again reads its marks from the bus.
                    self.open_rooms().retain(|_, room| !room.close_if_idle());
                }
                _ = forgetting.tick(), if retention.is_some() => {
                    if let Err(error) = self.forget(retention.unwrap_or_default()).await {
                        tracing::warn!(%error, "old messages could not be dropped; trying again");
                    }
                }
            }
        }
    }

    /// Saves the read marks that moved.
    pub async fn save_marks(&self) {
        let open_rooms: Vec<_> = self.open_rooms().values().cloned().collect();
        let channels = open_rooms.iter().filter_map(|room| room.channel());
        join_all(channels.map(|channel| save_marks(channel))).await;
    }

    async fn forget(&self, retention: Duration) -> Result<(), BusError> {
        let before = now_ms().saturating_sub(retention.as_millis() as u64);
        let mut outcome = Ok(());
        for log in self.0.bus.logs(PREFIX, usize::MAX).await? {
            // A failure in one room does not keep the other rooms' messages from being dropped.
            outcome = self.forget_room(&log.log, before).await.and(outcome);
        }
        outcome
    }

    async fn forget_room(&self, log: &str, before: u64) -> Result<(), BusError> {
        while self.0.bus.forget(log, before).await? > 0 {}
        Ok(())
    }

    /// A panic while the lock was held leaves the map intact.
    fn open_rooms(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::embedded::Embedded;

    #[tokio::test]
    async fn the_permanent_rooms_can_be_opened_however_many_others_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let background = Supervisor::default();
        let chat = Chat::new(bus.clone(), background.clone());
        for number in 0..MOST_ROOMS {
            let name = format!("room-{number}");
            let room = Room::new(&name, bus.clone(), background.clone());
            chat.open_rooms().insert(name, room);
        }
        let refused = chat.room("one-more").await;
        assert!(matches!(refused, Err(NoRoom::TooMany)));
        for name in ROOMS {
            assert!(chat.room(name).await.is_ok());
        }
    }
}
