//! Serves the live comparison over both transports, and the source files that the guide links to.

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

use super::{
    feed::Listener,
    message::{CompareCommand, CompareEvents, CompareNote, CompareSocket, CompareWelcome},
    source::SOURCE_ROUTE,
    sources,
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
        contract::{SocketContract, StreamContract},
        message::SocketError,
        position::Position,
        server::{
            Line,
            queue::OutQueue,
            socket::{self, SocketHandler},
            sse::{EventStream, ResumeFrom, frame_json},
            topic::Opening,
            upgrade,
        },
    },
    server::{AppState, no_upgrade, welcome},
    session::server::SocketSession,
};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(CompareEvents::ROUTE, get(events))
        .route(CompareSocket::ROUTE, any(compare_socket))
        .route(SOURCE_ROUTE, get(source))
}

#[derive(Deserialize)]
struct Asked {
    /// `1` asks for a [`CompareNote`].
    note: Option<String>,
}

async fn events(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    // Open to all; but whoever has a session may look at their own stream, and break it.
    _session: SocketSession,
    line: Line,
    Query(asked): Query<Asked>,
    ResumeFrom(after): ResumeFrom,
) -> Result<Response, ApiError> {
    let place = state.limits.place(caller.address)?;
    let after = after.filter(|_| !line.has_expired());
    let topic = state.compare.topic();
    let (reader, recovered, opening) = match topic.resume(after.as_ref(), |()| true) {
        Opening::Recovered { reader, replayed } => (reader, Some(replayed), None),
        // Each pulse stands for itself: there is no state to begin with.
        Opening::Fresh(filter) => {
            let head = topic.head();
            let reader = topic.read_from(head.offset, filter);
            let noted = asked.note.as_deref() == Some("1");
            (reader, None, noted.then(|| note(&head)))
        }
    };
    let stream = EventStream {
        reader,
        recovered,
        state: opening.into_iter().collect(),
        session_ended: None,
        line,
    };
    let response = stream.respond(topic, &state.realtime, "compare", place);
    // Only now it counts as a listener.
    state.compare.wake();
    Ok(response)
}

/// An event with two `data` lines.
fn note(position: &Position) -> Bytes {
    let note = CompareNote::Note {
        text: "This JSON was sent on two lines, each in a data field of its own. A client joins them with a line feed: \
               one event, one text (WHATWG HTML, section 9.2.6)."
            .into(),
    };
    // A type of strings always encodes. White space between two members means nothing to JSON.
    let json = serde_json::to_string(&note).unwrap_or_default();
    frame_json(Some(position), &json.replacen(',', ",\n", 1))
}

async fn compare_socket(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    _session: SocketSession,
    line: Line,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(no_upgrade)?;
    let drain = state.realtime.drain().clone();
    let serve = async move |socket, _offer| {
        let Ok(_place) = state.limits.place(caller.address) else {
            let reason = "too many open sockets from this address";
            socket::refuse(socket, CloseCode::RateLimitIgnored, reason).await;
            return;
        };
        let queue = OutQueue::default();
        let greet = |count| welcome(&state, &line, count, 0, CompareWelcome {});
        let reader = Reader {
            listener: state.compare.listen(queue.clone(), greet),
            limits: state.limits.clone(),
            id: Uuid::new_v4(),
        };
        socket::run(
            socket,
            queue,
            reader,
            &state.realtime,
            &line,
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
    /// Nobody is signed in here: a socket is limited for itself.
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
