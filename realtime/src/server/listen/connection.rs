//! Serves one connection over HTTP/1.1 or HTTP/2, with TLS or without, and ends it when its peer is idle for too long.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::io::InspectReader;
use tower::ServiceExt;

use super::{
    activity::Activity,
    handle::ConnectionHandle,
    patience::{Patience, Timer},
    refuse::{NOT_TLS, refuse},
    stream::{Answer, Stream, Streams},
    tls::Tls,
    wire::{Transport, Wire},
};
use crate::server::drain::Drain;

/// hyper's own buffer for each direction, in bytes; it bounds a request's head too.
const HTTP_BUFFER: usize = 16 * 1024;
/// Interval of the pings on an HTTP/2 connection, and how long the peer has to answer one.
const H2_PING: Duration = Duration::from_secs(20);
const H2_PONG: Duration = Duration::from_secs(10);

/// Begins every TLS connection: the content type of a handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Serves a connection without TLS to its end.
pub(super) async fn connection<T: Transport>(
    wire: Wire<T>,
    app: Router,
    patience: Patience,
    drain: Drain,
) {
    let activity = wire.connection().clone();
    serve(wire, activity, app, patience, drain).await;
}

/// Makes the TLS handshake and serves the connection to its end. The handshake has the time of a request's head. While
/// the server drains there is none.
pub(super) async fn tls_connection<T: Transport>(
    wire: Wire<T>,
    tls: Tls,
    app: Router,
    patience: Patience,
    drain: Drain,
) {
    let activity = wire.connection().clone();
    let accepting = timeout(patience.head, accept(wire, &tls));
    let accepted = tokio::select! {
        accepted = accepting => accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        () = drain.started() => return,
    };
    match accepted {
        Ok(Some(stream)) => {
            activity.is_encrypted.store(true, Ordering::Relaxed);
            serve(stream, activity, app, patience, drain).await;
        }
        Ok(None) => {}
        Err(error) => {
            tracing::debug!(%error, peer = %activity.peer, "a TLS handshake failed");
        }
    }
}

/// `None` for a client that spoke HTTP without TLS, which was told so, and for one that sent nothing.
async fn accept<T: Transport>(wire: Wire<T>, tls: &Tls) -> io::Result<Option<TlsStream<Wire<T>>>> {
    match wire.transport().peek().await? {
        Some(HANDSHAKE) => tls.accept(wire).await.map(Some),
        Some(_) => refuse(wire, NOT_TLS).await.map(|()| None),
        None => Ok(None),
    }
}

/// Serves the bytes of HTTP, whether TLS is below them or not.
async fn serve<S>(bytes: S, activity: Arc<Activity>, app: Router, patience: Patience, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Above TLS, because it finds the beginnings of requests.
    let reading = activity.clone();
    let bytes = InspectReader::new(bytes, move |read: &[u8]| reading.has_read(read));
    let for_requests = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        // Counted here and not inside the future, which over HTTP/2 runs in a task of its own.
        let has_body = !request.body().is_end_stream();
        let (_active, app) = (for_requests.begin_request(has_body), app.clone());
        let connection = for_requests.clone();
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
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(bytes), service));
    let mut drain_started = pin!(drain.started());
    let (mut draining, mut timer) = (false, Timer::default());
    // `None`: the connection was idle for too long.
    let served = poll_fn(|context| {
        if !draining && drain_started.as_mut().poll(context).is_ready() {
            draining = true;
            serving.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(served) = serving.as_mut().poll(context) {
            return Poll::Ready(Some(served));
        }
        // Registered before the deadline is read: a request that ends after that wakes this task.
        activity.quiet.register(context.waker());
        match activity.deadline(&patience, draining) {
            Some(deadline) => timer.poll_at(deadline, context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await;
    match served {
        Some(Ok(())) => return,
        Some(Err(error)) => {
            tracing::debug!(%error, peer = %activity.peer, "a connection ended early");
        }
        // An HTTP/2 client gets a GOAWAY first, so that it sends no request on a connection that is about to close.
        None if activity.is_http_2() => {
            serving.as_mut().graceful_shutdown();
            let _ = timeout(patience.draining, serving.as_mut()).await;
        }
        None => {}
    }
    if activity.is_blocked() {
        // Reset while the transport still exists. Otherwise the kernel keeps the unsent bytes for many minutes.
        activity.reset.ask();
    }
}

fn builder(patience: Patience, drain: Drain) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { patience, drain });
    builder
        .http1()
        // hyper has a single timer for an idle connection and for an incomplete head; `Activity::deadline` has two.
        .header_read_timeout(None)
        .max_buf_size(HTTP_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PONG)
        // hyper's default of 400 KiB for each stream would give a slow reader that many bytes of outdated events.
        .max_send_buf_size(HTTP_BUFFER)
        .enable_connect_protocol();
    builder
}
