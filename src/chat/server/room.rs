//! A room and the sockets that joined it: who is told what, in which order.
//!
//! One task a room follows its log and tells every message to all members who have everything before it. A member who is
//! behind reads pages from the log until nothing is missing. Both happen under the room's lock, and each member's place is
//! kept, so that between the two nothing is lost and nothing doubled.

mod follow;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use tokio::{
    sync::{OnceCell, watch},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{
    log::{PostError, RoomLog, Start},
    roster::Roster,
};
use crate::chat::message::{ChatEvent, Joined, ReadMark};
use crate::{
    background::Supervisor,
    bus::{BusError, SharedBus},
    session::User,
};
use realtime::{
    id::SpelledId,
    server::queue::{OutQueue, QUEUE_BYTES, encode},
};

/// A reload is no leave: a person is gone this long after their last tab.
const LEAVE_AFTER: Duration = Duration::from_secs(5);
/// Messages read from the log at once.
const PAGE: usize = 100;
/// A page stops here: the rest of the queue is for live messages of other rooms, answers, and one message of any size.
const BACKLOG_BYTES: usize = QUEUE_BYTES / 2;
/// A stored message is told at once. Should the room's task be unable to read it, its sender still hears that it is stored.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// A room with its sockets.
pub struct Room {
    name: String,
    log: RoomLog,
    bus: SharedBus,
    /// A std mutex: it is held for pushes into queues and never across an await.
    state: Mutex<State>,
    /// The newest offset that all live members were told; senders wait for theirs.
    told: watch::Sender<u64>,
    /// The task that follows the log, once what is saved of the room was read. It ends with the room.
    follower: OnceCell<AbortOnDropHandle<()>>,
    background: Supervisor,
}

#[derive(Default)]
struct State {
    room: Roster,
    listeners: HashMap<u64, Listener>,
    /// Nobody was here, and the next visitor opens the room anew.
    closed: bool,
}

struct Listener {
    queue: OutQueue,
    /// The newest message in its queue.
    after: u64,
    /// Has everything that was told; until then it reads pages from the log and is told nothing.
    live: bool,
}

/// A socket that comes into a room.
pub struct Arrival<'a> {
    pub socket: u64,
    pub user: &'a User,
    pub queue: &'a OutQueue,
    /// Not yet in the room.
    pub first_time: bool,
    pub unread: u64,
}

/// What became of an [`Arrival`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    Live,
    /// Messages are to be read from the log: [`Room::catch_up`].
    Behind,
    /// The room was closed meanwhile: open it anew.
    Closed,
}

