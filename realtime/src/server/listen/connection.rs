//! One connection: HTTP/1.1 or HTTP/2, for as long as its peer is worth waiting for.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::time::timeout;
use tower::ServiceExt;

use super::{
    handle::ConnectionHandle,
    patience::{Patience, Timer},
    stream::{Answer, Stream, Streams},
    wire::{Transport, Wire},
};
use crate::server::drain::Drain;

/// hyper's own buffer for each direction; it bounds a request's head too.
const HTTP_BUFFER: usize = 16 * 1024;
/// HTTP/2 connections are asked this often whether they live, and have this long to answer.
const H2_PING: Duration = Duration::from_secs(20);
const H2_PONG: Duration = Duration::from_secs(10);

/// Serves a connection to its end.
pub(super) async fn connection<T: Transport>(
    wire: Wire<T>,
    app: Router,
    patience: Patience,
    drain: Drain,
) {
    let shared = wire.connection().clone();
    let of_requests = shared.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        // Counted here, and not where the future runs: over HTTP/2 that is a task of its own.
        let (_active, app) = (of_requests.begin_request(), app.clone());
        let connection = of_requests.clone();
        async move {
            let stream = Stream::current();
            let mut request = request.map(Body::new);
            let handle = ConnectionHandle::new(connection, stream.clone());
            request.extensions_mut().insert(handle);
            let response = app.oneshot(request).await?;
            Ok::<_, Infallible>(response.map(|body| Answer {
                body,
                stream,
                _active,
            }))
        }
    });
    let builder = builder(patience, drain.clone());
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(wire), service));
    let mut draining = pin!(drain.started());
    let (mut leaving, mut timer) = (false, Timer::default());
    // `None`: the peer kept the server waiting for too long.
    let served = poll_fn(|context| {
        if !leaving && draining.as_mut().poll(context).is_ready() {
            leaving = true;
            serving.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(served) = serving.as_mut().poll(context) {
            return Poll::Ready(Some(served));
        }
        // Before the look at what goes on: what ends after the look wakes this task.
        shared.quiet.register(context.waker());
        match shared.deadline(&patience, leaving) {
            Some(deadline) => timer.poll_at(deadline, context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await;
    match served {
        Some(Ok(())) => return,
        Some(Err(error)) => {
            tracing::debug!(%error, peer = %shared.peer, "a connection ended early");
        }
        // A client of HTTP/2 is told first, so that it sends no request into a connection that closes.
        None if shared.is_http_2() => {
            serving.as_mut().graceful_shutdown();
            let _ = timeout(patience.leaving, serving.as_mut()).await;
        }
        None => {}
    }
    if shared.is_blocked() {
        // While the wire is there. Or the kernel keeps what is unsent for many minutes.
        shared.reset.cancel();
    }
}

fn builder(patience: Patience, drain: Drain) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { patience, drain });
    builder
        .http1()
        // hyper has one timer for an idle connection and for a head that has begun; `Activity::deadline` has two.
        .header_read_timeout(None)
        .max_buf_size(HTTP_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PONG)
        // hyper's own bound, 400 KiB a stream, would be as much old news for a reader who is slow.
        .max_send_buf_size(HTTP_BUFFER)
        .enable_connect_protocol();
    builder
}
