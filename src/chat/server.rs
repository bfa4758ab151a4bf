//! Rooms and their sockets: who is told what, and the routes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::{
        State,
        ws::{Message, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    ROOM_RULE, ROOMS, TEXT_RULE, is_room_name, is_sendable,
    message::{
        ChatCommand, ChatEvent, ChatSocket, ChatWelcome, FirstMessages, HistoryPage, Joined,
        MESSAGES_ROUTE, ROOMS_ROUTE, RoomSummary, SEARCH_ROUTE,
    },
    room::{LATEST, Posted, Room},
};
use crate::{
    api::{
        ApiError,
        answer::{Path, Query},
        limits::Limits,
        origin::Caller,
    },
    realtime::{
        close::CloseCode,
        contract::SocketContract,
        message::{ErrorCode, SocketError},
        server::{
            Counted,
            listen::ConnectionHandle,
            now_ms,
            queue::{OutQueue, encode},
            socket::{self, Ended, SocketHandler},
            upgrade,
        },
    },
    server::{AppState, welcome},
    session::{User, server::SocketSession, token::Session},
};

/// Rooms one socket may be in.
const ROOMS_A_SOCKET: usize = 128;
/// Rooms in memory; visiting a name makes one, and nobody shall fill the memory with names.
const MOST_ROOMS: usize = 10_000;
/// A reload is no leave: a person is gone this long after their last tab.
const LEAVE_AFTER: Duration = Duration::from_secs(5);
/// Messages read from the log at once for a member who is behind.
const PAGE: usize = 100;
/// Most messages in one page of history.
const HISTORY_LIMIT: usize = 200;
/// A person's `typing` is told to the others at most this often.
const TYPING_GAP: Duration = Duration::from_secs(2);

/// All rooms. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Chat(Arc<Inner>);

struct Inner {
    /// One std mutex for all rooms, held for pushes into queues and never across an await: it is what gives a room one
    /// order for everybody.
    rooms: Mutex<HashMap<String, Hall>>,
    history: usize,
    sockets: Arc<AtomicUsize>,
}

/// A room and the sockets that joined it.
struct Hall {
    room: Room,
    listeners: HashMap<u64, Listener>,
}

struct Listener {
    queue: OutQueue,
    /// Has everything up to the head; until then it reads pages from the log and gets no live messages.
    live: bool,
}

impl Chat {
    pub fn new(history: usize) -> Self {
        let rooms = ROOMS.map(|name| (name.to_owned(), Hall::new(history)));
        Self(Arc::new(Inner {
            rooms: Mutex::new(rooms.into()),
            history,
            sockets: Arc::default(),
        }))
    }

    /// A room as a page shows it first.
    pub fn first_messages(&self, name: &str) -> Option<FirstMessages> {
        if !is_room_name(name) {
            return None;
        }
        let rooms = self.rooms();
        let empty = Room::new(1);
        let room = rooms.get(name).map_or(&empty, |hall| &hall.room);
        let (mut messages, _) = room.before(u64::MAX, LATEST);
        messages.reverse();
        Some(FirstMessages {
            position: room.position(),
            members: room.members(),
            messages,
        })
    }

    /// All rooms, by name.
    pub fn summaries(&self) -> Vec<RoomSummary> {
        let summary = |(name, hall): (&String, &Hall)| RoomSummary {
            room: name.clone(),
            members: hall.room.members().len(),
            head: hall.room.position().offset,
        };
        let mut summaries: Vec<_> = self.rooms().iter().map(summary).collect();
        summaries.sort_by(|one, two| one.room.cmp(&two.room));
        summaries
    }

    fn page(
        &self,
        name: &str,
        read: impl FnOnce(&Room) -> (Vec<super::message::ChatMessage>, bool),
    ) -> Result<HistoryPage, ApiError> {
        if !is_room_name(name) {
            return Err(ApiError {
                field: Some("room".into()),
                ..ApiError::new(404, ROOM_RULE)
            });
        }
        let rooms = self.rooms();
        let empty = Room::new(1);
        let room = rooms.get(name).map_or(&empty, |hall| &hall.room);
        let (messages, more) = read(room);
        Ok(HistoryPage {
            room: name.into(),
            epoch: room.position().epoch,
            messages,
            more,
        })
    }

