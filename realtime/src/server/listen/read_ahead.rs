//! Reads ahead on a connection, and gives what was read to the next reader.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read ahead at once: most heads of a request fit.
const AHEAD: usize = 1024;

/// A connection, and the bytes of it that were read ahead.
pub(super) struct ReadAhead<S> {
    inner: S,
    ahead: BytesMut,
}

impl<S> ReadAhead<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
        }
    }

    /// Puts bytes back that were read and not used. They come before those that are read ahead.
    pub fn put_back(&mut self, unused: &Bytes) {
        if !unused.is_empty() {
            self.ahead = BytesMut::from(&[unused, &self.ahead[..]].concat()[..]);
        }
    }

    /// How many bytes were read ahead.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    /// Reads some bytes ahead; 0 at the end of the connection.
    pub fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Not zeroed: a stream looks here with every event, and mostly finds nothing.
        let mut bytes = [MaybeUninit::uninit(); AHEAD];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
        self.ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    /// What was read ahead and what there is behind it come together. Separately, hyper would find half a head in its buffer,
    /// and double the buffer to read the other half.
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        }
        let given = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..given]);
        this.ahead.advance(given);
        if !this.ahead.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // Frees the memory, which an open connection does not need again.
        this.ahead = BytesMut::new();
        match buffer.remaining() {
            0 => Poll::Ready(Ok(())),
            // These bytes are good. After an error the next read finds the end of the connection.
            _ => {
                let _ = Pin::new(&mut this.inner).poll_read(context, buffer);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_and_with_what_is_behind_it() {
        let (mut peer, here) = duplex(64);
        let mut bytes = ReadAhead::new(here);
        peer.write_all(b"read ahead, ").await.unwrap();
        let ahead = std::future::poll_fn(|context| bytes.poll_ahead(context));
        assert_eq!(ahead.await.unwrap(), 12);
        bytes.put_back(&Bytes::from_static(b"put back, "));
        assert_eq!(bytes.ahead(), 22);
        peer.write_all(b"behind it").await.unwrap();
        let mut read = [0; 4];
        bytes.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"put ");
        let mut read = [0; 64];
        let count = bytes.read(&mut read).await.unwrap();
        assert_eq!(&read[..count], b"back, read ahead, behind it");
        assert_eq!(bytes.ahead(), 0);
        drop(peer);
        assert_eq!(bytes.read(&mut read).await.unwrap(), 0);
    }
}
