//! One socket in the chat: its commands, one after the other.
//!
//! Each command is waited for before the next message is read. So a writer's order is the order of its messages: none is
//! stored while the fate of the one before is open, and after a refusal that may be retried none overtakes it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::extract::ws::Message;
use tokio::time::timeout;

use super::{
    log::PostError,
    room::{Arrival, Entered, Room},
    rooms::{Chat, NoRoom},
};
use crate::chat::{
    HISTORY_LIMIT, ROOM_RULE, check_text, is_room_name,
    message::{ChatCommand, ChatEvent, ChatSocket},
};
use crate::{
    bus::BusError, guard::limits::Limits, session::User, web::text_rules::with_line_feeds,
};
use realtime::{
    close::CloseCode,
    id::SpelledId,
    message::{ErrorCode, SocketError},
    position::Position,
    server::{Counted, queue::OutQueue, socket::SocketHandler},
};

/// Rooms one socket may be in.
const ROOMS_A_SOCKET: usize = 128;
/// How long a large answer waits for room in the queue.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// When a command that the storage refused may be tried again, in milliseconds.
const STORAGE_RETRY_MS: u64 = 1_000;
/// The storage works and does not take this message; sent again, it would hold up all that come after it for ever.
const NOT_STORABLE: &str = "This message cannot be stored. Write it anew.";

/// A socket in the chat.
pub struct ChatConnection {
    id: u64,
    _counted: Counted,
    chat: Chat,
    user: User,
    queue: OutQueue,
    limits: Limits,
    joined: HashMap<String, Arc<Room>>,
    /// Rooms that are being caught up; they take turns.
    behind: VecDeque<String>,
    /// Rooms in which a `send` was refused that may succeed later, and its id: until that one comes again, later ones
    /// are refused too, so that a writer's order holds.
    refused: HashMap<String, (SpelledId, SocketError)>,
    /// The history is taken for lost: the first join of each room is answered so. Holds those that were.
    pub expired: Option<HashSet<String>>,
}

impl ChatConnection {
    pub fn new(chat: Chat, user: User, queue: OutQueue, limits: Limits) -> Self {
        Self {
            id: rand::random(),
            _counted: chat.count(),
            chat,
            user,
            queue,
            limits,
            joined: HashMap::new(),
            behind: VecDeque::new(),
            refused: HashMap::new(),
            expired: None,
        }
    }

    async fn join(&mut self, name: String, after: Option<Position>) -> Result<(), SocketError> {
        self.room_in_queue().await;
        let first_time = !self.joined.contains_key(&name);
        if first_time && self.joined.len() >= ROOMS_A_SOCKET {
            let message = format!("At most {ROOMS_A_SOCKET} rooms a socket. Leave one first.");
            return Err(SocketError::new(ErrorCode::TooManyRooms, message));
        }
        let lost = |rooms: &mut HashSet<String>| rooms.insert(name.clone());
        let after = after.filter(|_| !self.expired.as_mut().is_some_and(lost));
        loop {
            let hall = self.chat.hall(&name).await.map_err(no_room)?;
            let start = hall.log().start(after.as_ref()).await.map_err(away)?;
            let mark = hall.mark(self.user.id);
            let unread = hall.log().unread(mark, start.head.offset, self.user.id);
            let unread = unread.await.map_err(away)?;
            let entered = hall.enter(
                Arrival {
                    socket: self.id,
                    user: &self.user,
                    queue: &self.queue,
                    first_time,
                    unread,
                },
                &start,
            );
            // Nobody was there while it was opened; the next one stays.
            if entered == Entered::Closed {
                continue;
            }
            self.behind.retain(|room| *room != name);
            if entered == Entered::Behind {
                self.behind.push_back(name.clone());
            }
            self.joined.insert(name, hall);
            return Ok(());
        }
    }

    fn leave(&mut self, name: &str) {
        if let Some(hall) = self.joined.remove(name) {
            self.behind.retain(|room| room != name);
            self.refused.remove(name);
            hall.leave(self.id, self.user.id);
        }
    }

    async fn send(
        &mut self,
        hall: &Room,
        room: String,
        id: SpelledId,
        text: &str,
    ) -> Result<(), SocketError> {
        if let Some((first, error)) = self.refused.get(&room) {
            if *first != id {
                return Err(error.clone());
            }
            self.refused.remove(&room);
        }
        // One form for everybody who reads it, and as the HTML parser would make it anyway.
        let text = &*with_line_feeds(text);
        let refused = |rule| SocketError::new(ErrorCode::InvalidField, rule);
        check_text(text).map_err(refused)?;
        match hall.post(id.clone(), &self.user, text).await {
            Ok((offset, at)) => self.queue.push_json(&ChatEvent::Ack {
                id,
                room,
                offset,
                at,
            }),
            Err(PostError::Bus(BusError::Refused(_))) => {
                return Err(SocketError::new(ErrorCode::InvalidField, NOT_STORABLE));
            }
            Err(PostError::Bus(error)) => return Err(away(error)),
            Err(taken @ PostError::IdTaken) => {
                return Err(SocketError::new(ErrorCode::InvalidField, taken.to_string()));
            }
        }
        Ok(())
    }

