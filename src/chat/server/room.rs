//! A room: a channel of the kit whose log is on the bus, with its roster.
//!
//! The channel delivers the messages (`realtime::server::channel`). This file adds what the chat keeps beside them: who is
//! there, who is typing, and who has read how far.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use tokio::{sync::OnceCell, time::sleep_until};
use uuid::Uuid;

use super::{
    elsewhere::{Announcement, Moved, SUBJECT},
    log::RoomLog,
    roster::Roster,
};
use crate::{
    background::Supervisor,
    bus::{SharedBus, announcement},
    chat::message::{ChatEvent, ChatSocket, Joined, ReadMark},
    session::User,
};
use realtime::{
    channel,
    server::channel::{Channel, Log, LogError, Members},
};

/// An open room.
pub type RoomChannel = Channel<ChatSocket, RoomLog, Roster>;

/// A room that is open, or is being opened.
pub struct Room {
    name: String,
    bus: SharedBus,
    background: Supervisor,
    channel: OnceCell<Arc<RoomChannel>>,
    /// The roster was told who is in the room at other nodes.
    knows_others: AtomicBool,
}

impl Room {
    pub fn new(name: &str, bus: SharedBus, background: Supervisor) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            bus,
            background,
            channel: OnceCell::new(),
            knows_others: AtomicBool::new(false),
        })
    }

    /// True once: the roster of a room that was opened has to be told who is in the room at other nodes. It hears of later
    /// changes in any case.
    pub fn asks_for_others(&self) -> bool {
        !self.knows_others.swap(true, Ordering::Relaxed)
    }

    /// Reads the saved state of the room and begins to follow its log, once.
    pub async fn open(&self) -> Result<Arc<RoomChannel>, LogError> {
        let open = async {
            let log = RoomLog::new(self.bus.clone(), &self.name);
            let head = log.head().await?.head;
            let saved = self.bus.latest(&mark_key(&self.name, None)).await?;
            let marks = saved
                .iter()
                .filter_map(|(key, value)| saved_mark(key, value));
            let channel = Channel::after(&self.name, log, Roster::new(marks), head);
            let followed = Arc::downgrade(&channel);
            // A panic does not stop the room: the log is followed again from what was delivered to all members. The task
            // ends with the channel.
            self.background.run("room", move || {
                let follow = followed.upgrade().map(follow);
                async move {
                    if let Some(follow) = follow {
                        follow.await;
                    }
                }
            });
            Ok(channel)
        };
        self.channel.get_or_try_init(|| open).await.cloned()
    }

    /// The channel, if the room is open.
    pub fn channel(&self) -> Option<&Arc<RoomChannel>> {
        self.channel.get()
    }

    /// Closes the room for good if it has no members and nothing is unsaved. Returns whether it did.
    pub fn close_if_idle(self: &Arc<Self>) -> bool {
        match self.channel() {
            Some(channel) => channel.close_if(Roster::is_idle),
            // The storage could not be read, and nobody is trying again.
            None => Arc::strong_count(self) == 1,
        }
    }
}

/// Delivers the messages of the log and the typing notices, for as long as the room exists.
fn follow(room: Arc<RoomChannel>) -> impl Future<Output = ()> + Send {
    let typing = room.log().bus().listen(&typing_subject(room.name()));
    let notices = stream::unfold(typing, |mut typing| async {
        Some((typing.next().await?, typing))
    });
    room.follow_with(notices.fuse().boxed(), |room, bytes| {
        let Ok(user_id) = Uuid::from_slice(&bytes) else {
            return;
        };
        room.change(|roster, members| {
            roster.set_typing(user_id, Instant::now());
            let room = room.name().to_owned();
            members.broadcast(&ChatEvent::Typing { room, user_id });
        });
    })
}

/// A user enters a room: tells the other members if that is news, and returns the state of the room.
pub fn admit(
    (roster, members): (&mut Roster, &Members),
    (bus, room): (&SharedBus, &str),
    user: &User,
    is_first_time: bool,
    joined: channel::Joined,
    unread: u64,
) -> Vec<ChatEvent> {
    if is_first_time {
        let (to_this_node, in_the_room) = roster.enter(user);
        if to_this_node {
            announcement::announce(bus, SUBJECT, |node| Announcement::Here {
                node,
                room: room.to_owned(),
                users: vec![user.clone()],
            });
        }
        if in_the_room {
            let (room, user) = (room.to_owned(), user.clone());
            members.broadcast(&ChatEvent::UserJoined { room, user });
        }
    }
    let answer = ChatEvent::Joined(Joined {
        room: room.to_owned(),
        epoch: joined.epoch,
        head: joined.head,
        recovered: joined.recovered,
        replayed: joined.replayed as usize,
        unread: unread as usize,
        members: roster.members(),
        read: roster.read_marks(),
    });
    let typing = roster.typing_users(Instant::now());
    let typing = typing.map(|user_id| ChatEvent::Typing {
        room: room.to_owned(),
        user_id,
    });
    std::iter::once(answer).chain(typing).collect()
}

