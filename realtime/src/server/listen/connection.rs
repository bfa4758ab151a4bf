//! Serves one connection over HTTP/1.1 or HTTP/2, with TLS or without, and ends it when its peer is idle for too long.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{
    body::{Body as _, Incoming},
    rt::{Read, Write},
    server::conn::{http1, http2},
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::io::InspectReader;
use tower::ServiceExt;

use super::{
    activity::Activity,
    direct::{Asked, Direct, Slot},
    handle::ConnectionHandle,
    patience::{Patience, Timer},
    read_ahead::ReadAhead,
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
    // In a box, because the future of each function that it is passed to has room for it.
    serve(Box::new(wire), activity, app, patience, drain).await;
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
            serve(Box::new(stream), activity, app, patience, drain).await;
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
    let mut bytes = ReadAhead::new(bytes);
    let mut watch = Watch {
        activity: &activity,
        patience,
        drain_started: pin!(drain.started()),
        is_draining: false,
        timer: Timer::default(),
    };
    let served = match watch.version(&mut bytes).await {
        // In a box, so that connections of HTTP/1.1 take no memory for it.
        Ok(Some(Version::Http2)) => Box::pin(http_2(bytes, app, &mut watch, &drain)).await,
        Ok(Some(Version::Http1)) => http_1(bytes, app, &mut watch).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = served {
        tracing::debug!(%error, peer = %activity.peer, "a connection ended early");
    }
}

/// Why serving a connection ended early.
type Failure = Box<dyn Error + Send + Sync>;

async fn http_1<S, D>(
    mut bytes: ReadAhead<S>,
    app: Router,
    watch: &mut Watch<'_, D>,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: Future<Output = ()>,
{
    let mut builder = http1::Builder::new();
    builder
        // hyper has a single timer for an idle connection and for an incomplete head; `Activity::deadline` has two.
        .header_read_timeout(None)
        .max_buf_size(HTTP_BUFFER);
    loop {
        let slot = Slot::default();
        let service = service(watch.activity.clone(), app.clone(), Some(slot.clone()));
        let serving = builder.serve_connection(TokioIo::new(bytes), service);
        // What hyper keeps is freed at the end of this block, before a stream is sent without it.
        let direct = {
            let mut serving = Box::new(serving.with_upgrades());
            let direct = match watch.serve(Pin::new(&mut *serving), Some(&slot)).await {
                Served::Ended(ended) => return Ok(ended?),
                Served::Idle => return Ok(()),
                Served::Direct(direct) => direct,
            };
            let Some(parts) = serving.into_parts() else {
                return Ok(());
            };
            bytes = parts.io.into_inner();
            // A copy, because the rest of hyper's buffer would keep all of it.
            bytes.put_back(&parts.read_buf);
            direct
        };
        let is_plain = !watch.activity.is_encrypted.load(Ordering::Relaxed);
        let may_follow;
        (bytes, may_follow) = direct.send(bytes, !watch.is_draining, is_plain).await?;
        if !may_follow {
            return Ok(bytes.shutdown().await?);
        }
    }
}

async fn http_2<S, D>(
    bytes: ReadAhead<S>,
    app: Router,
    watch: &mut Watch<'_, D>,
    drain: &Drain,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: Future<Output = ()>,
{
    let patience = watch.patience;
    let streams = Streams {
        patience,
        drain: drain.clone(),
    };
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PONG)
        // hyper's default of 400 KiB for each stream would give a slow reader that many bytes of outdated events.
        .max_send_buf_size(HTTP_BUFFER)
        .enable_connect_protocol();
    let service = service(watch.activity.clone(), app, None);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(bytes), service));
    match watch.serve(serving.as_mut(), None).await {
        Served::Ended(ended) => Ok(ended?),
        // The client gets a GOAWAY first, so that it sends no request on a connection that is about to close.
        Served::Idle | Served::Direct(_) => {
            serving.as_mut().graceful_shutdown();
            let _ = timeout(patience.draining, serving).await;
            Ok(())
        }
    }
}