impl Room {
    pub fn new(name: &str, bus: SharedBus, background: Supervisor) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            log: RoomLog::new(bus.clone(), name),
            bus,
            state: Mutex::default(),
            told: watch::channel(0).0,
            follower: OnceCell::new(),
            background,
        })
    }

    /// Reads what is saved of the room and begins to follow its log, once.
    pub async fn open(self: &Arc<Self>) -> Result<(), BusError> {
        let open = async {
            let typing = self.bus.listen(&self.typing_subject());
            let head = self.log.head().await?;
            let saved = self.bus.latest(&self.mark_key(None)).await?;
            let marks = saved
                .iter()
                .filter_map(|(key, value)| saved_mark(key, value));
            self.state().room = Roster::new(marks);
            self.told.send_replace(head);
            Ok(self.follow_from(self.log.follow(head), typing))
        };
        self.follower.get_or_try_init(|| open).await.map(|_| ())
    }

    pub fn log(&self) -> &RoomLog {
        &self.log
    }

    /// How far a person has read.
    pub fn mark(&self, user_id: Uuid) -> u64 {
        self.state().room.mark(user_id)
    }

    /// Lets a socket in, tells it how the room stands, and the others that a person came.
    pub fn enter(&self, arrival: Arrival<'_>, start: &Start) -> Entered {
        let mut state = self.state();
        if state.closed {
            return Entered::Closed;
        }
        let (room, user) = (self.name.clone(), arrival.user.clone());
        if arrival.first_time && state.room.enter(arrival.user) {
            state.tell(&ChatEvent::UserJoined { room, user });
        }
        arrival.queue.push_json(&ChatEvent::Joined(Joined {
            room: self.name.clone(),
            epoch: start.head.epoch.clone(),
            head: start.head.offset,
            recovered: start.recovered,
            replayed: start.replayed as usize,
            unread: arrival.unread as usize,
            members: state.room.members(),
            read: state.room.read_marks(),
        }));
        for user_id in state.room.typists(Instant::now()) {
            let room = self.name.clone();
            arrival
                .queue
                .push_json(&ChatEvent::Typing { room, user_id });
        }
        let live = start.after >= *self.told.borrow();
        let listener = Listener {
            queue: arrival.queue.clone(),
            after: start.after,
            live,
        };
        state.listeners.insert(arrival.socket, listener);
        if live { Entered::Live } else { Entered::Behind }
    }

    /// Queues the next messages for a socket that is behind. Says whether it still is.
    pub async fn catch_up(&self, socket: u64) -> Result<bool, BusError> {
        let place = |state: &State| state.listeners.get(&socket).map(|listener| listener.after);
        let Some(after) = place(&self.state()) else {
            return Ok(false);
        };
        let page = self.log.after(after, PAGE).await?;
        let mut state = self.state();
        let told = *self.told.borrow();
        let Some(listener) = state.listeners.get_mut(&socket) else {
            return Ok(false);
        };
        for message in page.messages {
            if listener.queue.pending_bytes() > BACKLOG_BYTES {
                return Ok(true);
            }
            listener.after = message.offset;
            let room = self.name.clone();
            listener
                .queue
                .push_json(&ChatEvent::Message { room, message });
        }
        // What was told while the page was read was not told to this one.
        listener.live = listener.after >= told;
        Ok(!listener.live)
    }

    /// Takes a socket out; five seconds later, if it was the person's last, the others are told.
    pub fn leave(self: &Arc<Self>, socket: u64, user_id: Uuid) {
        let mut state = self.state();
        state.listeners.remove(&socket);
        if let Some(ticket) = state.room.leave(user_id) {
            let this = self.clone();
            self.background.once("leave", async move {
                sleep(LEAVE_AFTER).await;
                let mut state = this.state();
                if state.room.leave_for_good(user_id, ticket) {
                    let room = this.name.clone();
                    state.tell(&ChatEvent::UserLeft { room, user_id });
                }
            });
        }
    }

    /// Stores a message. Returns when it is on disk and every live member was told, with its offset and time.
    pub async fn post(
        &self,
        id: SpelledId,
        from: &User,
        text: &str,
    ) -> Result<(u64, u64), PostError> {
        let mut told = self.told.subscribe();
        let (offset, at) = self.log.post(id, from, text).await?;
        let _ = timeout(TOLD_WITHIN, told.wait_for(|told| *told >= offset)).await;
        Ok((offset, at))
    }

    /// Somebody types. Told through the bus, so that it reaches the members on every node.
    pub fn types(&self, user_id: Uuid) {
        if self.state().room.typing_is_news(user_id, Instant::now()) {
            let bytes = Bytes::copy_from_slice(user_id.as_bytes());
            self.bus.publish(&self.typing_subject(), bytes);
        }
    }

    /// Somebody has read up to an offset.
    pub fn read(&self, user_id: Uuid, offset: u64) {
        let mut state = self.state();
        let told = *self.told.borrow();
        if let Some(offset) = state.room.read(user_id, offset, told) {
            let room = self.name.clone();
            state.tell(&ChatEvent::Read {
                room,
                user_id,
                offset,
            });
        }
    }

    pub fn members(&self) -> Vec<User> {
        self.state().room.members()
    }

    pub fn headcount(&self) -> usize {
        self.state().room.headcount()
    }

    /// Saves the marks that moved since the last time: one write a person, however often the mark moved. Removes those that
    /// are too many.
    pub async fn save_marks(&self) {
        let (forgotten, unsaved) = {
            let room = &mut self.state().room;
            (room.forget_marks(), room.take_unsaved())
        };
        let remove = |user_id: &Uuid| {
            let key = self.mark_key(Some(*user_id));
            self.bus.put_latest(&key, Bytes::new())
        };
        // Those that cannot be removed now are read with the next opening, and are too many then.
        let removals: Vec<_> = forgotten.iter().map(remove).collect();
        let put = |mark: &ReadMark| {
            let value = Bytes::from(mark.offset.to_string());
            self.bus
                .put_latest(&self.mark_key(Some(mark.user_id)), value)
        };
        // All at once, so that they share a commit.
        let answers: Vec<_> = unsaved.iter().map(put).collect();
        for (mark, answer) in unsaved.iter().zip(answers) {
            if answer.await.is_err() {
                self.state().room.unsaved(mark.user_id);
            }
        }
        join_all(removals).await;
    }

    /// Closes the room for good if nobody is here and nothing is unsaved.
    pub fn close_if_idle(&self) -> bool {
        let mut state = self.state();
        state.closed = state.listeners.is_empty() && state.room.is_idle();
        state.closed
    }

    fn typing_subject(&self) -> String {
        format!("chat/typing/{}", self.name)
    }

    /// The key of a person's mark, or what the keys of all begin with.
    fn mark_key(&self, user_id: Option<Uuid>) -> String {
        let user_id = user_id.map(|user_id| user_id.to_string());
        format!("chat/read/{}/{}", self.name, user_id.unwrap_or_default())
    }

    /// A panic while the lock was held can have left a message untold at worst; its reader finds it in the log.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Encodes once, queues for all.
    fn tell(&self, event: &ChatEvent) {
        let message = encode(event);
        self.listeners
            .values()
            .for_each(|listener| listener.queue.push(message.clone()));
    }
}

fn saved_mark(key: &str, value: &[u8]) -> Option<(Uuid, u64)> {
    let user_id = key.rsplit('/').next()?.parse().ok()?;
    let offset = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some((user_id, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Bus, embedded::Embedded};

    async fn hall(bus: &Arc<Embedded>) -> Arc<Room> {
        let hall = Room::new("lobby", bus.clone(), Supervisor::default());
        hall.open().await.unwrap();
        hall
    }

    #[tokio::test]
    async fn marks_that_are_too_many_are_removed_from_the_storage() {
        const TOO_MANY: u64 = 50;
        let folder = tempfile::tempdir().unwrap();
        let bus = Arc::new(Embedded::open(folder.path()).unwrap());
        let key = |number: u64| format!("chat/read/lobby/{}", Uuid::from_u128(number.into()));
        let put = |number: u64| bus.put_latest(&key(number), number.to_string().into());
        for answer in join_all((1..=10_000 + TOO_MANY).map(put)).await {
            answer.unwrap();
        }
        hall(&bus).await.save_marks().await;
        let kept = bus.latest("chat/read/lobby/").await.unwrap();
        let first = kept.first().map(|(key, _)| key.clone());
        assert_eq!((kept.len(), first), (10_000, Some(key(TOO_MANY + 1))));
    }
}
