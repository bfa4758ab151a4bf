//! All rooms: opened when somebody visits, closed when nobody is left; what is regularly to be done for them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::interval;

use super::{
    log::{LATEST, PREFIX, RoomLog},
    room::Room,
};
use crate::chat::{
    ROOMS, is_room_name,
    message::{FirstMessages, RoomSummary},
};
use crate::{
    background::Supervisor,
    bus::{BusError, SharedBus},
};
use realtime::{
    position::Position,
    server::{Counted, now_ms},
};

/// Rooms that are open at a time; visiting a name opens one, and nobody shall fill the memory with names.
const MOST_ROOMS: usize = 10_000;
/// Rooms in the list: those that are always there, those that are open, and the lately used, up to this many.
const LISTED: usize = 1_000;
/// Between two rounds of saving read marks and closing empty rooms.
const ROUND: Duration = Duration::from_secs(1);
/// Between two looks for messages that are too old; sooner where they are kept for a short time only.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// All rooms. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Chat(Arc<Rooms>);

struct Rooms {
    bus: SharedBus,
    /// A std mutex: it is held for map operations. A room's own lock may be taken under it, never the other way round.
    halls: Mutex<HashMap<String, Arc<Room>>>,
    background: Supervisor,
    sockets: Arc<AtomicUsize>,
}

/// Why a room cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    #[error("The server holds as many rooms as it may. Use one that is open.")]
    TooMany,
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Chat {
    pub fn new(bus: SharedBus, background: Supervisor) -> Self {
        Self(Arc::new(Rooms {
            bus,
            halls: Mutex::default(),
            background,
            sockets: Arc::default(),
        }))
    }

    /// A room, opened if nobody is there.
    pub async fn hall(&self, name: &str) -> Result<Arc<Room>, NoRoom> {
        let hall = {
            let mut halls = self.halls();
            // Those that everybody has are always open to everybody.
            let full = halls.len() >= MOST_ROOMS && !ROOMS.contains(&name);
            match halls.entry(name.to_owned()) {
                Entry::Occupied(hall) => hall.get().clone(),
                Entry::Vacant(_) if full => return Err(NoRoom::TooMany),
                Entry::Vacant(place) => {
                    let hall = Room::new(name, self.0.bus.clone(), self.0.background.clone());
                    place.insert(hall).clone()
                }
            }
        };
        hall.open().await?;
        Ok(hall)
    }

    /// A room's messages, whether it is open or not.
    pub fn log(&self, room: &str) -> RoomLog {
        RoomLog::new(self.0.bus.clone(), room)
    }

    /// A room as a page shows it first; `None` where the name is none, or the storage is away.
    pub async fn first_messages(&self, name: &str) -> Option<FirstMessages> {
        if !is_room_name(name) {
            return None;
        }
        let log = self.log(name);
        let mut messages = log.before(u64::MAX, LATEST).await.ok()?.messages;
        let head = match messages.first() {
            Some(newest) => newest.offset,
            None => log.head().await.ok()?,
        };
        messages.reverse();
        let hall = self.halls().get(name).cloned();
        Some(FirstMessages {
            position: Position::new(log.epoch(), head),
            members: hall.map(|hall| hall.members()).unwrap_or_default(),
            messages,
        })
    }

    /// Rooms by name.
    pub async fn summaries(&self) -> Result<Vec<RoomSummary>, BusError> {
        let stored = self.0.bus.logs(PREFIX, LISTED).await?;
        let mut heads: HashMap<&str, u64> = stored
            .iter()
            .filter_map(|summary| Some((summary.log.strip_prefix(PREFIX)?, summary.head)))
            .collect();
        let halls = self.halls().clone();
        let mut names: Vec<&str> = heads.keys().copied().chain(ROOMS).collect();
        let open = halls.keys().map(String::as_str);
        names.extend(open.take(LISTED));
        names.sort_unstable();
        names.dedup();
        if stored.len() == LISTED {
            // Those that are open, or always there, and were not written to lately.
            for name in &names {
                if !heads.contains_key(name) {
                    heads.insert(name, self.log(name).head().await?);
                }
            }
        }
        let summary = |room: &str| RoomSummary {
            room: room.to_owned(),
            members: halls.get(room).map_or(0, |hall| hall.headcount()),
            head: heads.get(room).copied().unwrap_or(0),
        };
        Ok(names.into_iter().map(summary).collect())
    }

    /// Counts a socket for as long as it lives.
    pub fn count(&self) -> Counted {
        Counted::new(self.0.sockets.clone(), "websocket", "chat")
    }

    /// Open sockets.
    pub fn sockets(&self) -> usize {
        self.0.sockets.load(Ordering::Relaxed)
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
                    // After the saving: a room that is opened again reads its marks from the bus.
                    self.halls().retain(|_, hall| !hall.close_if_idle());
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
        let halls: Vec<_> = self.halls().values().cloned().collect();
        futures::future::join_all(halls.iter().map(|hall| hall.save_marks())).await;
    }

    async fn forget(&self, retention: Duration) -> Result<(), BusError> {
        let before = now_ms().saturating_sub(retention.as_millis() as u64);
        let mut outcome = Ok(());
        for log in self.0.bus.logs(PREFIX, usize::MAX).await? {
            // A room whose messages cannot be dropped keeps those of no other room.
            outcome = self.forget_room(&log.log, before).await.and(outcome);
        }
        outcome
    }

    async fn forget_room(&self, log: &str, before: u64) -> Result<(), BusError> {
        while self.0.bus.forget(log, before).await? > 0 {}
        Ok(())
    }

    /// A panic while the lock was held leaves the map whole.
    fn halls(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.0.halls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::embedded::Embedded;

    #[tokio::test]
    async fn the_rooms_that_everybody_has_are_open_however_many_others_are() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let background = Supervisor::default();
        let chat = Chat::new(bus.clone(), background.clone());
        for number in 0..MOST_ROOMS {
            let name = format!("room-{number}");
            let hall = Room::new(&name, bus.clone(), background.clone());
            chat.halls().insert(name, hall);
        }
        let refused = chat.hall("one-more").await;
        assert!(matches!(refused, Err(NoRoom::TooMany)));
        for name in ROOMS {
            assert!(chat.hall(name).await.is_ok());
        }
    }
}
