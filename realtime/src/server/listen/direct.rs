//! Sends the body of a live stream to an HTTP/1.1 connection without hyper.
//!
//! An open stream needs nothing of what hyper keeps for a connection: a buffer of 8 KiB for each direction, a table of
//! headers, the machinery of the next request. So the task of the connection takes the connection back from hyper, writes the
//! head and the chunks itself (RFC 9112, sections 4 and 7.1), and gives it to hyper again when the stream has ended.
//!
//! Without TLS the connection is also polled from outside its task: by a task that writes what a topic publishes to many
//! connections.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak},
    task::{Context, Poll, Waker, ready},
    time::SystemTime,
};

use axum::{
    body::HttpBody,
    http::{HeaderMap, Method, Request, Response, StatusCode, Version, header, response::Parts},
};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{read_ahead::ReadAhead, stream::Answer};
use crate::server::signal::{PollNow, Signal};

/// Bytes of a client that are read while its stream is open, and not used until it has ended: as many as hyper would keep. Bytes
/// that are not read turn the close of the connection into a reset, which may take the end of the stream with it.
const MOST_AHEAD: usize = 16 * 1024;

/// An extension of a response: its body sends small pieces for a long time.
#[derive(Clone, Copy, Debug)]
pub struct LiveBody;

/// An extension of a response: its body is that of a reader of a topic, with this signal.
#[derive(Clone)]
pub(crate) struct Reading(pub Arc<Signal>);

/// Where the service of hyper leaves a response for the task of the connection.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Direct>>>);

/// A response that is sent without hyper.
pub(super) struct Direct {
    response: Response<Answer>,
    /// Whether the client may send another request on the connection.
    keep_alive: bool,
}

/// What is to be known of a request once it was answered: whether another one may follow on its connection. `None` where hyper
/// has to send the answer: no chunks are allowed before HTTP/1.1, and an answer to `HEAD` has no body.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    keep_alive: bool,
}

impl Asked {
    pub fn of<B>(request: &Request<B>, has_body: bool) -> Option<Self> {
        let is_plain = request.version() == Version::HTTP_11 && request.method() == Method::GET;
        (is_plain && !has_body).then(|| Self {
            keep_alive: !says_close(request.headers()),
        })
    }
}

/// Whether the body of a response is sent in chunks: its length is not known, and there is one (RFC 9112, section 6).
fn is_chunked<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    let is_framed = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    let status = response.status();
    let has_no_body = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    !is_framed && !has_no_body
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).into_iter();
    let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

impl Slot {
    /// Leaves the response, if it is one to send without hyper; otherwise it comes back.
    pub fn leave(&self, response: Response<Answer>, asked: Asked) -> Option<Response<Answer>> {
        if response.extensions().get::<LiveBody>().is_none() || !is_chunked(&response) {
            return Some(response);
        }
        let keep_alive = asked.keep_alive && !says_close(response.headers());
        *self.lock() = Some(Direct {
            response,
            keep_alive,
        });
        None
    }

    pub fn take(&self) -> Option<Direct> {
        self.lock().take()
    }

    /// A std mutex: it is held for one assignment. A poisoned lock is used all the same.
    fn lock(&self) -> MutexGuard<'_, Option<Direct>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Direct {
    /// Sends the response to its end. Returns the connection, and whether another request may follow on it, for which the server
    /// has to `stay`. `is_plain`: the bytes go to a TCP connection as they are.
    pub async fn send<S>(
        self,
        bytes: ReadAhead<S>,
        stay: bool,
        is_plain: bool,
    ) -> io::Result<(ReadAhead<S>, bool)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let keep_alive = self.keep_alive && stay;
        let (mut parts, body) = self.response.into_parts();
        let reading = parts.extensions.remove::<Reading>();
        let sending = Sending {
            head: head(&parts, keep_alive),
            body,
            piece: None,
            has_ended: false,
        };
        drop(parts);
        let open = Arc::new(Open(Mutex::new(OpenState {
            response: Some((sending, bytes)),
            task: Waker::noop().clone(),
            ended: None,
        })));
        if let Some(Reading(signal)) = reading.filter(|_| is_plain) {
            let open: Weak<Open<S>> = Arc::downgrade(&open);
            signal.poll_instead(open);
        }
        let bytes = poll_fn(|context| open.poll(context)).await?;
        Ok((bytes, keep_alive))
    }
}

/// A response that is being sent by the task of its connection, and by others meanwhile.
struct Open<S>(Mutex<OpenState<S>>);

