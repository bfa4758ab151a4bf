//! All rooms of the chat: opens them on demand, closes empty ones, saves read marks and drops old messages.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::time::interval;
use uuid::Uuid;

use super::{
    elsewhere::{ANNOUNCED, Announcement, Elsewhere, Moved, News, RENEW_EVERY, SUBJECT},
    log::{LATEST, PREFIX, RoomLog},
    room::{Room, RoomChannel, moved_elsewhere, read_elsewhere, save_marks},
};
use crate::{
    background::Supervisor,
    bus::{BusError, SharedBus, announcement},
    chat::{
        ROOMS, is_room_name,
        message::{FirstMessages, RoomSummary},
    },
    session::User,
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
    /// Who is in the rooms at other nodes, also in rooms that are not open here. A std mutex; it is taken before the one
    /// above and before a room's own lock, so that a room that is being opened misses no change.
    elsewhere: Mutex<Elsewhere>,
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
            elsewhere: Mutex::default(),
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
        let channel = room.open().await?;
        if self.0.bus.node().is_some() && room.asks_for_others() {
            let elsewhere = self.elsewhere();
            for user in elsewhere.in_room(name) {
                moved_elsewhere(&channel, Moved::Came(user.clone()));
            }
        }
        Ok(channel)
    }

    /// Follows what other nodes announce, and announces the people of this one. Ends at once on a bus of one process.
    pub async fn follow_others(self) {
        let bus = &self.0.bus;
        let Some(node) = bus.node() else { return };
        let mut heard = bus.listen(SUBJECT);
        // The others answer with all of their people.
        announcement::announce(bus, SUBJECT, |_| Announcement::Started);
        let (mut renewals, mut rounds) = (interval(RENEW_EVERY), interval(ROUND));
        loop {
            tokio::select! {
                announcement = heard.next() => match announcement {
                    Some(bytes) => self.heard(node, &bytes),
                    None => return,
                },
                _ = renewals.tick() => self.announce_people(node),
                _ = rounds.tick() => self.apply(|elsewhere| elsewhere.expire(Instant::now())),
            }
        }
    }

    /// Tells the other nodes that this one ends, so that its people leave at once.
    pub fn say_goodbye(&self) {
        announcement::announce(&self.0.bus, SUBJECT, |node| Announcement::Gone { node });
    }

    fn heard(&self, own: Uuid, bytes: &[u8]) {
        let Some(announcement) = announcement::read(bytes) else {
            return;
        };
        match announcement {
            Announcement::Here { node, room, users } => {
                self.apply(|elsewhere| elsewhere.here(node, &room, users, Instant::now()));
            }
            Announcement::Left {
                node,
                room,
                user_id,
            } => self.apply(|elsewhere| elsewhere.left(node, &room, user_id)),
            Announcement::Gone { node } => self.apply(|elsewhere| elsewhere.gone(node)),
            Announcement::Started => self.announce_people(own),
            Announcement::Read {
                room,
                user_id,
                offset,
            } => {
                let room = self.open_rooms().get(&room).cloned();
                if let Some(channel) = room.as_ref().and_then(|room| room.channel()) {
                    read_elsewhere(channel, user_id, offset);
                }
            }
        }
    }

    /// Changes who is elsewhere, and tells the rooms that are open here.
    fn apply(&self, change: impl FnOnce(&mut Elsewhere) -> Vec<News>) {
        let mut elsewhere = self.elsewhere();
        for News { room, what } in change(&mut elsewhere) {
            let room = self.open_rooms().get(&room).cloned();
            if let Some(channel) = room.as_ref().and_then(|room| room.channel()) {
                moved_elsewhere(channel, what);
            }
        }
    }

    fn announce_people(&self, node: Uuid) {
        let open_rooms: Vec<_> = self.open_rooms().values().cloned().collect();
        for channel in open_rooms.iter().filter_map(|room| room.channel()) {
            let people: Vec<User> = channel.change(|roster, _| roster.own().cloned().collect());
            for users in people.chunks(ANNOUNCED) {
                announcement::announce(&self.0.bus, SUBJECT, |_| Announcement::Here {
                    node,
                    room: channel.name().to_owned(),
                    users: users.to_vec(),
                });
            }
        }
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
        let elsewhere = || self.elsewhere().in_room(name).cloned().collect();
        Some(FirstMessages {
            position: Position::new(log.epoch(), head),
            members: room
                .and_then(|room| room.channel().map(members))
                .unwrap_or_else(elsewhere),
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
        let elsewhere: HashMap<String, usize> = {
            let elsewhere = self.elsewhere();
            let count = |room: &str| (room.to_owned(), elsewhere.in_room(room).count());
            elsewhere.rooms().take(LISTED).map(count).collect()
        };
        names.extend(elsewhere.keys().map(String::as_str));
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
            Some(channel.change(|roster, _| roster.headcount()))
        };
        let members = |room: &str| {
            let here = open_rooms.get(room).and_then(headcount);
            here.or_else(|| elsewhere.get(room).copied()).unwrap_or(0)
        };
        let summary = |room: &str| RoomSummary {
            room: room.to_owned(),
            members: members(room),
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

    fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        let elsewhere = self.0.elsewhere.lock();
        elsewhere.unwrap_or_else(PoisonError::into_inner)
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
