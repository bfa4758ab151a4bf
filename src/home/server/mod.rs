//! Serves the live comparison over both transports, and the source files that the guide links to.

pub mod feed;
pub mod sources;

use axum::{
    Extension, Router,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use serde::Deserialize;
use uuid::Uuid;

use self::feed::{Feed, Listener};
use super::page::source::SOURCE_ROUTE;
use crate::inspector::counterpart::{
    CompareCommand, CompareEvents, CompareNote, CompareSocket, CompareWelcome,
};
use crate::{
    guard::limits::Limits,
    routes::{Feature, Routes, Web},
    session::server::SocketSession,
    web::{
        error::ApiError,
        server::{
            answer::{Path, Query, no_upgrade},
            caller::Caller,
        },
    },
};
use realtime::{
    close::CloseCode,
    contract::{SocketContract, StreamContract},
    message::SocketError,
    position::Position,
    server::{
        Connection,
        frame::frame_json,
        queue::OutQueue,
        socket::{self, SocketHandler},
        sse::{EventStream, ResumeFrom},
        topic::Opening,
        upgrade,
    },
};

pub fn routes(web: Web, compare: Feed) -> Routes {
    let drain = web.realtime.drain().clone();
    let running = compare.clone();
    let live = Router::new()
        .route(CompareEvents::ROUTE, get(events))
        .route(CompareSocket::ROUTE, any(compare_socket));
    Routes::default()
        .live(live.with_state(web.with(compare)))
        .plain(Router::new().route(SOURCE_ROUTE, get(source)))
        .background("comparison", move || running.clone().run(drain.clone()))
}

#[derive(Deserialize)]
struct EventsQuery {
    /// `1` requests a [`CompareNote`].
    note: Option<String>,
}

async fn events(
    State(Feature { web, own: compare }): State<Feature<Feed>>,
    Extension(caller): Extension<Caller>,
    // The stream is public. A user with a session may inspect and break their own stream.
    _session: SocketSession,
    connection: Connection,
    Query(query): Query<EventsQuery>,
    ResumeFrom(after): ResumeFrom,
) -> Result<Response, ApiError> {
    let permit = web.limits.permit(caller.address)?;
    let after = after.filter(|_| !connection.has_expired());
    let topic = compare.topic();
    let (reader, recovered, opening) = match topic.resume(after.as_ref(), |()| true) {
        Opening::Recovered { reader, replayed } => (reader, Some(replayed), None),
        // Each pulse stands for itself, so there is no state to send first.
        Opening::Fresh(filter) => {
            let head = topic.head();
            let reader = topic.read_from(head.offset, filter);
            let noted = query.note.as_deref() == Some("1");
            (reader, None, noted.then(|| note(&head)))
        }
    };
    let stream = EventStream {
        reader,
        recovered,
        state: opening.into_iter().collect(),
        session_ended: None,
        connection,
    };
    let response = stream.respond(topic, &web.realtime, "compare", permit);
    // The stream counts as a listener only from here on.
    compare.wake();
    Ok(response)
}

/// An event with two `data` lines.
fn note(position: &Position) -> Bytes {
    let note = CompareNote::Note {
        text: "This JSON was sent on two lines, each in a data field of its own. A client joins them with a line feed: \
               one event, one text (WHATWG HTML, section 9.2.6)."
            .into(),
    };
    // A type of strings always encodes. White space between two members has no meaning in JSON.
    let json = serde_json::to_string(&note).unwrap_or_default();
    frame_json(Some(position), &json.replacen(',', ",\n", 1))
}

async fn compare_socket(
    State(Feature { web, own: compare }): State<Feature<Feed>>,
    Extension(caller): Extension<Caller>,
    _session: SocketSession,
    connection: Connection,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(no_upgrade)?;
    let drain = web.realtime.drain().clone();
    let serve = async move |socket, _offer| {
        let Ok(_permit) = web.limits.permit(caller.address) else {
            let reason = "too many open sockets from this address";
            socket::refuse(socket, CloseCode::RateLimitIgnored, reason).await;
            return;
        };
        let queue = OutQueue::default();
        let greet = |count| web.welcome(&connection, count, 0, CompareWelcome {});
        let reader = Reader {
            listener: compare.listen(queue.clone(), greet),
            limits: web.limits.clone(),
            id: Uuid::new_v4(),
        };
        socket::run(
            socket,
            queue,
            reader,
            &web.realtime,
            &connection,
            std::future::pending(),
        )
        .await;
    };
    Ok(upgrade::accept::<CompareSocket, _>(
        upgrade, &headers, 0, &drain, serve,
    ))
}

/// The socket's handler: the client only reads.
struct Reader {
    listener: Listener,
    limits: Limits,
    /// There is no user here, so each socket is limited for itself.
    id: Uuid,
}

impl SocketHandler for Reader {
    type Contract = CompareSocket;

    async fn command(&mut self, command: CompareCommand) -> Result<(), SocketError> {
        match command {}
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.limits.message(self.id)
    }

    fn connections(&self) -> usize {
        self.listener.count()
    }
}

/// A source file that the guide links to, as it was when this server was built.
async fn source(Path(path): Path<String>) -> Response {
    match sources::text(&path) {
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        None => {
            let words = "There is no such source file here. Only those that the guide links to are shown.\n";
            (StatusCode::NOT_FOUND, words).into_response()
        }
    }
}
