//! The server half of the board: its state, and the route of its socket.

mod awareness;
mod board;
pub mod boards;
mod connection;
#[cfg(test)]
mod convergence_tests;
pub mod document;
mod elsewhere;
mod offenders;
mod offload;
pub mod pointers;
mod roster;
mod store;
#[cfg(test)]
mod test_client;
mod text;
mod unsaved;
pub mod update_validation;

use axum::{Extension, Router, extract::State, response::Response, routing::any};
use serde::Deserialize;

use self::{
    boards::{Collab, TICK},
    connection::{BoardConnection, Gap, Membership},
};
use super::{
    DOCUMENT_RULE, FIRST_DOCUMENT, is_document_name,
    message::{BoardCloseCode, BoardSocket, BoardWelcome, FirstBoard},
};
use crate::{
    routes::{Feature, Routes, Web},
    session::server::{SocketSession, token::Session},
    ui::first_state::FirstState,
    web::server::{
        answer::{Path, Query},
        caller::Caller,
    },
};
use realtime::{
    close::CloseCode,
    contract::SocketContract,
    server::{SocketRequest, queue::encode, upgrade::Offer},
};

/// The maximum size of a binary message, in bytes.
const BINARY_BYTES: usize = 4 * 1024 * 1024;
/// The close reason where a document cannot be loaded.
const UNAVAILABLE: &str = "the document cannot be had now";

pub fn routes(web: Web, collab: Collab) -> Routes {
    let drain = web.realtime.drain().clone();
    let (first, boards, saved) = (collab.clone(), collab.clone(), collab.clone());
    let nodes = collab.clone();
    let live = Router::new().route(BoardSocket::ROUTE, any(socket));
    Routes::default()
        .live(live.with_state(web.with(collab)))
        .first_state(move |path| first_state(first.clone(), path.to_owned()))
        .background("boards", move || boards.clone().run(drain.clone()))
        .background("boards at other nodes", move || {
            nodes.clone().follow_nodes()
        })
        .last_write(async move { saved.save().await })
}

/// Reads the first state of a board's page. The returned function puts it into the context.
async fn first_state(collab: Collab, path: String) -> impl Fn() + Send + Sync + 'static {
    let name = document_of(&path).filter(|name| is_document_name(name));
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

/// The document named by a page's path. `/collab` is the first document.
fn document_of(path: &str) -> Option<&str> {
    match path.strip_prefix("/collab")? {
        "" | "/" => Some(FIRST_DOCUMENT),
        rest => rest.strip_prefix('/'),
    }
}

#[derive(Deserialize)]
struct SocketQuery {
    /// `1` makes the socket read-only.
    #[serde(default)]
    readonly: Option<String>,
}

async fn socket(
    State(Feature { web, own: collab }): State<Feature<Collab>>,
    Path(document): Path<String>,
    SocketSession(session): SocketSession,
    Extension(caller): Extension<Caller>,
    Query(query): Query<SocketQuery>,
    socket: SocketRequest<BoardSocket>,
) -> Response {
    let socket = socket.binary_bytes(BINARY_BYTES);
    socket.serve(async move |mut socket| {
        let ours = socket.offer() == Offer::Ours;
        if !is_document_name(&document) {
            let code = if ours {
                CloseCode::NotFound.code()
            } else {
                BoardCloseCode::YjsNotFound.code()
            };
            return socket.refuse(code, DOCUMENT_RULE);
        }
        let session: Session = match session {
            Ok(session) => session,
            // A Yjs client cannot sign in. Each gets a guest session of its own.
            Err(_) if !ours => web.sessions.guest(),
            Err(why) => return socket.refuse(CloseCode::Session, why.close_reason()),
        };
        let visit = match collab.visit(&document).await {
            Ok(visit) => visit,
            Err(error) => {
                tracing::error!(%error, document, "a document is unavailable");
                return socket.refuse(CloseCode::ServerError, UNAVAILABLE);
            }
        };
        if !ours {
            socket.send_binary_only();
        }
        let queue = socket.queue().clone();
        let user = session.user.clone();
        let membership = if ours {
            Membership::join(visit, user.clone(), queue.clone(), |you, peers| {
                encode(&socket.welcome_message(BoardWelcome {
                    user: user.clone(),
                    you,
                    peers,
                    tick_ms: TICK.as_millis() as u64,
                }))
            })
        } else {
            Membership::join_yjs(visit, queue.clone())
        };
        let handler = BoardConnection {
            membership,
            user,
            address: caller.address,
            queue: queue.clone(),
            limits: web.limits.clone(),
            offenders: collab.offenders(),
            ours,
            readonly: query.readonly.as_deref() == Some("1"),
            unanswered: None,
            gap: Gap::None,
        };
        if let Err(error) = handler.send_initial_state().await {
            tracing::error!(%error, document, "a document is unavailable");
            queue.close(CloseCode::ServerError, UNAVAILABLE);
        }
        let watch = web.sessions.watch(&session);
        let ended = async move {
            // A Yjs client shows no user names, and would treat the close as final.
            match ours {
                true => watch.ended_or_renamed().await,
                false => watch.ended().await,
            }
        };
        socket.run_until(handler, ended)
    })
}
