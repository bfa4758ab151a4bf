//! The server's end of a race: a route for each transport, open for one client of one heat.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
};

use axum::{
    Extension, Router,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
    routing::{any, get},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    api::{ApiError, answer::Path, origin::Caller},
    progress::{
        message::{RaceCommand, RaceEvent, RaceEvents, RaceSocket, RaceWelcome},
        result::Transport,
    },
    realtime::{
        contract::{SocketContract, StreamContract},
        message::SocketError,
        server::{
            Counted, Line,
            queue::OutQueue,
            socket::{self, SocketHandler},
            sse::EventStream,
            topic::{Delivery, Topic},
            upgrade,
        },
    },
    server::{AppState, no_upgrade, welcome},
};

/// The lanes that wait for their client. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Lanes(Arc<Mutex<HashMap<Uuid, End>>>);

/// What the route of a lane needs.
struct End {
    transport: Transport,
    /// Messages that an event stream holds for its client.
    ring: usize,
    opened: oneshot::Sender<Outlet>,
}

/// An open lane; it closes when dropped.
pub struct Lane {
    id: Uuid,
    lanes: Lanes,
}

/// Where a heat's messages go.
pub enum Outlet {
    Events(Topic<()>),
    Socket(OutQueue),
}

impl Lanes {
    /// Opens a lane under an id that nobody can guess. Its outlet comes with its client.
    pub fn open(&self, transport: Transport, ring: usize) -> (Lane, oneshot::Receiver<Outlet>) {
        let (opened, outlet) = oneshot::channel();
        let lane = Lane {
            id: Uuid::new_v4(),
            lanes: self.clone(),
        };
        let end = End {
            transport,
            ring,
            opened,
        };
        self.ends().insert(lane.id, end);
        (lane, outlet)
    }

    /// The lane's end, for its one client.
    fn take(&self, id: Uuid, transport: Transport) -> Result<End, ApiError> {
        let error = "There is no such lane. Lanes are for the race's own client, once.";
        let end = self.ends().remove(&id);
        let end = end.ok_or_else(|| ApiError::new(404, error))?;
        if end.transport == transport {
            Ok(end)
        } else {
            let other = end.transport.word();
            Err(ApiError::new(400, format!("This lane is for {other}.")))
        }
    }

    /// A std mutex: it is held for map operations only, and a panic leaves the map whole.
    fn ends(&self) -> MutexGuard<'_, HashMap<Uuid, End>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.ends().remove(&self.id);
    }
}

impl Outlet {
    pub fn send(&self, event: &RaceEvent) {
        match self {
            Self::Events(topic) => {
                topic.publish((), event);
            }
            Self::Socket(queue) => queue.push_json(event),
        }
    }
}

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(RaceEvents::ROUTE, get(events))
        .route(RaceSocket::ROUTE, any(race_socket))
}

async fn events(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    line: Line,
    Path(lane): Path<Uuid>,
) -> Result<Response, ApiError> {
    let place = state.limits.place(caller.address)?;
    let end = state.lanes.take(lane, Transport::Sse)?;
    let topic = Topic::new(Delivery::EveryEvent, end.ring);
    let stream = EventStream {
        reader: topic.read_from(0, Box::new(|()| true)),
        recovered: None,
        state: vec![],
        session_ended: None,
        line,
    };
    // The race may be over already.
    let _ = end.opened.send(Outlet::Events(topic.clone()));
    Ok(stream.respond(&topic, &state.realtime, "race", place))
}

async fn race_socket(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    line: Line,
    Path(lane): Path<Uuid>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(no_upgrade)?;
    let place = state.limits.place(caller.address)?;
    let end = state.lanes.take(lane, Transport::WebSocket)?;
    let drain = state.realtime.drain().clone();
    let serve = async move |socket, _offer| {
        let _place = place;
        let queue = OutQueue::default();
        queue.push_json(&welcome(&state, &line, 1, 0, RaceWelcome {}));
        // The race may be over already.
        let _ = end.opened.send(Outlet::Socket(queue.clone()));
        let reader = Reader {
            _counted: Counted::new(Arc::<AtomicUsize>::default(), "websocket", "race"),
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
    Ok(upgrade::accept::<RaceSocket, _>(
        upgrade, &headers, 0, &drain, serve,
    ))
}

/// The socket's handler: the client only reads.
struct Reader {
    _counted: Counted,
}

impl SocketHandler for Reader {
    type Contract = RaceSocket;

    async fn command(&mut self, command: RaceCommand) -> Result<(), SocketError> {
        match command {}
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        Ok(())
    }

    fn connections(&self) -> usize {
        1
    }
}
