//! The routes of a race, one for each transport.

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{any, get},
};
use realtime::{
    contract::{SocketContract, StreamContract},
    server::{Delivery, SocketRequest, StreamRequest, Topic, socket::ReadOnly},
    transport::Transport,
};
use uuid::Uuid;

use super::channel::Outlet;
use crate::{
    progress::{
        message::{RaceEvents, RaceSocket, RaceWelcome},
        server::state::Progress,
    },
    routes::Feature,
    web::{error::ApiError, server::answer::Path},
};

pub fn routes() -> Router<Feature<Progress>> {
    Router::new()
        .route(RaceEvents::ROUTE, get(events))
        .route(RaceSocket::ROUTE, any(race_socket))
}

async fn events(
    State(Feature { own: progress, .. }): State<Feature<Progress>>,
    Path(channel): Path<Uuid>,
    stream: StreamRequest<RaceEvents>,
) -> Result<Response, ApiError> {
    let end = progress.channels.take(channel, Transport::Sse)?;
    let topic = Topic::new((), Delivery::EveryEvent, end.history);
    let response = stream.respond(&topic, |()| vec![]);
    // The race may be over already.
    let _ = end.opened.send(Outlet::Events(topic));
    Ok(response)
}

async fn race_socket(
    State(Feature { own: progress, .. }): State<Feature<Progress>>,
    Path(channel): Path<Uuid>,
    socket: SocketRequest<RaceSocket>,
) -> Result<Response, ApiError> {
    let end = progress.channels.take(channel, Transport::WebSocket)?;
    Ok(socket.serve(async move |socket| {
        socket.welcome(RaceWelcome {});
        // The race may be over already.
        let _ = end.opened.send(Outlet::Socket(socket.queue().clone()));
        socket.run(ReadOnly::default())
    }))
}
