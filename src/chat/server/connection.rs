//! The handler of one chat socket: it executes the socket's commands one at a time.
//!
//! Each command is completed before the next one is read. So a writer's messages are stored in the order in which they
//! were sent: none is stored while the outcome of the previous one is open, and after a refusal that may be retried no
//! later message overtakes the refused one.

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
use crate::{
    bus::BusError,
    chat::{
        HISTORY_LIMIT, ROOM_RULE, check_text, is_room_name,
        message::{ChatCommand, ChatEvent, ChatSocket, NOT_JOINED, TOO_MANY_ROOMS, in_room},
    },
    guard::limits::Limits,
    session::User,
    web::text_rules::with_line_feeds,
};
use realtime::{
    close::CloseCode,
    id::SpelledId,
    message::{ErrorCode, SocketError},
    position::Position,
    server::{queue::OutQueue, socket::SocketHandler},
};

/// Most rooms that one socket may be in.
const ROOMS_A_SOCKET: usize = 128;
/// How long a large answer waits for space in the socket's queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long a command that the storage refused may be retried, in milliseconds.
const STORAGE_RETRY_MS: u64 = 1_000;
/// The storage works but rejects this message. The refusal is final: a message that is sent again and again would hold
/// up all later ones for ever.
const NOT_STORABLE: &str = "This message cannot be stored. Write it anew.";

/// A member's socket in the chat.
pub struct ChatConnection {
    id: u64,
    chat: Chat,
    user: User,
    queue: OutQueue,
    limits: Limits,
    joined: HashMap<String, Arc<Room>>,
    /// Rooms for which messages are still to be read from the log; they take turns.
    behind: VecDeque<String>,
    /// Rooms in which a `send` was refused that may succeed later, with its id and error. Until the client sends that
    /// id again, later sends are refused too, so that the writer's order holds.
    refused: HashMap<String, (SpelledId, SocketError)>,
    /// Set by a fault that declares the history lost: the first join of each room is then not recovered. Holds the
    /// rooms that were answered so already.
    pub expired: Option<HashSet<String>>,
}

