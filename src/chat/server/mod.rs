//! The chat's routes: the socket, and plain requests for rooms, history and search.

pub mod connection;
pub mod elsewhere;
pub mod log;
pub mod room;
pub mod rooms;
pub mod roster;
pub mod settings;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    response::Response,
    routing::{any, get},
};
use serde::Deserialize;

use self::{
    connection::ChatConnection,
    log::{LATEST, Messages, RoomLog},
    rooms::Chat,
};
use super::{
    HISTORY_LIMIT, ROOM_RULE, ROOMS, SEARCH_CHARACTERS, is_room_name,
    message::{
        ChatSocket, ChatWelcome, HistoryPage, MESSAGES_ROUTE, ROOMS_ROUTE, RoomSummary,
        SEARCH_ROUTE,
    },
};
use crate::{
    bus::{BusError, words},
    routes::{Feature, Routes, Web},
    session::server::{SocketSession, token::Session},
    ui::first_state::FirstState,
    web::{
        error::ApiError,
        server::answer::{Path, Query},
    },
};
use realtime::{
    close::CloseCode,
    contract::SocketContract,
    server::{
        SocketRequest,
        channel::{Log, LogError},
    },
};

/// Most words in a search: for each, the index reads everything that begins with it.
const SEARCH_WORDS: usize = 16;
/// The error sentence for an invalid search.
const SEARCH_RULE: &str = "Search for 1 to 16 words, in at most 200 characters.";

/// The chat's routes and background tasks. `retention`: messages older than this are dropped.
pub fn routes(web: Web, chat: Chat, retention: Option<Duration>) -> Routes {
    let (first, rooms_run, saved) = (chat.clone(), chat.clone(), chat.clone());
    let (cluster, farewell) = (chat.clone(), chat.clone());
    let state = web.with(chat);
    let live = Router::new().route(ChatSocket::ROUTE, any(socket));
    let plain = Router::new()
        .route(ROOMS_ROUTE, get(rooms))
        .route(MESSAGES_ROUTE, get(messages))
        .route(SEARCH_ROUTE, get(search));
    Routes::default()
        .live(live.with_state(state.clone()))
        .plain(plain.with_state(state))
        .first_state(move |path| first_state(first.clone(), path.to_owned()))
        .background("chat rooms", move || rooms_run.clone().run(retention))
        .background("chat at other nodes", move || {
            cluster.clone().follow_others()
        })
        .last_write(async move { saved.save_marks().await })
        .last_write(async move { farewell.say_goodbye() })
}

/// Reads the first state of a chat page. The returned function puts it into the context of a render.
async fn first_state(chat: Chat, path: String) -> impl Fn() + Send + Sync + 'static {
    let room = room_of(&path);
    let first = match room {
        Some(room) => chat.first_messages(room).await,
        None => None,
    };
    let room = room.map(str::to_owned);
    move || {
        let (room, first) = (room.clone(), first.clone());
        FirstState::provide(move |asked: String| first.clone().filter(|_| room == Some(asked)));
    }
}

/// The room that a page's path names; `/chat` means the first room.
fn room_of(path: &str) -> Option<&str> {
    match path.strip_prefix("/chat")? {
        "" | "/" => Some(ROOMS[0]),
        rest => rest.strip_prefix('/'),
    }
}

async fn socket(
    State(Feature { web, own: chat }): State<Feature<Chat>>,
    SocketSession(session): SocketSession,
    socket: SocketRequest<ChatSocket>,
) -> Response {
    socket.serve(async move |socket| {
        let session = match session {
            Ok(session) => session,
            Err(why) => return socket.refuse(CloseCode::Session, why.close_reason()),
        };
        let user = session.user.clone();
        let Some(permit) = web.limits.permit_of_user(user.id) else {
            let reason = "too many open sockets of this user";
            return socket.refuse(CloseCode::RateLimitIgnored, reason);
        };
        let (queue, limits) = (socket.queue().clone(), web.limits.clone());
        let mut handler = ChatConnection::new(chat, user.clone(), permit, queue, limits);
        if socket.has_expired() {
            handler.rooms.expire();
        }
        socket.welcome(ChatWelcome { user });
        let ended = web.sessions.watch(&session).ended_or_renamed();
        socket.run_until(handler, ended)
    })
}

async fn rooms(
    State(Feature { own: chat, .. }): State<Feature<Chat>>,
    _session: Session,
) -> Result<Json<Vec<RoomSummary>>, ApiError> {
    chat.summaries().await.map(Json).map_err(unavailable)
}

#[derive(Deserialize)]
struct Page {
    before: Option<u64>,
    limit: Option<usize>,
}

async fn messages(
    State(Feature { own: chat, .. }): State<Feature<Chat>>,
    _session: Session,
    Path(room): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<HistoryPage>, ApiError> {
    let limit = page.limit.unwrap_or(LATEST);
    if !(1..=HISTORY_LIMIT).contains(&limit) {
        let rule = format!("limit is a number from 1 to {HISTORY_LIMIT}.");
        return Err(ApiError::field("limit", rule));
    }
    let log = log_of(&chat, &room)?;
    let found = log.before(page.before.unwrap_or(u64::MAX), limit).await;
    Ok(history_page(
        room,
        &log,
        found.map_err(|error| unavailable(error.into()))?,
    ))
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn search(
    State(Feature { own: chat, .. }): State<Feature<Chat>>,
    _session: Session,
    Path(room): Path<String>,
    Query(search): Query<Search>,
) -> Result<Json<HistoryPage>, ApiError> {
    if !is_search(&search.q) {
        return Err(ApiError::field("q", SEARCH_RULE));
    }
    let log = log_of(&chat, &room)?;
    let found = log.search(&search.q, HISTORY_LIMIT).await;
    Ok(history_page(room, &log, found.map_err(search_error)?))
}

/// Whether a text is a valid search. Its words are counted as the index splits them.
fn is_search(text: &str) -> bool {
    text.chars().count() <= SEARCH_CHARACTERS && (1..=SEARCH_WORDS).contains(&words::count(text))
}

fn log_of(chat: &Chat, room: &str) -> Result<RoomLog, ApiError> {
    if is_room_name(room) {
        Ok(chat.log(room))
    } else {
        Err(ApiError {
            field: Some("room".into()),
            ..ApiError::new(404, ROOM_RULE)
        })
    }
}

fn history_page(room: String, log: &RoomLog, found: Messages) -> Json<HistoryPage> {
    Json(HistoryPage {
        room,
        epoch: log.epoch(),
        messages: found.messages,
        more: found.more,
    })
}

fn search_error(error: BusError) -> ApiError {
    match error {
        BusError::TimedOut => ApiError {
            retry_after: Some(1),
            ..ApiError::new(
                503,
                "The search took too long and was given up. Search for longer or fewer words, or try again.",
            )
        },
        error => unavailable(error.into()),
    }
}

fn unavailable(_error: LogError) -> ApiError {
    ApiError {
        retry_after: Some(1),
        ..ApiError::new(503, "Messages cannot be read at the moment. Try again.")
    }
}
