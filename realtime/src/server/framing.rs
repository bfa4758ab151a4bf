//! The two halves of an open WebSocket: one reads messages, the other writes frames (RFC 6455).
//!
//! tungstenite reads. It unmasks, joins fragments, checks the limits, and answers pings and closes.
//!
//! The kit writes the frames itself. The frames of a server are not masked (section 5.1), so the bytes of a message are the
//! same for all its receivers, and are written as they are behind a header of at most ten bytes. tungstenite would copy them
//! into a buffer of its own, which stays as large as the largest message of the socket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
};

use axum::extract::ws::{CloseFrame, Message};
use bytes::Bytes;
use futures::{
    Sink, Stream, StreamExt,
    task::{ArcWake, AtomicWaker, waker_ref},
};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self,
        protocol::{
            Role, WebSocketConfig,
            frame::{
                self, Frame,
                coding::{Control, Data, OpCode},
            },
        },
    },
};

use super::fan_out::{DirectWrite, Messages};

/// The longest header of a frame that is not masked (RFC 6455, section 5.2).
const MOST_HEADER: usize = 10;
/// The most bytes of several frames that are copied together for one write.
const JOINED: usize = 64 * 1024;
/// Bytes of pending answers to pings at which no more is read. A client that does not read its answers would otherwise make
/// the server hold them all.
const MOST_ANSWERS: usize = 16 * 1024;
/// Bytes that a pending answer costs beyond its frame.
const ANSWER_OVERHEAD: usize = 64;

/// What a socket runs over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// Reads the messages of a socket. Both halves belong to one task.
///
/// After an error it drops all further input, and ends with the connection: input that nobody reads would turn the close of the
/// socket into a reset, and the peer would not see its code.
pub(super) struct MessageStream<T> {
    /// In a box, because each of the futures through which it passes would have room for it.
    stream: Box<WebSocketStream<ReadHalf<T>>>,
    has_failed: bool,
}

/// Writes the messages of a socket. A message is taken at once, whatever is pending, so its sender has to flush. Nothing is
/// written after a close.
pub(super) struct MessageSink<T>(Arc<Halves<T>>);

/// The transport as tungstenite has it: what it reads comes from the peer, and what it writes (an answer to a ping or to a
/// close) is a frame among those of the sink.
struct ReadHalf<T>(Arc<Halves<T>>);

struct Halves<T> {
    /// A std mutex: it is held while bytes are read or written, which never waits. Both halves belong to one task; another
    /// task that writes to the socket has it until all is written or the transport takes no more.
    shared: Mutex<Shared<T>>,
    /// Not in here: the transport keeps the waker, and must not keep itself.
    wakers: Arc<Wakers>,
}

/// A transport remembers one waker for each direction. Both halves write, so it gets one that wakes both.
#[derive(Default)]
struct Wakers {
    reading: AtomicWaker,
    writing: AtomicWaker,
}

struct Shared<T> {
    transport: T,
    /// What is to be written, in its order. A single frame takes no memory of its own.
    pending: SmallVec<[Pending; 1]>,
    /// How many bytes of the first pending frame are written.
    written: usize,
    /// At most so many bytes of answers are pending; 0 once all is written.
    answers: usize,
    /// A close is pending or written, of ours or of tungstenite. Nothing may follow it (RFC 6455, section 5.5.1).
    has_closed: bool,
}

/// A frame. One of tungstenite has its header in the payload.
struct Pending {
    header: [u8; MOST_HEADER],
    header_length: usize,
    payload: Bytes,
}

/// The halves of a socket whose handshake is done.
pub(super) async fn halves<T: Transport>(
    transport: T,
    config: WebSocketConfig,
) -> (MessageSink<T>, MessageStream<T>) {
    let halves = Arc::new(Halves {
        shared: Mutex::new(Shared {
            transport,
            pending: SmallVec::new(),
            written: 0,
            answers: 0,
            has_closed: false,
        }),
        wakers: Arc::default(),
    });
    let read = ReadHalf(halves.clone());
    let stream = WebSocketStream::from_raw_socket(read, Role::Server, Some(config)).await;
    let stream = MessageStream {
        stream: Box::new(stream),
        has_failed: false,
    };
    (MessageSink(halves), stream)
}