impl ChatConnection {
    pub fn new(chat: Chat, user: User, queue: OutQueue, limits: Limits) -> Self {
        Self {
            id: rand::random(),
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
        self.wait_for_queue_space().await;
        let first_time = !self.joined.contains_key(&name);
        if first_time && self.joined.len() >= ROOMS_A_SOCKET {
            let message = format!("At most {ROOMS_A_SOCKET} rooms a socket. Leave one first.");
            return Err(SocketError::new(TOO_MANY_ROOMS, message));
        }
        let lost = |rooms: &mut HashSet<String>| rooms.insert(name.clone());
        let after = after.filter(|_| !self.expired.as_mut().is_some_and(lost));
        loop {
            let room = self.chat.room(&name).await.map_err(no_room)?;
            let start = room
                .log()
                .start(after.as_ref())
                .await
                .map_err(unavailable)?;
            let mark = room.mark(self.user.id);
            let unread = room.log().unread(mark, start.head.offset, self.user.id);
            let unread = unread.await.map_err(unavailable)?;
            let entered = room.enter(
                Arrival {
                    socket: self.id,
                    user: &self.user,
                    queue: &self.queue,
                    first_time,
                    unread,
                },
                &start,
            );
            // The room was empty and was closed before this socket entered it. Open it again.
            if entered == Entered::Closed {
                continue;
            }
            self.behind.retain(|behind| *behind != name);
            if entered == Entered::Behind {
                self.behind.push_back(name.clone());
            }
            self.joined.insert(name, room);
            return Ok(());
        }
    }

    fn leave(&mut self, name: &str) {
        if let Some(room) = self.joined.remove(name) {
            self.behind.retain(|behind| behind != name);
            self.refused.remove(name);
            room.leave(self.id, self.user.id);
        }
    }

    async fn send(
        &mut self,
        room: &Room,
        name: String,
        id: SpelledId,
        text: &str,
    ) -> Result<(), SocketError> {
        if let Some((first, error)) = self.refused.get(&name) {
            if *first != id {
                return Err(error.clone());
            }
            self.refused.remove(&name);
        }
        // Every reader gets the same line ends, and those that the HTML parser would make anyway.
        let text = &*with_line_feeds(text);
        let refused = |rule| SocketError::new(ErrorCode::InvalidField, rule);
        check_text(text).map_err(refused)?;
        match room.post(id.clone(), &self.user, text).await {
            Ok((offset, at)) => self.queue.push_json(&ChatEvent::Ack {
                id,
                room: name,
                offset,
                at,
            }),
            Err(PostError::Bus(BusError::Refused(_))) => {
                return Err(SocketError::new(ErrorCode::InvalidField, NOT_STORABLE));
            }
            Err(PostError::Bus(error)) => return Err(unavailable(error)),
            Err(taken @ PostError::IdTaken) => {
                return Err(SocketError::new(ErrorCode::InvalidField, taken.to_string()));
            }
        }
        Ok(())
    }

    /// Records a refused `send` that may succeed later. The error for a later `send` names the one that must be sent
    /// first.
    fn record_refusal(
        &mut self,
        room: String,
        id: &SpelledId,
        mut error: SocketError,
    ) -> SocketError {
        // In a room that is not joined nothing is stored, so nothing can be overtaken.
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
        room: &Room,
        name: String,
        before: u64,
        limit: usize,
    ) -> Result<(), SocketError> {
        if !(1..=HISTORY_LIMIT).contains(&limit) {
            let message = format!("\"limit\" is a number from 1 to {HISTORY_LIMIT}.");
            return Err(SocketError::new(ErrorCode::InvalidField, message));
        }
        self.wait_for_queue_space().await;
        let page = room
            .log()
            .before(before, limit)
            .await
            .map_err(unavailable)?;
        self.queue.push_json(&ChatEvent::History {
            room: name,
            messages: page.messages,
            more: page.more,
        });
        Ok(())
    }

    /// Waits until earlier large answers have been sent, so that a client that joins many rooms or reads much history
    /// over a slow connection gets all of them. A client that does not read at all overruns its queue in the end and is
    /// closed as too slow.
    async fn wait_for_queue_space(&self) {
        let _ = timeout(QUEUE_TIMEOUT, self.queue.has_room()).await;
    }

    async fn execute(&mut self, command: ChatCommand) -> Result<(), SocketError> {
        // Leaving is not rate-limited: each leave was preceded by a counted join.
        let is_leave =
            matches!(&command, ChatCommand::Leave { room } if self.joined.contains_key(room));
        if !is_leave {
            self.limits.message(self.user.id)?;
        }
        if !is_room_name(command.room()) {
            return Err(SocketError::new(ErrorCode::InvalidField, ROOM_RULE));
        }
        let name = command.room().to_owned();
        if let ChatCommand::Join { after, .. } = command {
            return self.join(name, after).await;
        }
        let Some(room) = self.joined.get(&name).cloned() else {
            let error = format!("Join \"{name}\" first.");
            return Err(SocketError::new(NOT_JOINED, error));
        };
        match command {
            ChatCommand::Join { .. } => {}
            ChatCommand::Leave { .. } => self.leave(&name),
            ChatCommand::Send { id, text, .. } => return self.send(&room, name, id, &text).await,
            ChatCommand::Typing { .. } => room.set_typing(self.user.id),
            ChatCommand::Read { offset, .. } => room.read(self.user.id, offset),
            ChatCommand::History { before, limit, .. } => {
                return self.history(&room, name, before, limit).await;
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
        let Err(error) = self.execute(command).await else {
            return Ok(());
        };
        let error = in_room(error, &room);
        match send {
            Some(id) => Err(self.record_refusal(room, &id, error).about(id)),
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
        let Some(room) = self.joined.get(&name).cloned() else {
            return;
        };
        let failed = match room.catch_up(self.id).await {
            Ok(false) => return,
            Ok(true) => {
                self.behind.push_back(name);
                return;
            }
            // The next messages have been dropped meanwhile. Start without a position; the answer says so (`recovered:
            // false`).
            Err(BusError::Forgotten { .. }) => self.join(name, None).await.is_err(),
            Err(_) => true,
        };
        if failed {
            // The client reconnects and resumes from its position.
            let reason = "the messages cannot be read at the moment";
            self.queue.close(CloseCode::TooSlow, reason);
        }
    }
}

impl Drop for ChatConnection {
    fn drop(&mut self) {
        for (_, room) in self.joined.drain() {
            room.leave(self.id, self.user.id);
        }
    }
}

fn no_room(error: NoRoom) -> SocketError {
    match error {
        NoRoom::Bus(error) => unavailable(error),
        NoRoom::TooMany => SocketError::new(TOO_MANY_ROOMS, error.to_string()),
    }
}

/// The storage is unavailable. The cause is in the server's log; it makes no difference to the client.
fn unavailable(_error: BusError) -> SocketError {
    let message =
        "Messages cannot be stored or read at the moment. Keep this one and send it again.";
    let mut error = SocketError::new(ErrorCode::Unavailable, message);
    error.retry_after_ms = Some(STORAGE_RETRY_MS);
    error
}