    fn leave_later(&self, room: String, user_id: Uuid, ticket: u64) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LEAVE_AFTER).await;
            let mut rooms = this.rooms();
            let Some(hall) = rooms.get_mut(&room) else {
                return;
            };
            if hall.room.leave_for_good(user_id, ticket) {
                hall.tell(
                    &ChatEvent::UserLeft {
                        room: room.clone(),
                        user_id,
                    },
                    |_| true,
                );
            }
            if hall.room.is_empty() && !ROOMS.contains(&room.as_str()) {
                rooms.remove(&room);
            }
        });
    }

    /// A panic while the lock was held can have left a message untold at worst; its reader finds it in the log.
    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Hall>> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hall {
    fn new(history: usize) -> Self {
        Self {
            room: Room::new(history),
            listeners: HashMap::new(),
        }
    }

    /// Encodes once, queues for all that are picked.
    fn tell(&self, event: &ChatEvent, whom: impl Fn(&Listener) -> bool) {
        let message: Message = encode(event);
        self.listeners
            .values()
            .filter(|listener| whom(listener))
            .for_each(|listener| listener.queue.push(message.clone()));
    }

    /// Queues the next page for a listener that is behind; says from where to go on, or `None` when it is live now.
    fn catch_up(&mut self, name: &str, listener: u64, after: u64) -> Option<u64> {
        let listener = self.listeners.get_mut(&listener)?;
        let mut last = after;
        for message in self.room.after(after).take(PAGE) {
            last = message.offset;
            listener.queue.push_json(&ChatEvent::Message {
                room: name.into(),
                message: message.clone(),
            });
        }
        listener.live = last == self.room.position().offset;
        (!listener.live).then_some(last)
    }
}

/// One socket in the chat.
struct Visitor {
    id: u64,
    _counted: Counted,
    chat: Chat,
    user: User,
    queue: OutQueue,
    limits: Limits,
    joined: HashSet<String>,
    /// Rooms that are being caught up, and how far.
    behind: VecDeque<(String, u64)>,
    /// Rooms in which a `send` was refused that may succeed later, and its id: until that one comes again, later ones
    /// are refused too, so that a writer's order holds.
    refused: HashMap<String, (Uuid, SocketError)>,
    typed: HashMap<String, std::time::Instant>,
}

impl SocketHandler for Visitor {
    type Contract = ChatSocket;

    fn command(&mut self, command: ChatCommand) -> Result<(), SocketError> {
        if !is_room_name(command.room()) {
            return Err(about(
                &command,
                SocketError::new(ErrorCode::InvalidField, ROOM_RULE),
            ));
        }
        if let Err(error) = self.limits.message(self.user.id) {
            let error = about(&command, error);
            if let ChatCommand::Send { id, room, .. } = &command {
                self.refused
                    .entry(room.clone())
                    .or_insert_with(|| (*id, error.clone()));
            }
            return Err(error);
        }
        let room = command.room().to_owned();
        if !self.joined.contains(&room) && !matches!(command, ChatCommand::Join { .. }) {
            let error = SocketError::new(ErrorCode::NotJoined, format!("Join \"{room}\" first."));
            return Err(about(&command, error));
        }
        match command {
            ChatCommand::Join { after, .. } => return self.join(room, after.as_ref()),
            ChatCommand::Leave { .. } => self.leave(&room),
            ChatCommand::Send { id, text, .. } => return self.send(room, id, text),
            ChatCommand::Typing { .. } => self.typing(room),
            ChatCommand::Read { offset, .. } => self.read(room, offset),
            ChatCommand::History { before, limit, .. } => return self.history(room, before, limit),
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.limits.message(self.user.id)
    }

    fn has_backlog(&self) -> bool {
        !self.behind.is_empty()
    }

    fn fill(&mut self) {
        let Some((name, after)) = self.behind.pop_front() else {
            return;
        };
        let mut rooms = self.chat.rooms();
        let next = rooms
            .get_mut(&name)
            .and_then(|hall| hall.catch_up(&name, self.id, after));
        // To the end of the line: rooms take turns.
        self.behind.extend(next.map(|after| (name, after)));
    }

    fn connections(&self) -> usize {
        self.chat.0.sockets.load(Ordering::Relaxed)
    }
}

impl Visitor {
    fn join(
        &mut self,
        name: String,
        after: Option<&crate::realtime::position::Position>,
    ) -> Result<(), SocketError> {
        if !self.joined.contains(&name) && self.joined.len() >= ROOMS_A_SOCKET {
            let message = format!("At most {ROOMS_A_SOCKET} rooms a socket. Leave one first.");
            return Err(SocketError::new(ErrorCode::TooManyRooms, message).in_room(name));
        }
        let mut rooms = self.chat.rooms();
        if !rooms.contains_key(&name) && rooms.len() >= MOST_ROOMS {
            let message = "The server holds as many rooms as it may. Use one that exists.";
            return Err(SocketError::new(ErrorCode::TooManyRooms, message).in_room(name));
        }
        let history = self.chat.0.history;
        let hall = rooms
            .entry(name.clone())
            .or_insert_with(|| Hall::new(history));
        let first_time = self.joined.insert(name.clone());
        if first_time && hall.room.enter(&self.user) {
            hall.tell(
                &ChatEvent::UserJoined {
                    room: name.clone(),
                    user: self.user.clone(),
                },
                |_| true,
            );
        }
        let start = hall.room.start(after);
        let position = hall.room.position();
        self.queue.push_json(&ChatEvent::Joined(Joined {
            room: name.clone(),
            epoch: position.epoch,
            head: position.offset,
            recovered: start.recovered,
            replayed: start.replayed,
            unread: hall.room.unread(self.user.id),
            members: hall.room.members(),
            read: hall.room.read_marks(),
        }));
        hall.listeners.insert(
            self.id,
            Listener {
                queue: self.queue.clone(),
                live: false,
            },
        );
        self.behind.retain(|(room, _)| *room != name);
        let next = hall.catch_up(&name, self.id, start.after);
        self.behind.extend(next.map(|after| (name, after)));
        Ok(())
    }

