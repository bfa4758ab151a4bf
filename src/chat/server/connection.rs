//! The handler of one chat socket: it checks the socket's commands and executes them one at a time.
//!
//! The kit joins rooms, catches up and keeps the order of what the user sends ([`JoinedChannels`]).

use std::sync::Arc;

use axum::extract::ws::Message;
use uuid::Uuid;

use super::{
    log::{self, RoomLog},
    room::{self, RoomChannel},
    rooms::{Chat, NoRoom},
    roster::Roster,
};
use crate::{
    chat::{
        HISTORY_LIMIT, ROOM_RULE, check_text, is_room_name,
        message::{ChatCommand, ChatEvent, ChatSocket, Posted, TOO_MANY_ROOMS},
    },
    guard::limits::Limits,
    session::User,
    web::text_rules::with_line_feeds,
};
use realtime::{
    channel::ChannelContract,
    message::{ErrorCode, SocketError},
    server::{
        channel::{
            Entered, LogError, Seat, Start,
            joined::{ChannelHandler, JoinedChannels},
        },
        permits::Permit,
        queue::OutQueue,
        socket::SocketHandler,
    },
};

/// A member's socket in the chat.
pub struct ChatConnection {
    limits: Limits,
    queue: OutQueue,
    pub rooms: JoinedChannels<Visitor>,
    _permit: Permit<Uuid>,
}

/// The user of one socket among all rooms.
pub struct Visitor {
    chat: Chat,
    user: User,
}

impl ChannelHandler for Visitor {
    type Contract = ChatSocket;
    type Log = RoomLog;
    type State = Roster;

    const LATEST: usize = log::LATEST;

    async fn open(&self, name: &str) -> Result<Arc<RoomChannel>, SocketError> {
        let room = self.chat.room(name).await;
        room.map_err(|error| match error {
            NoRoom::Log(error) => error.into(),
            NoRoom::TooMany => SocketError::new(TOO_MANY_ROOMS, error.to_string()),
        })
    }

    async fn enter(
        &self,
        room: &Arc<RoomChannel>,
        seat: Seat<'_>,
        start: &Start,
    ) -> Result<Entered, SocketError> {
        let (user, head) = (&self.user, start.joined.head);
        let mark = room.change(|roster, _| roster.mark(user.id));
        let unread = room.log().unread(mark, head, user.id).await;
        let unread = unread.map_err(LogError::from)?;
        Ok(room.enter(seat, start, |roster, members, joined| {
            let entering = (roster, members);
            let of = (room.log().bus(), room.name());
            room::admit(entering, of, user, seat.first_time, joined, unread)
        }))
    }

    fn leave(&self, room: &Arc<RoomChannel>, socket: u64) {
        room::leave(room, socket, self.user.id, self.chat.background());
    }

    fn too_many() -> SocketError {
        let most = Self::MOST_CHANNELS;
        let message = format!("At most {most} rooms a socket. Leave one first.");
        SocketError::new(TOO_MANY_ROOMS, message)
    }
}

impl ChatConnection {
    /// `permit` is one of the user's, which the socket holds to its end.
    pub fn new(
        chat: Chat,
        user: User,
        permit: Permit<Uuid>,
        queue: OutQueue,
        limits: Limits,
    ) -> Self {
        let visitor = Visitor { chat, user };
        Self {
            limits,
            queue: queue.clone(),
            rooms: JoinedChannels::new(visitor, queue),
            _permit: permit,
        }
    }

    fn user(&self) -> &User {
        &self.rooms.handler().user
    }

    /// Whether a command may be executed, by its rate and its room's name.
    fn check(&mut self, command: &ChatCommand) -> Result<(), SocketError> {
        // Leaving is not rate-limited: each leave was preceded by a counted join.
        let is_leave = matches!(command, ChatCommand::Leave { room } if self.rooms.contains(room));
        if !is_leave {
            self.limits.message(self.user().id)?;
        }
        match is_room_name(command.room()) {
            true => Ok(()),
            false => Err(SocketError::new(ErrorCode::InvalidField, ROOM_RULE)),
        }
    }

    /// What is stored of a text that the user sends.
    fn posted(from: User, text: &str) -> Result<Posted, SocketError> {
        // Every reader gets the same line ends, and those that the HTML parser would make anyway.
        let text = with_line_feeds(text);
        let refused = |rule| SocketError::new(ErrorCode::InvalidField, rule);
        check_text(&text).map_err(refused)?;
        Ok(Posted {
            from,
            text: text.into_owned(),
        })
    }

    async fn history(&self, name: &str, before: u64, limit: usize) -> Result<(), SocketError> {
        let room = self.rooms.channel(name)?;
        if !(1..=HISTORY_LIMIT).contains(&limit) {
            let message = format!("\"limit\" is a number from 1 to {HISTORY_LIMIT}.");
            return Err(SocketError::new(ErrorCode::InvalidField, message));
        }
        self.rooms.queue_has_room().await;
        let page = room.log().before(before, limit).await;
        let page = page.map_err(LogError::from)?;
        self.queue.push_json(&ChatEvent::History {
            room: name.to_owned(),
            messages: page.messages,
            more: page.more,
        });
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
        let name = command.room().to_owned();
        if let Err(error) = self.check(&command) {
            return Err(match &command {
                ChatCommand::Send { id, .. } => self.rooms.refuse(&name, id, error),
                _ => ChatSocket::in_channel(error, &name),
            });
        }
        match command {
            ChatCommand::Join { after, .. } => self.rooms.join(&name, after).await?,
            ChatCommand::Send { id, text, .. } => {
                let from = self.user().clone();
                let posted = || Self::posted(from, &text);
                self.rooms.send(&name, &id, posted).await?;
            }
            ChatCommand::Leave { .. } => {
                self.rooms.channel(&name)?;
                self.rooms.leave(&name);
            }
            ChatCommand::Typing { .. } => {
                room::set_typing(self.rooms.channel(&name)?, self.user().id);
            }
            ChatCommand::Read { offset, .. } => {
                room::read(self.rooms.channel(&name)?, self.user().id, offset);
            }
            ChatCommand::History { before, limit, .. } => {
                let history = self.history(&name, before, limit).await;
                history.map_err(|error| ChatSocket::in_channel(error, &name))?;
            }
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.limits.message(self.user().id)
    }

    fn has_backlog(&self) -> bool {
        self.rooms.has_backlog()
    }

    async fn fill(&mut self) {
        self.rooms.fill().await;
    }
}
