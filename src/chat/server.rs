//! The chat's routes: the socket, and plain requests for rooms, history and search.

use std::collections::HashSet;

use axum::{
    Extension, Json, Router,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
    routing::{any, get},
};
use serde::Deserialize;

use super::{
    HISTORY_LIMIT, ROOM_RULE, ROOMS, SEARCH_CHARACTERS, is_room_name,
    log::{LATEST, Messages, RoomLog},
    message::{
        ChatSocket, ChatWelcome, HistoryPage, MESSAGES_ROUTE, ROOMS_ROUTE, RoomSummary,
        SEARCH_ROUTE,
    },
    rooms::Chat,
    visitor::Visitor,
};
use crate::{
    api::{
        ApiError,
        answer::{Path, Query},
        origin::Caller,
    },
    bus::{BusError, words},
    first_state::FirstState,
    realtime::{
        close::CloseCode,
        contract::SocketContract,
        server::{
            Line,
            queue::OutQueue,
            socket::{self, SocketHandler},
            upgrade,
        },
    },
    server::{AppState, welcome},
    session::{server::SocketSession, token::Session},
};

/// Words in a search: each costs the index a look at everything that begins with it.
const SEARCH_WORDS: usize = 16;
/// The sentence for a search that cannot be made.
const SEARCH_RULE: &str = "Search for 1 to 16 words, in at most 200 characters.";

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(ChatSocket::ROUTE, any(socket))
        .route(ROOMS_ROUTE, get(rooms))
        .route(MESSAGES_ROUTE, get(messages))
        .route(SEARCH_ROUTE, get(search))
}

/// Reads what a page of the chat shows first, before its render, which cannot wait. The function puts it into the context.
pub async fn first_state(chat: &Chat, path: &str) -> impl Fn() + Clone + Send + Sync + 'static {
    let room = room_of(path);
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

/// The room that a page's path names: `/chat` is the first one.
fn room_of(path: &str) -> Option<&str> {
    match path.strip_prefix("/chat")? {
        "" | "/" => Some(ROOMS[0]),
        rest => rest.strip_prefix('/'),
    }
}

async fn socket(
    State(state): State<AppState>,
    SocketSession(session): SocketSession,
    Extension(caller): Extension<Caller>,
    line: Line,
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
                return;
            }
        };
        let user = session.user.clone();
        let places = state
            .limits
            .place(caller.address)
            .map_err(|_| "too many open sockets from this address")
            .and_then(|place| match state.limits.place_of_user(user.id) {
                Some(of_user) => Ok((place, of_user)),
                None => Err("too many open sockets of this user"),
            });
        let _places = match places {
            Ok(places) => places,
            Err(reason) => {
                socket::refuse(socket, CloseCode::RateLimitIgnored, reason).await;
                return;
            }
        };
        let (queue, limits) = (OutQueue::default(), state.limits.clone());
        let mut visitor = Visitor::new(state.chat.clone(), user.clone(), queue.clone(), limits);
        visitor.expired = line.has_expired().then(HashSet::new);
        let connections = visitor.connections();
        queue.push_json(&welcome(
            &state,
            &line,
            connections,
            0,
            ChatWelcome { user },
        ));
        let ended = state.sessions.watch(&session).ended_or_renamed();
        socket::run(socket, queue, visitor, &state.realtime, &line, ended).await;
    };
    Ok(upgrade::accept::<ChatSocket, _>(
        upgrade,
        &headers,
        0,
        realtime.drain(),
        serve,
    ))
}

async fn rooms(
    State(state): State<AppState>,
    _session: Session,
) -> Result<Json<Vec<RoomSummary>>, ApiError> {
    state.chat.summaries().await.map(Json).map_err(away)
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
        let rule = format!("limit is a number from 1 to {HISTORY_LIMIT}.");
        return Err(ApiError::field("limit", rule));
    }
    let log = log_of(&state, &room)?;
    let found = log.before(page.before.unwrap_or(u64::MAX), limit).await;
    Ok(history_page(room, &log, found.map_err(away)?))
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
) -> Result<Json<HistoryPage>, ApiError> {
    if !is_search(&search.q) {
        return Err(ApiError::field("q", SEARCH_RULE));
    }
    let log = log_of(&state, &room)?;
    let found = log.search(&search.q, HISTORY_LIMIT).await;
    Ok(history_page(room, &log, found.map_err(not_searched)?))
}

/// Whether this can be searched for, with its words counted as the index takes them.
fn is_search(text: &str) -> bool {
    text.chars().count() <= SEARCH_CHARACTERS && (1..=SEARCH_WORDS).contains(&words::count(text))
}

fn log_of(state: &AppState, room: &str) -> Result<RoomLog, ApiError> {
    if is_room_name(room) {
        Ok(state.chat.log(room))
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

fn not_searched(error: BusError) -> ApiError {
    match error {
        BusError::TimedOut => ApiError {
            retry_after: Some(1),
            ..ApiError::new(
                503,
                "The search took too long and was given up. Search for longer or fewer words, or try again.",
            )
        },
        error => away(error),
    }
}

fn away(_error: BusError) -> ApiError {
    ApiError {
        retry_after: Some(1),
        ..ApiError::new(503, "Messages cannot be read at the moment. Try again.")
    }
}