struct OpenState<S> {
    /// `None` once it was sent, or failed.
    response: Option<(Sending, ReadAhead<S>)>,
    /// The task of the connection.
    task: Waker,
    /// How it ended, for the task of the connection.
    ended: Option<io::Result<()>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Open<S> {
    /// Polls it in the task of the connection. Returns the connection at the end of the response.
    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<ReadAhead<S>>> {
        // A std mutex: it is held while bytes are read and written, which never waits.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let OpenState {
            response,
            task,
            ended,
        } = &mut *state;
        let Some((sending, bytes)) = response else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        task.clone_from(context.waker());
        let ended = match ended.take() {
            Some(ended) => ended,
            None => ready!(sending.poll(bytes, context)),
        };
        let bytes = response.take().map(|(_, bytes)| bytes);
        Poll::Ready(ended.and(bytes.ok_or_else(|| io::ErrorKind::NotConnected.into())))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> PollNow for Open<S> {
    fn poll_now(&self) -> bool {
        let mut state = match self.0.try_lock() {
            Ok(state) => state,
            // It may have looked for events before they were published.
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return false,
        };
        let OpenState {
            response,
            task,
            ended,
        } = &mut *state;
        let Some((sending, bytes)) = response.as_mut().filter(|_| ended.is_none()) else {
            return true;
        };
        let mut context = Context::from_waker(task);
        let write = AssertUnwindSafe(|| sending.poll_write(bytes, &mut context));
        // A panic ends the connection, as it does in the task of the connection.
        let panicked = |_| Poll::Ready(Err(io::Error::other("the body of a response panicked")));
        match catch_unwind(write).unwrap_or_else(panicked) {
            Poll::Pending => true,
            Poll::Ready(how) => {
                *ended = Some(how);
                false
            }
        }
    }
}

/// A response that is being sent.
struct Sending {
    /// Empty once it is in a piece.
    head: Bytes,
    body: Answer,
    /// What is being written. The body is polled again only after that.
    piece: Option<Piece>,
    has_ended: bool,
}

impl Sending {
    fn poll<S>(
        &mut self,
        bytes: &mut ReadAhead<S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // A client that has gone away is noticed while there is nothing to send, and so is a reset. What the client sends before
        // its stream has ended belongs to its next request.
        while bytes.ahead() < MOST_AHEAD
            && let Poll::Ready(read) = bytes.poll_ahead(context)
        {
            if read? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_write(bytes, context)
    }

    fn poll_write<S>(
        &mut self,
        bytes: &mut ReadAhead<S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        loop {
            if let Some(piece) = &mut self.piece {
                ready!(piece.poll_write(bytes, context))?;
                self.piece = None;
            }
            if self.has_ended {
                return Pin::new(bytes).poll_flush(context);
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    // A chunk of no bytes would end the body.
                    Ok(data) if !data.is_empty() => self.write_chunk(data),
                    _ => {}
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(None) => {
                    self.write_chunk(Bytes::new());
                    self.has_ended = true;
                }
                Poll::Pending if !self.head.is_empty() => {
                    self.piece = Some(Piece::alone(mem::take(&mut self.head)));
                }
                // What was written so far is on its way before the task waits.
                Poll::Pending => {
                    return match Pin::new(bytes).poll_flush(context) {
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }

    /// The next chunk, and the head before the first one.
    fn write_chunk(&mut self, data: Bytes) {
        self.piece = Some(Piece::chunk(mem::take(&mut self.head), data));
    }
}

/// The head of a response (RFC 9112, sections 4 and 5).
fn head(parts: &Parts, keep_alive: bool) -> Bytes {
    let mut head = BytesMut::with_capacity(512);
    let reason = parts.status.canonical_reason().unwrap_or_default();
    head.put_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).as_bytes());
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            head.put_slice(part);
        }
    };
    for (name, value) in &parts.headers {
        field(name.as_str(), value.as_bytes());
    }
    if !parts.headers.contains_key(header::DATE) {
        field(
            "date",
            httpdate::fmt_http_date(SystemTime::now()).as_bytes(),
        );
    }
    if !keep_alive && !says_close(&parts.headers) {
        field("connection", b"close");
    }
    field("transfer-encoding", b"chunked");
    head.put_slice(b"\r\n");
    head.freeze()
}

/// The most digits of a chunk's size.
const MOST_DIGITS: usize = size_of::<usize>() * 2;

/// The first line of a chunk: its size in hexadecimal, and the end of the line (RFC 9112, section 7.1).
///
/// The digits are not formatted with `write!`, which would be a twelfth of the instructions of an event.
#[derive(Default)]
struct SizeLine {
    /// The digits are at its end.
    line: [u8; MOST_DIGITS + 2],
    digits: usize,
}

impl SizeLine {
    fn of(size: usize) -> Self {
        let mut line = [0; MOST_DIGITS + 2];
        line[MOST_DIGITS..].copy_from_slice(b"\r\n");
        let (mut digits, mut rest) = (0, size);
        while digits == 0 || rest > 0 {
            digits += 1;
            line[MOST_DIGITS - digits] = b"0123456789abcdef"[rest & 0xf];
            rest >>= 4;
        }
        Self { line, digits }
    }

    /// Empty by default.
    fn bytes(&self) -> &[u8] {
        match self.digits {
            0 => &[],
            digits => &self.line[MOST_DIGITS - digits..],
        }
    }
}

/// What is written at once: a head, and a chunk (RFC 9112, section 7.1). Either may be empty.
struct Piece {
    head: Bytes,
    size_line: SizeLine,
    data: Bytes,
    end: &'static [u8],
    /// Bytes of it that are written.
    written: usize,
}

impl Piece {
    /// A chunk of no bytes is the last of its body.
    fn chunk(head: Bytes, data: Bytes) -> Self {
        Self {
            head,
            size_line: SizeLine::of(data.len()),
            data,
            end: b"\r\n",
            written: 0,
        }
    }

    fn alone(head: Bytes) -> Self {
        Self {
            head,
            size_line: SizeLine::default(),
            data: Bytes::new(),
            end: b"",
            written: 0,
        }
    }

    fn poll_write<S>(
        &mut self,
        bytes: &mut ReadAhead<S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let size_line = self.size_line.bytes();
        let parts = [&self.head[..], size_line, &self.data[..], self.end];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        while self.written < len {
            let mut slices = parts.map(IoSlice::new);
            let mut left = &mut slices[..];
            IoSlice::advance_slices(&mut left, self.written);
            match ready!(Pin::new(&mut *bytes).poll_write_vectored(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_chunk_is_hexadecimal() {
        let sizes = [0, 1, 9, 10, 15, 16, 255, 4096, 0xfeed_beef, usize::MAX];
        for size in sizes {
            let line = SizeLine::of(size);
            assert_eq!(line.bytes(), format!("{size:x}\r\n").as_bytes());
        }
        assert_eq!(SizeLine::default().bytes(), b"");
    }
}
