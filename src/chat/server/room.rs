//! A room and the sockets that joined it: delivers every stored message to all of them, in the order of the log.
//!
//! Each room has one task that follows its log and queues every message for all live members: those that have
//! everything before it. A member that is behind reads pages from the log until nothing is missing. Both happen under
//! the room's lock, and each member's position is kept, so that between the two nothing is lost and nothing is sent
//! twice.

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
use crate::{
    background::Supervisor,
    bus::{BusError, SharedBus},
    chat::message::{ChatEvent, Joined, ReadMark},
    session::User,
};
use realtime::{
    id::SpelledId,
    server::queue::{OutQueue, QUEUE_BYTES, encode},
};

/// A user has left this long after closing the last tab, so that a reload is not a leave.
const LEAVE_AFTER: Duration = Duration::from_secs(5);
/// Most messages read from the log at once.
const PAGE: usize = 100;
/// A member that is behind gets no more from the log while its queue holds more than this. The rest of the queue is for
/// live messages of other rooms, answers, and one message of any size.
const BACKLOG_BYTES: usize = QUEUE_BYTES / 2;
/// How long an acknowledgement waits for the delivery of its message, which usually happens at once. If the room's task
/// cannot read the log, the sender is acknowledged after this time all the same, because the message is stored.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(1);

/// A room with its sockets.
pub struct Room {
    name: String,
    log: RoomLog,
    bus: SharedBus,
    /// A std mutex: it is held for pushes into queues and never across an await.
    state: Mutex<State>,
    /// The newest offset that was queued for all live members; a sender waits for the offset of its message.
    delivered_up_to: watch::Sender<u64>,
    /// The task that follows the log. It starts once the saved state of the room was read, and ends with the room.
    follower: OnceCell<AbortOnDropHandle<()>>,
    background: Supervisor,
}

#[derive(Default)]
struct State {
    roster: Roster,
    listeners: HashMap<u64, Listener>,
    /// The room was empty and is closed for good; the next socket opens it again.
    closed: bool,
}

struct Listener {
    queue: OutQueue,
    /// The offset of the newest message in its queue.
    after: u64,
    /// It has everything up to `delivered_up_to`. Until then it reads pages from the log and gets no live messages.
    live: bool,
}

/// A socket that joins a room.
pub struct Arrival<'a> {
    pub socket: u64,
    pub user: &'a User,
    pub queue: &'a OutQueue,
    /// Not yet in the room.
    pub first_time: bool,
    pub unread: u64,
}

/// The result of [`Room::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    Live,
    /// Messages are to be read from the log: [`Room::catch_up`].
    Behind,
    /// The room was closed meanwhile: open it again.
    Closed,
}