/// Answers the requests of a connection. `slot`: where answers are left that hyper does not send.
fn service(
    activity: Arc<Activity>,
    app: Router,
    slot: Option<Slot>,
) -> impl HttpService<Incoming, ResBody = Answer, Error = Infallible, Future: Send + 'static> + Unpin
{
    service_fn(move |request: Request<Incoming>| {
        // Counted here and not inside the future, which over HTTP/2 runs in a task of its own.
        let has_body = !request.body().is_end_stream();
        let (_active, app) = (activity.begin_request(has_body), app.clone());
        let (connection, slot) = (activity.clone(), slot.clone());
        let asked = Asked::of(&request, has_body);
        async move {
            let stream = Stream::current();
            let mut request = request.map(Body::new);
            let handle = ConnectionHandle::new(connection, stream.clone());
            request.extensions_mut().insert(handle);
            let response = app.oneshot(request).await?;
            let response = response.map(|body| Answer {
                body,
                stream,
                _active,
            });
            let (Some(slot), Some(asked)) = (slot, asked) else {
                return Ok(response);
            };
            match slot.leave(response, asked) {
                Some(response) => Ok(response),
                // The task of the connection takes it, and drops this future.
                None => pending().await,
            }
        }
    })
}

/// Watches a connection that is served: for the drain, and for a peer that is idle for too long.
struct Watch<'a, D> {
    activity: &'a Arc<Activity>,
    patience: Patience,
    drain_started: Pin<&'a mut D>,
    is_draining: bool,
    timer: Timer,
}

enum Version {
    Http1,
    Http2,
}

/// What became of a connection that hyper served.
enum Served {
    Ended(hyper::Result<()>),
    /// Its peer was idle for too long.
    Idle,
    /// A response is to be sent without hyper.
    Direct(Direct),
}

/// What shares the activity, such as an open socket, would keep the memory of the connection's task through its waker.
impl<D> Drop for Watch<'_, D> {
    fn drop(&mut self) {
        self.activity.quiet.take();
    }
}

/// A connection that hyper serves.
trait Serving: Future<Output = hyper::Result<()>> {
    fn begin_shutdown(self: Pin<&mut Self>);
}

impl<D: Future<Output = ()>> Watch<'_, D> {
    /// Reads ahead until the version of HTTP is known; `None` if the connection ends before that.
    async fn version<S>(&mut self, bytes: &mut ReadAhead<S>) -> io::Result<Option<Version>>
    where
        S: AsyncRead + Unpin,
    {
        poll_fn(|context| {
            if self.poll_drain(context).is_ready() {
                return Poll::Ready(Ok(None));
            }
            while let Poll::Ready(read) = bytes.poll_ahead(context) {
                let is_over = read? == 0;
                match self.activity.speaks_http_2() {
                    Some(true) => return Poll::Ready(Ok(Some(Version::Http2))),
                    Some(false) => return Poll::Ready(Ok(Some(Version::Http1))),
                    None if is_over => return Poll::Ready(Ok(None)),
                    None => {}
                }
            }
            self.poll_idle(context).map(|()| Ok(None))
        })
        .await
    }

    async fn serve(&mut self, mut serving: Pin<&mut impl Serving>, slot: Option<&Slot>) -> Served {
        let mut is_told = false;
        poll_fn(|context| {
            if !is_told && self.poll_drain(context).is_ready() {
                is_told = true;
                serving.as_mut().begin_shutdown();
            }
            if let Poll::Ready(ended) = serving.as_mut().poll(context) {
                return Poll::Ready(Served::Ended(ended));
            }
            // hyper flushes after it has called the service. What it could not flush, because the peer does not read, is still
            // of the last response, and would be lost with hyper's buffer.
            if !self.activity.is_blocked()
                && let Some(direct) = slot.and_then(Slot::take)
            {
                return Poll::Ready(Served::Direct(direct));
            }
            self.poll_idle(context).map(|()| Served::Idle)
        })
        .await
    }

    /// Ready once the drain has started.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_draining {
            ready!(self.drain_started.as_mut().poll(context));
            self.is_draining = true;
        }
        Poll::Ready(())
    }

    /// Ready once the peer was idle for too long.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Registered before the deadline is read: a request that ends after that wakes this task.
        self.activity.quiet.register(context.waker());
        match self.activity.deadline(&self.patience, self.is_draining) {
            Some(deadline) => self.timer.poll_at(deadline, context),
            None => Poll::Pending,
        }
    }
}

impl<I, S> Serving for http1::UpgradeableConnection<I, S>
where
    I: Read + Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = Answer, Error = Infallible>,
{
    fn begin_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Serving for http2::Connection<I, S, Streams>
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = Answer, Error = Infallible, Future: Send + 'static>,
{
    fn begin_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