impl<T> Halves<T> {
    /// A poisoned lock is used all the same: what panicked in it was the transport, which ends with its socket.
    fn lock(&self) -> MutexGuard<'_, Shared<T>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Transport> Halves<T> {
    /// Writes what is pending.
    fn poll_pending(&self, shared: &mut Shared<T>) -> Poll<io::Result<()>> {
        let has_answers = shared.answers > 0;
        let waker = waker_ref(&self.wakers);
        let flushed = shared.poll_flush(&mut Context::from_waker(&waker));
        if has_answers && flushed.is_ready() {
            // The half that reads may have stopped because of them.
            self.wakers.reading.wake();
        }
        flushed
    }

    /// Writes the answers of tungstenite, if any are pending.
    fn poll_answers(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.lock();
        if shared.answers == 0 {
            return Poll::Ready(Ok(()));
        }
        self.wakers.reading.register(context.waker());
        let waker = waker_ref(&self.wakers);
        let flushed = shared.poll_flush(&mut Context::from_waker(&waker));
        if flushed.is_ready() {
            // The other half may wait for the same.
            self.wakers.writing.wake();
        }
        flushed
    }
}

impl ArcWake for Wakers {
    fn wake_by_ref(this: &Arc<Self>) {
        this.reading.wake();
        this.writing.wake();
    }
}

impl Pending {
    fn new(frame: Frame) -> Self {
        let mut header = [0; MOST_HEADER];
        let mut rest = &mut header[..];
        let length = frame.payload().len() as u64;
        // The longest header has room.
        let _ = frame.header().format(length, &mut rest);
        let header_length = MOST_HEADER - rest.len();
        Self {
            header,
            header_length,
            payload: frame.into_payload(),
        }
    }

    /// The header and the payload without their first bytes.
    fn rest(&self, written: usize) -> [&[u8]; 2] {
        let of_header = written.min(self.header_length);
        let header = &self.header[of_header..self.header_length];
        [header, &self.payload[written - of_header..]]
    }

    fn len(&self) -> usize {
        self.header_length + self.payload.len()
    }
}

impl<T: Transport> Shared<T> {
    fn push(&mut self, pending: Pending) {
        if !self.has_closed {
            self.pending.push(pending);
        }
    }

    /// Takes a frame of tungstenite: an answer to a ping or to a close.
    fn push_answer(&mut self, frame: &[u8]) {
        if self.has_closed {
            return;
        }
        // The opcode is in the lower half of the first byte (RFC 6455, section 5.2).
        let opcode = frame.first().map(|first| OpCode::from(first & 0x0f));
        self.has_closed = opcode == Some(OpCode::Control(Control::Close));
        self.answers += frame.len() + ANSWER_OVERHEAD;
        self.pending.push(Pending {
            header: [0; MOST_HEADER],
            header_length: 0,
            payload: Bytes::copy_from_slice(frame),
        });
    }

    /// Writes what is pending.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(self.poll_write(context))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        // An idle socket has no memory for frames.
        self.pending = SmallVec::new();
        ready!(Pin::new(&mut self.transport).poll_flush(context))?;
        self.answers = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let transport = Pin::new(&mut self.transport);
        if let (1, Some(frame)) = (self.pending.len(), self.pending.first())
            && transport.is_write_vectored()
        {
            let slices = frame.rest(self.written).map(IoSlice::new);
            return transport.poll_write_vectored(context, &slices);
        }
        // Several are copied together: for small messages that takes less time than a slice for each.
        let bytes: usize = self.pending.iter().map(Pending::len).sum();
        let mut joined = Vec::with_capacity(JOINED.min(bytes));
        let mut written = self.written;
        for frame in &self.pending {
            for part in frame.rest(written) {
                let room = JOINED - joined.len();
                joined.extend_from_slice(&part[..part.len().min(room)]);
            }
            // Of the first frame alone something may be written.
            written = 0;
            if joined.len() == JOINED {
                break;
            }
        }
        transport.poll_write(context, &joined)
    }

    /// Reads to the end of the connection.
    fn poll_drop_input(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut bytes = [0; 1024];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.transport).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        let mut whole = 0;
        while let Some(length) = self.pending.get(whole).map(Pending::len)
            && length <= self.written
        {
            self.written -= length;
            whole += 1;
        }
        self.pending.drain(..whole);
    }
}

