//! The accept loop. `axum::serve` sets no timer (so that hyper's header timeout does nothing), no cap and no socket
//! options; this does, and gives every request a handle to its own connection.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::ServiceExt;

use super::Drain;

/// A request's head must be there this long after its connection (or the one before) began: a slow-loris gets no longer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What the kernel may hold of unsent bytes. A reader that stops otherwise costs megabytes of kernel memory on loopback,
/// and reads all of that old news first when it wakes.
const NOT_SENT_LOW_WATER: u32 = 16 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// hyper's own buffer for each direction; it bounds a request's head too.
const HTTP_BUFFER: usize = 16 * 1024;
/// HTTP/2 connections are asked this often whether they live, and have this long to answer.
const H2_PING: Duration = Duration::from_secs(20);
const H2_PONG: Duration = Duration::from_secs(10);

/// The connection behind a request; in the request's extensions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    peer: SocketAddr,
    reset: CancellationToken,
    /// Set once the head of a first request is read.
    served: AtomicBool,
    read: AtomicU64,
    written: AtomicU64,
}

impl ConnectionHandle {
    fn new(peer: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            peer,
            reset: CancellationToken::new(),
            served: AtomicBool::new(false),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }))
    }

    /// The other end of the TCP connection; behind a proxy that is the proxy.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Resets the TCP connection: what is unsent is dropped, the peer sees an error at once. All requests on it end.
    pub fn reset(&self) {
        self.0.reset.cancel();
    }

    /// Bytes read from and written to the TCP connection so far, heads and framing included.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.0.read.load(Ordering::Relaxed),
            self.0.written.load(Ordering::Relaxed),
        )
    }
}

/// Serves `app` until `drain` starts; then the listener closes at once, and open connections end by themselves as their
/// requests do. Every connection is a task of `drain`.
pub async fn serve(listener: TcpListener, app: Router, max_connections: usize, drain: Drain) {
    // Once, here: a router without its state would build its route table anew for every connection.
    let app = app.with_state(());
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        match accepted {
            Ok((tcp, peer)) => match places.clone().try_acquire_owned() {
                Ok(place) => drain.spawn(connection(tcp, peer, place, app.clone(), drain.clone())),
                Err(_) => {
                    metrics::counter!("wirewise_connections_refused").increment(1);
                    tokio::spawn(refuse(tcp));
                }
            },
            Err(error) => {
                // Out of file descriptors, most likely: accepting again at once would spin.
                tracing::warn!(%error, "accepting a connection failed");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    tcp: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    app: Router,
    drain: Drain,
) {
    if let Err(error) = set_options(&tcp) {
        tracing::debug!(%error, %peer, "socket options were refused");
    }
    let handle = ConnectionHandle::new(peer);
    let wire = Wire::new(tcp, handle.clone(), place);
    let service = service_fn({
        let handle = handle.clone();
        move |mut request: Request<Incoming>| {
            handle.0.served.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(handle.clone());
            app.clone().oneshot(request.map(Body::new))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HTTP_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PONG)
        // hyper's own bound, 400 KiB a stream, would be as much old news for a reader who is slow.
        .max_send_buf_size(HTTP_BUFFER)
        .enable_connect_protocol();
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(wire), service);
    // The builder finds out the protocol version without any timer: a peer that says nothing, or half an HTTP/2
    // preface, would stay for ever.
    let first_head = sleep(HEAD_TIMEOUT);
    tokio::pin!(serving, first_head);
    let (mut awaits_head, mut leaving) = (true, false);
    loop {
        tokio::select! {
            served = &mut serving => {
                if let Err(error) = served {
                    tracing::debug!(%error, %peer, "a connection ended early");
                }
                return;
            }
            () = &mut first_head, if awaits_head => {
                awaits_head = false;
                if !handle.0.served.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = drain.started(), if !leaving => {
                leaving = true;
                // A connection without a request yet would otherwise wait for one.
                if !handle.0.served.load(Ordering::Relaxed) {
                    return;
                }
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

fn set_options(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER)?;
    Ok(())
}

/// Says in words why there is no place. Best effort: the peer may be gone, and is given a second.
async fn refuse(mut tcp: TcpStream) {
    const BODY: &str = r#"{"error":"The server holds as many connections as it may. Try again in a few seconds."}"#;
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 5\r\n\
         connection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let _ = timeout(Duration::from_secs(1), async {
        tcp.write_all(answer.as_bytes()).await?;
        tcp.shutdown().await
    })
    .await;
}

/// The TCP stream with its handle: counts bytes, breaks on a reset, holds the connection's place under the cap (also as an
/// upgraded socket, long after hyper let go of it).
struct Wire {
    tcp: TcpStream,
    handle: ConnectionHandle,
    reset: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl Wire {
    fn new(tcp: TcpStream, handle: ConnectionHandle, place: OwnedSemaphorePermit) -> Self {
        let reset = Box::pin(handle.0.reset.clone().cancelled_owned());
        Self {
            tcp,
            handle,
            reset,
            _place: place,
        }
    }

    /// Also registers for the wake-up, so that a connection that waits for its peer notices.
    fn check_reset(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.reset.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.handle.0.reset.is_cancelled() {
            // Zero linger turns the close into a reset.
            let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_reset(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.tcp).poll_read(context, buffer);
        this.handle
            .0
            .read
            .fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_reset(context)?;
        let polled = Pin::new(&mut this.tcp).poll_write(context, bytes);
        this.handle.count_written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_reset(context)?;
        let polled = Pin::new(&mut this.tcp).poll_write_vectored(context, bytes);
        this.handle.count_written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}

impl ConnectionHandle {
    fn count_written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = polled {
            self.0.written.fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }
}
