//! Wraps the transport of a connection, below TLS: counts its bytes, and resets it when asked to or when the peer reads
//! nothing.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::task::AtomicWaker;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    sync::OwnedSemaphorePermit,
    time::Instant,
};

use super::{
    activity::Activity,
    patience::{Patience, Timer},
};
use crate::server::{drain::Drain, metric};

/// What a connection runs over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Waits for the first byte and leaves it to be read; `None` at the end of the connection.
    fn peek(&self) -> impl Future<Output = io::Result<Option<u8>>> + Send;

    /// Turns the coming close into a reset: unsent bytes are dropped, and the peer sees an error.
    fn end_with_reset(&self);
}

impl Transport for TcpStream {
    async fn peek(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let read = TcpStream::peek(self, &mut first).await?;
        Ok((read > 0).then_some(first[0]))
    }

    fn end_with_reset(&self) {
        // Zero linger turns the close into a reset.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// The wrapper. It holds the connection's permit, also for an upgraded socket, long after hyper has released it.
pub(super) struct Wire<T: Transport> {
    transport: T,
    connection: Arc<Activity>,
    /// Since when bytes are pending and the peer reads none.
    blocked: Option<Instant>,
    /// Whether the server drained when a write was blocked last.
    was_draining: bool,
    timer: Timer,
    /// The runtime of the connection. The timer belongs to it, whichever runtime the task that writes belongs to.
    runtime: Handle,
    patience: Patience,
    drain: Drain,
    _permit: OwnedSemaphorePermit,
}

impl<T: Transport> Wire<T> {
    pub fn new(
        transport: T,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        patience: Patience,
        drain: Drain,
    ) -> Self {
        let connection = Activity::new(peer);
        Self {
            transport,
            connection,
            blocked: None,
            was_draining: false,
            timer: Timer::default(),
            runtime: Handle::current(),
            patience,
            drain,
            _permit: permit,
        }
    }

    pub fn connection(&self) -> &Arc<Activity> {
        &self.connection
    }

    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Fails once the connection was reset.
    fn check_reset(&self) -> io::Result<()> {
        match self.connection.reset.is_asked() {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    /// Makes a pending read or write notice the reset.
    fn await_reset<N>(
        &self,
        polled: Poll<io::Result<N>>,
        waker: &AtomicWaker,
        context: &Context<'_>,
    ) -> Poll<io::Result<N>> {
        if polled.is_pending() {
            waker.register(context.waker());
            // It may have been asked for before the waker was registered.
            self.check_reset()?;
        }
        polled
    }

    /// Records the outcome of a write. A blocked write is woken, and fails, when the peer has read nothing for too
    /// long.
    fn record_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.connection.has_written(bytes);
                self.blocked = None;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.connection.set_blocked();
                let is_draining = self.drain.is_draining();
                if is_draining && !self.was_draining {
                    // The shorter time begins now, whenever the peer stopped reading.
                    self.blocked = None;
                }
                self.was_draining = is_draining;
                let since = *self.blocked.get_or_insert_with(Instant::now);
                let until = since + self.patience.stall(is_draining);
                let _entered = self.runtime.enter();
                if self.timer.poll_at(until, context).is_ready() {
                    metric::counter("stalled_readers").increment(1);
                    tracing::debug!(peer = %self.connection.peer, "the peer reads nothing; its connection is reset");
                    self.connection.reset.ask();
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        written
    }
}

impl<T: Transport> Drop for Wire<T> {
    fn drop(&mut self) {
        // Where a write is blocked, the kernel would keep the unsent bytes for many minutes.
        if self.connection.reset.is_asked() || self.connection.is_blocked() {
            self.transport.end_with_reset();
        }
    }
}

impl<T: Transport> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_reset()?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.transport).poll_read(context, buffer);
        this.connection.count_read(buffer.filled().len() - before);
        this.await_reset(polled, &this.connection.reset.reading, context)
    }
}

impl<T: Transport> AsyncWrite for Wire<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_reset()?;
        let written = Pin::new(&mut this.transport).poll_write(context, bytes);
        let written = this.record_write(written, context);
        this.await_reset(written, &this.connection.reset.writing, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_reset()?;
        let written = Pin::new(&mut this.transport).poll_write_vectored(context, bytes);
        let written = this.record_write(written, context);
        this.await_reset(written, &this.connection.reset.writing, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(context)
    }
}
