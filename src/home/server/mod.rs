//! Serves the live comparison over both transports, and the source files that the guide links to.

pub mod feed;
pub mod sources;
pub mod texts;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use self::{
    feed::{Feed, Listener},
    texts::source::SOURCE_ROUTE,
};
use crate::inspector::counterpart::{
    CompareCommand, CompareEvents, CompareNote, CompareSocket, CompareWelcome,
};
use crate::{
    guard::limits::Limits,
    routes::{Feature, Routes, Web},
    session::server::SocketSession,
    web::server::answer::{Path, Query},
};
use realtime::{
    contract::{SocketContract, StreamContract},
    message::SocketError,
    server::{Selection, SocketRequest, StreamRequest, socket::SocketHandler},
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
        .context(texts::provide)
        .background("comparison", move || running.clone().run(drain.clone()))
}

#[derive(Deserialize)]
struct EventsQuery {
    /// `1` requests a [`CompareNote`].
    note: Option<String>,
}

async fn events(
    State(Feature { own: compare, .. }): State<Feature<Feed>>,
    // The stream is public. A user with a session may inspect and break their own stream.
    _session: SocketSession,
    Query(query): Query<EventsQuery>,
    stream: StreamRequest<CompareEvents>,
) -> Response {
    let noted = query.note.as_deref() == Some("1");
    compare.reach(stream.after()).await;
    // Each pulse stands for itself, so there is no state to send first.
    let opening = |(): &(), _: &dyn Fn(&()) -> bool| Vec::from_iter(noted.then(note));
    let response = stream.respond_with(compare.topic(), Selection::all(), opening);
    // The stream counts as a listener only from here on.
    compare.wake();
    response
}

/// An event with two `data` lines.
fn note() -> Box<RawValue> {
    let note = CompareNote::Note {
        text: "This JSON was sent on two lines, each in a data field of its own. A client joins them with a line feed: \
               one event, one text (WHATWG HTML, section 9.2.6)."
            .into(),
    };
    // A type of strings always encodes. White space between two members has no meaning in JSON.
    let json = serde_json::to_string(&note).unwrap_or_default();
    RawValue::from_string(json.replacen(',', ",\n", 1)).unwrap_or_default()
}

async fn compare_socket(
    State(Feature { web, own: compare }): State<Feature<Feed>>,
    _session: SocketSession,
    socket: SocketRequest<CompareSocket>,
) -> Response {
    socket.serve(async move |socket| {
        socket.welcome(CompareWelcome {});
        let reader = Reader {
            _listener: compare.listen(socket.queue().clone()),
            limits: web.limits,
            id: Uuid::new_v4(),
        };
        socket.run(reader)
    })
}

/// The socket's handler: the client only reads.
struct Reader {
    _listener: Listener,
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
