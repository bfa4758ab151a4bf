//! The route of the board's socket.

use axum::{
    Extension, Router,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
    routing::any,
};
use serde::Deserialize;

use super::{
    DOCUMENT_RULE, FIRST_DOCUMENT, is_document_name,
    message::{BoardSocket, BoardWelcome, FirstBoard},
    registry::{Collab, TICK},
    visitor::{Gap, Seat, Visitor},
};
use crate::{
    api::{
        ApiError,
        answer::{Path, Query},
        origin::Caller,
    },
    first_state::FirstState,
    realtime::{
        close::CloseCode,
        contract::SocketContract,
        server::{
            Line,
            queue::{OutQueue, encode},
            socket,
            upgrade::{self, Offer},
        },
    },
    server::{AppState, welcome},
    session::{server::SocketSession, token::Session},
};

/// The longest binary message in bytes.
const BINARY_BYTES: usize = 4 * 1024 * 1024;

pub fn routes() -> Router<AppState> {
    Router::new().route(BoardSocket::ROUTE, any(socket))
}

/// Reads what a board's page shows first, before its render, which cannot wait. The function puts it into the context.
pub async fn first_state(collab: &Collab, path: &str) -> impl Fn() + Clone + Send + Sync + 'static {
    let name = document_of(path).filter(|name| is_document_name(name));
    let first = match name {
        Some(name) => collab.first_board(name).await.unwrap_or_else(|error| {
            tracing::error!(%error, document = name, "a document cannot be shown");
            FirstBoard::default()
        }),
        None => FirstBoard::default(),
    };
    move || {
        let first = first.clone();
        FirstState::provide(move |_document: String| first.clone());
    }
}

/// The document that a page's path names: `/collab` is the first one.
fn document_of(path: &str) -> Option<&str> {
    match path.strip_prefix("/collab")? {
        "" | "/" => Some(FIRST_DOCUMENT),
        rest => rest.strip_prefix('/'),
    }
}

#[derive(Deserialize)]
struct Asked {
    /// `1` makes the socket read-only.
    #[serde(default)]
    readonly: Option<String>,
}

#[allow(clippy::too_many_arguments, reason = "each is an extractor")]
async fn socket(
    State(state): State<AppState>,
    Path(document): Path<String>,
    SocketSession(session): SocketSession,
    Extension(caller): Extension<Caller>,
    line: Line,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(crate::server::no_upgrade)?;
    let realtime = state.realtime.clone();
    let serve = async move |socket, offer: Offer| {
        let ours = offer == Offer::Ours;
        if !is_document_name(&document) {
            let code = if ours {
                CloseCode::NotFound
            } else {
                CloseCode::YjsNotFound
            };
            socket::refuse(socket, code, DOCUMENT_RULE).await;
            return;
        }
        let session: Session = match session {
            Ok(session) => session,
            // A Yjs client cannot sign in: it is a guest of its own.
            Err(_) if !ours => state.sessions.guest(),
            Err(why) => {
                socket::refuse(socket, CloseCode::Session, why.close_reason()).await;
                return;
            }
        };
        let Ok(_place) = state.limits.place(caller.address) else {
            let why = "too many open sockets from this address";
            socket::refuse(socket, CloseCode::RateLimitIgnored, why).await;
            return;
        };
        let visit = match state.collab.visit(&document).await {
            Ok(visit) => visit,
            Err(error) => {
                tracing::error!(%error, document, "a document cannot be had");
                let why = "the document cannot be had now";
                socket::refuse(socket, CloseCode::ServerError, why).await;
                return;
            }
        };
        let queue = if ours {
            OutQueue::default()
        } else {
            OutQueue::binary_only()
        };
        let user = session.user.clone();
        let counted = state.collab.count_socket();
        let seat = if ours {
            Seat::take(visit, user.clone(), queue.clone(), |you, peers| {
                let feature = BoardWelcome {
                    user: user.clone(),
                    you,
                    peers,
                    tick_ms: TICK.as_millis() as u64,
                };
                let count = counted.count();
                encode(&welcome(&state, &line, count, BINARY_BYTES, feature))
            })
        } else {
            Seat::take_for_yjs(visit, queue.clone())
        };
        let visitor = Visitor {
            seat,
            user,
            address: caller.address,
            queue: queue.clone(),
            limits: state.limits.clone(),
            harm: state.collab.harm(),
            ours,
            readonly: asked.readonly.as_deref() == Some("1"),
            asked: None,
            gap: Gap::None,
            counted,
        };
        if let Err(error) = visitor.greet().await {
            tracing::error!(%error, document, "a document cannot be had");
            queue.close(CloseCode::ServerError, "the document cannot be had now");
        }
        let watch = state.sessions.watch(&session);
        let ended = async move {
            // A Yjs client shows nobody's name, and would take the close for the end.
            match ours {
                true => watch.ended_or_renamed().await,
                false => watch.ended().await,
            }
        };
        socket::run(socket, queue, visitor, &state.realtime, &line, ended).await;
    };
    Ok(upgrade::accept::<BoardSocket, _>(
        upgrade,
        &headers,
        BINARY_BYTES,
        realtime.drain(),
        serve,
    ))
}