impl<T: Transport> MessageSink<T> {
    /// Writes to the socket from any task, as long as the socket exists.
    pub(super) fn direct(&self) -> Weak<dyn DirectWrite> {
        let halves: Weak<Halves<T>> = Arc::downgrade(&self.0);
        halves
    }
}

impl<T: Transport> DirectWrite for Halves<T> {
    fn write(&self, messages: Messages) -> bool {
        let mut shared = self.lock();
        for message in messages {
            shared.push(Pending::new(frame(message)));
        }
        matches!(self.poll_pending(&mut shared), Poll::Ready(Ok(())))
    }
}

impl<T: Transport> Sink<Message> for MessageSink<T> {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> io::Result<()> {
        let is_close = matches!(message, Message::Close(_));
        let pending = Pending::new(frame(message));
        let mut shared = self.0.lock();
        shared.push(pending);
        shared.has_closed |= is_close;
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.wakers.writing.register(context.waker());
        self.0.poll_pending(&mut self.0.lock())
    }

    /// Flushes only: the connection ends when both halves are dropped.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

fn frame(message: Message) -> Frame {
    match message {
        Message::Text(text) => Frame::message(text, OpCode::Data(Data::Text), true),
        Message::Binary(bytes) => Frame::message(bytes, OpCode::Data(Data::Binary), true),
        Message::Ping(bytes) => Frame::ping(bytes),
        Message::Pong(bytes) => Frame::pong(bytes),
        Message::Close(close) => Frame::close(close.map(|close| frame::CloseFrame {
            code: close.code.into(),
            reason: close.reason.as_str().into(),
        })),
    }
}

impl<T: Transport> Stream for MessageStream<T> {
    type Item = Result<Message, tungstenite::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_failed {
            ready!(self.stream.get_ref().0.lock().poll_drop_input(context));
            return Poll::Ready(None);
        }
        let read = ready!(self.stream.poll_next_unpin(context));
        if read.is_none() {
            // tungstenite does not wait until its answer to the peer's close is written.
            let _ = ready!(self.stream.get_ref().0.poll_answers(context));
        }
        let read = read.map(|read| read.and_then(message));
        self.has_failed = matches!(read, Some(Err(_)));
        Poll::Ready(read)
    }
}

fn message(read: tungstenite::Message) -> Result<Message, tungstenite::Error> {
    use tungstenite::Message as Read;
    Ok(match read {
        // Checked for UTF-8 a second time: axum has no other way to its type.
        Read::Text(text) => Message::Text(
            Bytes::from(text)
                .try_into()
                .map_err(tungstenite::Error::from)?,
        ),
        Read::Binary(bytes) => Message::Binary(bytes),
        Read::Ping(bytes) => Message::Ping(bytes),
        Read::Pong(bytes) => Message::Pong(bytes),
        Read::Close(close) => Message::Close(close.map(|close| CloseFrame {
            code: close.code.into(),
            reason: close.reason.as_str().into(),
        })),
        // tungstenite makes none when it reads.
        Read::Frame(frame) => Message::Binary(frame.into_payload()),
    })
}

impl<T: Transport> AsyncRead for ReadHalf<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let written = self.0.poll_answers(context);
        let mut shared = self.0.lock();
        if shared.answers > MOST_ANSWERS {
            return written;
        }
        // Whether they can be written or not: the close of the peer can still be read.
        Pin::new(&mut shared.transport).poll_read(context, buffer)
    }
}

/// Each write is one whole frame, because all of it is taken, and tungstenite writes it before it reads the next. The frame is
/// written at once where the transport takes it, because tungstenite does not flush the answer to a close. Otherwise the next
/// reads go on with it, and the end of the stream waits for it.
impl<T: Transport> AsyncWrite for ReadHalf<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().push_answer(bytes);
        match self.poll_flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.poll_answers(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().transport).poll_shutdown(context)
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