    /// Remembers a `send` that was refused and may succeed later. One after it is told which has to come first.
    fn hold_up(&mut self, room: String, id: &SpelledId, mut error: SocketError) -> SocketError {
        // In a room that was not joined nothing is sent, so nothing can be overtaken.
        if error.code.may_be_retried() && self.joined.contains_key(&room) {
            let refused = self.refused.entry(room);
            let (first, _) = refused.or_insert_with(|| (id.clone(), error.clone()));
            if first != id {
                error.message = format!(
                    "Message {first} was refused before this one. Send it again first, then this one."
                );
            }
        }
        error
    }

    async fn history(
        &mut self,
        hall: &Room,
        room: String,
        before: u64,
        limit: usize,
    ) -> Result<(), SocketError> {
        if !(1..=HISTORY_LIMIT).contains(&limit) {
            let message = format!("\"limit\" is a number from 1 to {HISTORY_LIMIT}.");
            return Err(SocketError::new(ErrorCode::InvalidField, message));
        }
        self.room_in_queue().await;
        let page = hall.log().before(before, limit).await.map_err(away)?;
        self.queue.push_json(&ChatEvent::History {
            room,
            messages: page.messages,
            more: page.more,
        });
        Ok(())
    }

    /// Waits until the large answers before have left: whoever joins many rooms or scrolls far on a slow line gets all of
    /// them. Whoever does not read at all is too slow in the end.
    async fn room_in_queue(&self) {
        let _ = timeout(ANSWER_WITHIN, self.queue.has_room()).await;
    }

    async fn obey(&mut self, command: ChatCommand) -> Result<(), SocketError> {
        // Each leave was paid for by its join, and whoever leaves is not kept.
        let leaves =
            matches!(&command, ChatCommand::Leave { room } if self.joined.contains_key(room));
        if !leaves {
            self.limits.message(self.user.id)?;
        }
        if !is_room_name(command.room()) {
            return Err(SocketError::new(ErrorCode::InvalidField, ROOM_RULE));
        }
        let room = command.room().to_owned();
        if let ChatCommand::Join { after, .. } = command {
            return self.join(room, after).await;
        }
        let Some(hall) = self.joined.get(&room).cloned() else {
            let error = format!("Join \"{room}\" first.");
            return Err(SocketError::new(ErrorCode::NotJoined, error));
        };
        match command {
            ChatCommand::Join { .. } => {}
            ChatCommand::Leave { .. } => self.leave(&room),
            ChatCommand::Send { id, text, .. } => return self.send(&hall, room, id, &text).await,
            ChatCommand::Typing { .. } => hall.types(self.user.id),
            ChatCommand::Read { offset, .. } => hall.read(self.user.id, offset),
            ChatCommand::History { before, limit, .. } => {
                return self.history(&hall, room, before, limit).await;
            }
        }
        Ok(())
    }
}

impl SocketHandler for ChatConnection {
    type Contract = ChatSocket;

    fn is_repeatable(message: &Message) -> bool {
        const MESSAGE: &str = r#"{"type":"message""#;
        matches!(message, Message::Text(text) if text.starts_with(MESSAGE))
    }

    async fn command(&mut self, command: ChatCommand) -> Result<(), SocketError> {
        let room = command.room().to_owned();
        let send = match &command {
            ChatCommand::Send { id, .. } => Some(id.clone()),
            _ => None,
        };
        let Err(error) = self.obey(command).await else {
            return Ok(());
        };
        let error = error.in_room(&room);
        match send {
            Some(id) => Err(self.hold_up(room, &id, error).about(id)),
            None => Err(error),
        }
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.limits.message(self.user.id)
    }

    fn has_backlog(&self) -> bool {
        !self.behind.is_empty()
    }

    async fn fill(&mut self) {
        let Some(name) = self.behind.pop_front() else {
            return;
        };
        let Some(hall) = self.joined.get(&name).cloned() else {
            return;
        };
        let failed = match hall.catch_up(self.id).await {
            Ok(false) => return,
            Ok(true) => {
                self.behind.push_back(name);
                return;
            }
            // What comes next was dropped meanwhile: begin anew, which says so.
            Err(BusError::Forgotten { .. }) => self.join(name, None).await.is_err(),
            Err(_) => true,
        };
        if failed {
            // It comes again, from where it stands.
            let reason = "the messages cannot be read at the moment";
            self.queue.close(CloseCode::TooSlow, reason);
        }
    }

    fn connections(&self) -> usize {
        self.chat.sockets()
    }
}

impl Drop for ChatConnection {
    fn drop(&mut self) {
        for (_, hall) in self.joined.drain() {
            hall.leave(self.id, self.user.id);
        }
    }
}

fn no_room(error: NoRoom) -> SocketError {
    match error {
        NoRoom::Bus(error) => away(error),
        NoRoom::TooMany => SocketError::new(ErrorCode::TooManyRooms, error.to_string()),
    }
}

/// The storage is away. Why stands in the log; to the client it is the same.
fn away(_error: BusError) -> SocketError {
    let message =
        "Messages cannot be stored or read at the moment. Keep this one and send it again.";
    let mut error = SocketError::new(ErrorCode::Unavailable, message);
    error.retry_after_ms = Some(STORAGE_RETRY_MS);
    error
}