/// Removes a socket. If it was the user's last, the leave is broadcast five seconds later.
pub fn leave(room: &Arc<RoomChannel>, socket: u64, user_id: Uuid, background: &Supervisor) {
    room.leave(socket);
    let ticket = room.change(|roster, members| {
        let (ticket, renamed) = roster.leave(user_id, Instant::now());
        if let Some(user) = renamed {
            let room = room.name().to_owned();
            members.broadcast(&ChatEvent::UserJoined { room, user });
        }
        ticket
    });
    let Some(ticket) = ticket else {
        return;
    };
    let room = room.clone();
    background.once("leave", async move {
        sleep_until(ticket.due().into()).await;
        room.change(|roster, members| {
            let Some(is_gone) = roster.leave_for_good(&ticket) else {
                return;
            };
            announcement::announce(room.log().bus(), SUBJECT, |node| Announcement::Left {
                node,
                room: room.name().to_owned(),
                user_id,
            });
            if is_gone {
                let room = room.name().to_owned();
                members.broadcast(&ChatEvent::UserLeft { room, user_id });
            }
        });
    });
}

/// A user is typing. Published on the bus, so that it reaches the members on every node.
pub fn set_typing(room: &RoomChannel, user_id: Uuid) {
    if room.change(|roster, _| roster.typing_is_due(user_id, Instant::now())) {
        let bytes = Bytes::copy_from_slice(user_id.as_bytes());
        let subject = typing_subject(room.name());
        room.log().bus().publish(&subject, bytes);
    }
}

/// A user has read up to an offset.
pub fn read(room: &RoomChannel, user_id: Uuid, offset: u64) {
    room.change(|roster, members| {
        if let Some(offset) = roster.read(user_id, offset, room.delivered()) {
            announcement::announce(room.log().bus(), SUBJECT, |_| Announcement::Read {
                room: room.name().to_owned(),
                user_id,
                offset,
            });
            broadcast_mark(room, members, user_id, offset);
        }
    });
}

/// A user has read up to an offset at another node.
pub fn read_elsewhere(room: &RoomChannel, user_id: Uuid, offset: u64) {
    room.change(|roster, members| {
        if let Some(offset) = roster.read_elsewhere(user_id, offset) {
            broadcast_mark(room, members, user_id, offset);
        }
    });
}

fn broadcast_mark(room: &RoomChannel, members: &Members, user_id: Uuid, offset: u64) {
    let room = room.name().to_owned();
    members.broadcast(&ChatEvent::Read {
        room,
        user_id,
        offset,
    });
}

/// A user came to the room at another node, or left it there. Tells the members if that is news in the room.
pub fn moved_elsewhere(room: &RoomChannel, moved: Moved) {
    room.change(|roster, members| {
        let name = room.name().to_owned();
        match moved {
            Moved::Came(user) => {
                if roster.came_elsewhere(&user) {
                    members.broadcast(&ChatEvent::UserJoined { room: name, user });
                }
            }
            Moved::Left(user_id) => {
                if roster.left_elsewhere(user_id) {
                    members.broadcast(&ChatEvent::UserLeft {
                        room: name,
                        user_id,
                    });
                }
            }
        }
    });
}

/// Saves the read marks that moved since the last call: one write a user, however often the mark moved. Removes the marks
/// beyond the limit.
pub async fn save_marks(room: &RoomChannel) {
    let (forgotten, unsaved) =
        room.change(|roster, _| (roster.forget_marks(), roster.take_unsaved()));
    let put = |user_id: Uuid, value: Bytes| {
        let key = mark_key(room.name(), Some(user_id));
        room.log().bus().put_latest(&key, value)
    };
    // A mark that cannot be removed now is read when the room is next opened, and is beyond the limit again.
    let removals: Vec<_> = forgotten
        .into_iter()
        .map(|user_id| put(user_id, Bytes::new()))
        .collect();
    let save = |mark: &ReadMark| put(mark.user_id, Bytes::from(mark.offset.to_string()));
    // All at once, so that they share a commit.
    let answers: Vec<_> = unsaved.iter().map(save).collect();
    for (mark, answer) in unsaved.iter().zip(answers) {
        if answer.await.is_err() {
            room.change(|roster, _| roster.set_unsaved(mark.user_id));
        }
    }
    join_all(removals).await;
}

fn typing_subject(room: &str) -> String {
    format!("chat/typing/{room}")
}

/// The key of a user's mark; without a user, the prefix of the keys of all marks.
fn mark_key(room: &str, user_id: Option<Uuid>) -> String {
    let user_id = user_id.map(|user_id| user_id.to_string());
    format!("chat/read/{room}/{}", user_id.unwrap_or_default())
}

fn saved_mark(key: &str, value: &[u8]) -> Option<(Uuid, u64)> {
    let user_id = key.rsplit('/').next()?.parse().ok()?;
    let offset = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some((user_id, offset))
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
