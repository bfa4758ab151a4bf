//! The routes of a race, one for each transport.

use std::sync::{Arc, atomic::AtomicUsize};

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
use realtime::{
    contract::{SocketContract, StreamContract},
    message::SocketError,
    server::{
        Connection, Counted,
        queue::OutQueue,
        socket::{self, SocketHandler},
        sse::EventStream,
        topic::{Delivery, Topic},
        upgrade,
    },
    transport::Transport,
};
use uuid::Uuid;

use super::channel::Outlet;
use crate::{
    progress::{
        message::{RaceCommand, RaceEvents, RaceSocket, RaceWelcome},
        server::state::Progress,
    },
    routes::Feature,
    web::{
        error::ApiError,
        server::{
            answer::{Path, no_upgrade},
            caller::Caller,
        },
    },
};

pub fn routes() -> Router<Feature<Progress>> {
    Router::new()
        .route(RaceEvents::ROUTE, get(events))
        .route(RaceSocket::ROUTE, any(race_socket))
}

async fn events(
    State(Feature { web, own: progress }): State<Feature<Progress>>,
    Extension(caller): Extension<Caller>,
    connection: Connection,
    Path(channel): Path<Uuid>,
) -> Result<Response, ApiError> {
    let permit = web.limits.permit(caller.address)?;
    let end = progress.channels.take(channel, Transport::Sse)?;
    let topic = Topic::new(Delivery::EveryEvent, end.history);
    let stream = EventStream {
        reader: topic.read_from(0, Box::new(|()| true)),
        recovered: None,
        state: vec![],
        session_ended: None,
        connection,
    };
    // The race may be over already.
    let _ = end.opened.send(Outlet::Events(topic.clone()));
    Ok(stream.respond(&topic, &web.realtime, "race", permit))
}

async fn race_socket(
    State(Feature { web, own: progress }): State<Feature<Progress>>,
    Extension(caller): Extension<Caller>,
    connection: Connection,
    Path(channel): Path<Uuid>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(no_upgrade)?;
    let permit = web.limits.permit(caller.address)?;
    let end = progress.channels.take(channel, Transport::WebSocket)?;
    let drain = web.realtime.drain().clone();
    let serve = async move |socket, _offer| {
        let _permit = permit;
        let queue = OutQueue::default();
        queue.push_json(&web.welcome(&connection, 1, 0, RaceWelcome {}));
        // The race may be over already.
        let _ = end.opened.send(Outlet::Socket(queue.clone()));
        let reader = Reader {
            _counted: Counted::new(Arc::<AtomicUsize>::default(), "websocket", "race"),
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