impl Room {
    pub fn new(name: &str, bus: SharedBus, background: Supervisor) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            log: RoomLog::new(bus.clone(), name),
            bus,
            state: Mutex::default(),
            delivered_up_to: watch::channel(0).0,
            follower: OnceCell::new(),
            background,
        })
    }

    /// Reads the saved state of the room and begins to follow its log, once.
    pub async fn open(self: &Arc<Self>) -> Result<(), BusError> {
        let open = async {
            let typing = self.bus.listen(&self.typing_subject());
            let head = self.log.head().await?;
            let saved = self.bus.latest(&self.mark_key(None)).await?;
            let marks = saved
                .iter()
                .filter_map(|(key, value)| saved_mark(key, value));
            self.state().roster = Roster::new(marks);
            self.delivered_up_to.send_replace(head);
            Ok(self.follow_from(self.log.follow(head), typing))
        };
        self.follower.get_or_try_init(|| open).await.map(|_| ())
    }

    pub fn log(&self) -> &RoomLog {
        &self.log
    }

    /// The offset up to which a user has read.
    pub fn mark(&self, user_id: Uuid) -> u64 {
        self.state().roster.mark(user_id)
    }

    /// Adds a socket to the room, sends it the state of the room, and broadcasts a user that is new.
    pub fn enter(&self, arrival: Arrival<'_>, start: &Start) -> Entered {
        let mut state = self.state();
        if state.closed {
            return Entered::Closed;
        }
        let (room, user) = (self.name.clone(), arrival.user.clone());
        if arrival.first_time && state.roster.enter(arrival.user) {
            state.broadcast(&ChatEvent::UserJoined { room, user });
        }
        arrival.queue.push_json(&ChatEvent::Joined(Joined {
            room: self.name.clone(),
            epoch: start.head.epoch.clone(),
            head: start.head.offset,
            recovered: start.recovered,
            replayed: start.replayed as usize,
            unread: arrival.unread as usize,
            members: state.roster.members(),
            read: state.roster.read_marks(),
        }));
        for user_id in state.roster.typing_users(Instant::now()) {
            let room = self.name.clone();
            arrival
                .queue
                .push_json(&ChatEvent::Typing { room, user_id });
        }
        let live = start.after >= *self.delivered_up_to.borrow();
        let listener = Listener {
            queue: arrival.queue.clone(),
            after: start.after,
            live,
        };
        state.listeners.insert(arrival.socket, listener);
        if live { Entered::Live } else { Entered::Behind }
    }

    /// Queues the next messages for a socket that is behind. Returns whether it still is.
    pub async fn catch_up(&self, socket: u64) -> Result<bool, BusError> {
        let position = |state: &State| state.listeners.get(&socket).map(|listener| listener.after);
        let Some(after) = position(&self.state()) else {
            return Ok(false);
        };
        let page = self.log.after(after, PAGE).await?;
        let mut state = self.state();
        let delivered = *self.delivered_up_to.borrow();
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
        // Messages that were delivered while the page was read were not queued for this socket.
        listener.live = listener.after >= delivered;
        Ok(!listener.live)
    }

    /// Removes a socket. If it was the user's last, the leave is broadcast five seconds later.
    pub fn leave(self: &Arc<Self>, socket: u64, user_id: Uuid) {
        let mut state = self.state();
        state.listeners.remove(&socket);
        if let Some(ticket) = state.roster.leave(user_id) {
            let this = self.clone();
            self.background.once("leave", async move {
                sleep(LEAVE_AFTER).await;
                let mut state = this.state();
                if state.roster.leave_for_good(user_id, ticket) {
                    let room = this.name.clone();
                    state.broadcast(&ChatEvent::UserLeft { room, user_id });
                }
            });
        }
    }

    /// Stores a message. Returns its offset and time once it is on disk and queued for every live member.
    pub async fn post(
        &self,
        id: SpelledId,
        from: &User,
        text: &str,
    ) -> Result<(u64, u64), PostError> {
        let mut delivered = self.delivered_up_to.subscribe();
        let (offset, at) = self.log.post(id, from, text).await?;
        let _ = timeout(
            DELIVERY_TIMEOUT,
            delivered.wait_for(|delivered| *delivered >= offset),
        )
        .await;
        Ok((offset, at))
    }

    /// A user is typing. Published on the bus, so that it reaches the members on every node.
    pub fn set_typing(&self, user_id: Uuid) {
        if self.state().roster.typing_is_due(user_id, Instant::now()) {
            let bytes = Bytes::copy_from_slice(user_id.as_bytes());
            self.bus.publish(&self.typing_subject(), bytes);
        }
    }

    /// A user has read up to an offset.
    pub fn read(&self, user_id: Uuid, offset: u64) {
        let mut state = self.state();
        let delivered = *self.delivered_up_to.borrow();
        if let Some(offset) = state.roster.read(user_id, offset, delivered) {
            let room = self.name.clone();
            state.broadcast(&ChatEvent::Read {
                room,
                user_id,
                offset,
            });
        }
    }

    pub fn members(&self) -> Vec<User> {
        self.state().roster.members()
    }

    pub fn headcount(&self) -> usize {
        self.state().roster.headcount()
    }

    /// Saves the read marks that moved since the last call: one write a user, however often the mark moved. Removes the
    /// marks beyond the limit.
    pub async fn save_marks(&self) {
        let (forgotten, unsaved) = {
            let roster = &mut self.state().roster;
            (roster.forget_marks(), roster.take_unsaved())
        };
        let remove = |user_id: &Uuid| {
            let key = self.mark_key(Some(*user_id));
            self.bus.put_latest(&key, Bytes::new())
        };
        // A mark that cannot be removed now is read when the room is next opened, and is beyond the limit again.
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
                self.state().roster.set_unsaved(mark.user_id);
            }
        }
        join_all(removals).await;
    }

    /// Closes the room for good if it has no members and nothing is unsaved. Returns whether it did.
    pub fn close_if_idle(&self) -> bool {
        let mut state = self.state();
        state.closed = state.listeners.is_empty() && state.roster.is_idle();
        state.closed
    }

    fn typing_subject(&self) -> String {
        format!("chat/typing/{}", self.name)
    }

    /// The key of a user's mark; without a user, the prefix of the keys of all marks.
    fn mark_key(&self, user_id: Option<Uuid>) -> String {
        let user_id = user_id.map(|user_id| user_id.to_string());
        format!("chat/read/{}/{}", self.name, user_id.unwrap_or_default())
    }

    /// A panic while the lock was held has at worst skipped a live broadcast; the reader recovers the message from the
    /// log.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Encodes an event once and queues it for all sockets.
    fn broadcast(&self, event: &ChatEvent) {
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

    async fn open_room(bus: &Arc<Embedded>) -> Arc<Room> {
        let room = Room::new("lobby", bus.clone(), Supervisor::default());
        room.open().await.unwrap();
        room
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
        open_room(&bus).await.save_marks().await;
        let kept = bus.latest("chat/read/lobby/").await.unwrap();
        let first = kept.first().map(|(key, _)| key.clone());
        assert_eq!((kept.len(), first), (10_000, Some(key(TOO_MANY + 1))));
    }
}