    fn leave(&mut self, name: &str) {
        if !self.joined.remove(name) {
            return;
        }
        self.behind.retain(|(room, _)| room != name);
        self.refused.remove(name);
        let mut rooms = self.chat.rooms();
        let Some(hall) = rooms.get_mut(name) else {
            return;
        };
        hall.listeners.remove(&self.id);
        if let Some(ticket) = hall.room.leave(self.user.id) {
            self.chat.leave_later(name.to_owned(), self.user.id, ticket);
        }
    }

    fn send(&mut self, name: String, id: Uuid, text: String) -> Result<(), SocketError> {
        if let Some((first, error)) = self.refused.get(&name) {
            if *first != id {
                return Err(error.clone().about(id));
            }
            self.refused.remove(&name);
        }
        if !is_sendable(&text) {
            return Err(SocketError::new(ErrorCode::InvalidField, TEXT_RULE)
                .about(id)
                .in_room(name));
        }
        let mut rooms = self.chat.rooms();
        let Some(hall) = rooms.get_mut(&name) else {
            return Err(SocketError::new(
                ErrorCode::NotJoined,
                "This room is gone. Join it again.",
            )
            .about(id)
            .in_room(name));
        };
        let (offset, at) = match hall.room.post(id, self.user.clone(), text, now_ms()) {
            Posted::Known { offset, at } => (offset, at),
            Posted::New(message) => {
                let (offset, at) = (message.offset, message.at);
                hall.tell(
                    &ChatEvent::Message {
                        room: name.clone(),
                        message,
                    },
                    |listener| listener.live,
                );
                (offset, at)
            }
        };
        self.queue.push_json(&ChatEvent::Ack {
            id,
            room: name,
            offset,
            at,
        });
        Ok(())
    }

    fn typing(&mut self, name: String) {
        let now = std::time::Instant::now();
        if self
            .typed
            .get(&name)
            .is_some_and(|typed| now - *typed < TYPING_GAP)
        {
            return;
        }
        self.typed.insert(name.clone(), now);
        let rooms = self.chat.rooms();
        if let Some(hall) = rooms.get(&name) {
            hall.tell(
                &ChatEvent::Typing {
                    room: name,
                    user_id: self.user.id,
                },
                |_| true,
            );
        }
    }

    fn read(&mut self, name: String, offset: u64) {
        let mut rooms = self.chat.rooms();
        let Some(hall) = rooms.get_mut(&name) else {
            return;
        };
        if let Some(offset) = hall.room.read(self.user.id, offset) {
            hall.tell(
                &ChatEvent::Read {
                    room: name,
                    user_id: self.user.id,
                    offset,
                },
                |_| true,
            );
        }
    }

    fn history(&mut self, name: String, before: u64, limit: usize) -> Result<(), SocketError> {
        if !(1..=HISTORY_LIMIT).contains(&limit) {
            let message = format!("\"limit\" is a number from 1 to {HISTORY_LIMIT}.");
            return Err(SocketError::new(ErrorCode::InvalidField, message).in_room(name));
        }
        let (messages, more) = {
            let rooms = self.chat.rooms();
            rooms
                .get(&name)
                .map(|hall| hall.room.before(before, limit))
                .unwrap_or_default()
        };
        self.queue.push_json(&ChatEvent::History {
            room: name,
            messages,
            more,
        });
        Ok(())
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        for room in self.joined.clone() {
            self.leave(&room);
        }
    }
}

fn about(command: &ChatCommand, error: SocketError) -> SocketError {
    let error = error.in_room(command.room());
    if let ChatCommand::Send { id, .. } = command {
        error.about(id)
    } else {
        error
    }
}

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(ChatSocket::ROUTE, any(socket))
        .route(ROOMS_ROUTE, get(rooms))
        .route(MESSAGES_ROUTE, get(messages))
        .route(SEARCH_ROUTE, get(search))
}

async fn socket(
    State(state): State<AppState>,
    SocketSession(session): SocketSession,
    Extension(caller): Extension<Caller>,
    connection: Option<Extension<ConnectionHandle>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(crate::server::no_upgrade)?;
    let realtime = state.realtime.clone();
    let serve = async move |socket, _offer| {
        let session: Session = match session {
            Ok(session) => session,
            Err(why) => {
                socket::refuse(socket, CloseCode::Session, why.close_reason()).await;
                return Ended::Cleanly;
            }
        };
        let Ok(_place) = state.limits.place(caller.address) else {
            socket::refuse(
                socket,
                CloseCode::RateLimitIgnored,
                "too many open sockets from this address",
            )
            .await;
            return Ended::Cleanly;
        };
        let (queue, chat) = (OutQueue::default(), state.chat.clone());
        let visitor = Visitor {
            id: rand::random(),
            _counted: Counted::new(chat.0.sockets.clone(), "websocket", "chat"),
            chat,
            user: session.user.clone(),
            queue: queue.clone(),
            limits: state.limits.clone(),
            joined: HashSet::new(),
            behind: VecDeque::new(),
            refused: HashMap::new(),
            typed: HashMap::new(),
        };
        queue.push_json(&welcome(
            &state,
            visitor.connections(),
            0,
            ChatWelcome {
                user: session.user.clone(),
            },
        ));
        let ended = session.ended(state.sessions.end_of(&session));
        socket::run(socket, queue, visitor, &state.realtime, ended).await
    };
    Ok(upgrade::accept::<ChatSocket, _>(
        upgrade,
        &headers,
        0,
        realtime.drain(),
        connection.map(|handle| handle.0),
        serve,
    ))
}

async fn rooms(State(state): State<AppState>, _session: Session) -> Json<Vec<RoomSummary>> {
    Json(state.chat.summaries())
}

#[derive(Deserialize)]
struct Page {
    before: Option<u64>,
    limit: Option<usize>,
}

async fn messages(
    State(state): State<AppState>,
    _session: Session,
    Path(room): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<HistoryPage>, ApiError> {
    let limit = page.limit.unwrap_or(LATEST);
    if !(1..=HISTORY_LIMIT).contains(&limit) {
        return Err(ApiError::field(
            "limit",
            format!("limit is a number from 1 to {HISTORY_LIMIT}."),
        ));
    }
    state
        .chat
        .page(&room, |room| {
            room.before(page.before.unwrap_or(u64::MAX), limit)
        })
        .map(Json)
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn search(
    State(state): State<AppState>,
    _session: Session,
    Path(room): Path<String>,
    Query(search): Query<Search>,
) -> Result<Response, ApiError> {
    if search.q.trim().is_empty() {
        return Err(ApiError::field("q", "q holds the words to search for."));
    }
    let found = state
        .chat
        .page(&room, |room| (room.search(&search.q, HISTORY_LIMIT), false))?;
    Ok(Json(found).into_response())
}
