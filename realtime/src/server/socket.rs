//! Runs one WebSocket: a read loop and a write loop, heartbeat, limits, typed close codes.
//!
//! It is generic over its `Sink` and its `Stream`, so that it can be tested without a network. The protocol is RFC 6455.

use std::{
    fmt::Display,
    future::{Future, pending, ready},
    marker::PhantomData,
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use serde_json::Value;
use strum::VariantNames;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite;

use super::{
    clock::now_ms,
    counted::Counted,
    on_wake::OnWake,
    queue::{Batch, OutQueue},
    realtime::Realtime,
    registry::Connection,
};
use crate::{
    close::CloseCode,
    contract::SocketContract,
    message::{ErrorCode, SocketControl, SocketError, SocketRequest},
};

/// Longest inbound text message in bytes.
pub const TEXT_BYTES: usize = 64 * 1024;
/// A message that is too long is read to its end up to this many bytes, so that its sender receives the close code.
pub const TEXT_READ_BYTES: usize = 2 * TEXT_BYTES;
/// How long the server reads on after its close. Dropping a socket with unread input would turn the close code into
/// 1006.
const LINGER: Duration = Duration::from_secs(2);
/// How long sending the last messages and the close may take. A peer that has stopped reading is then reset.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one write may take, however small it is. Over HTTP/1.1 the connection itself detects a peer that reads
/// nothing. Over HTTP/2 no layer below detects it for a single socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Additional time for each KiB of the write.
const WRITE_TIMEOUT_PER_KIB: Duration = Duration::from_secs(1);
/// Rate-limit errors that a client may get within [`REFUSAL_WINDOW`] before it counts as ignoring the limit.
const REFUSALS: u32 = 200;
const REFUSAL_WINDOW: Duration = Duration::from_secs(10);
/// Pings within [`PING_WINDOW`] that do not count towards the rate limit, so that a client that sends a lot still gets its pong.
const FREE_PINGS: u32 = 10;
const PING_WINDOW: Duration = Duration::from_secs(1);

/// A feature's handling of one socket.
///
/// Only [`SocketHandler::command`], [`SocketHandler::binary`] and [`SocketHandler::fill`] may wait for the storage.
/// Meanwhile no further message is read, so TCP slows down a client that sends faster than its commands are executed.
/// The other methods are quick and never wait.
pub trait SocketHandler: Send {
    /// The contract of the socket, which defines the types of its commands, its events and its welcome.
    type Contract: SocketContract;

    /// Executes a command within the limits. An `Err` is sent to the client, and the socket stays open.
    fn command(
        &mut self,
        command: <Self::Contract as SocketContract>::Command,
    ) -> impl Future<Output = Result<(), SocketError>> + Send;

    /// Counts a message that is not a command (it did not decode) towards the limits. An `Err` is sent instead of an
    /// answer.
    fn admit(&mut self) -> Result<(), SocketError> {
        Ok(())
    }

    /// Handles a binary message. By default it is refused.
    ///
    /// The bytes are a part of the buffer into which the socket reads. A handler that keeps them copies them: otherwise the whole
    /// buffer stays in memory, and the socket reads with what is left of it.
    fn binary(&mut self, _bytes: Bytes) -> impl Future<Output = Result<(), SocketError>> + Send {
        let error = SocketError::new(ErrorCode::Malformed, "Only text messages are spoken here.");
        let answer = self.admit().and(Err(error));
        async { answer }
    }

    /// Whether there is a backlog to queue.
    fn has_backlog(&self) -> bool {
        false
    }

    /// Queues the next page of the backlog; called when the queue has room.
    fn fill(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether this outbound message may be sent twice, because its receiver detects the repeat by an id or a state.
    fn is_repeatable(_message: &Message) -> bool {
        false
    }

    /// The close code for an ended session: 4001, unless the clients of another protocol need a code of their own.
    fn session_code(&self) -> u16 {
        CloseCode::Session.code()
    }
}

/// The handler of a socket on which only the server sends. Commands are refused; where the contract's commands are an enum
/// without variants, there are none.
pub struct ReadOnly<C>(PhantomData<C>);

impl<C> Default for ReadOnly<C> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<C: SocketContract> SocketHandler for ReadOnly<C> {
    type Contract = C;

    fn command(&mut self, _: C::Command) -> impl Future<Output = Result<(), SocketError>> + Send {
        let error = "Nothing is accepted on this socket.";
        ready(Err(SocketError::new(ErrorCode::Malformed, error)))
    }
}

/// A read error that may correspond to a close code.
pub(super) trait ReadError: Display {
    /// The close code to answer with, or `None` when the connection is gone.
    fn close_code(&self) -> Option<CloseCode>;
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The peer closed or disconnected, or the server's close was sent.
    Cleanly,
    /// The peer does not read. Its connection is reset, otherwise the kernel would keep the unsent bytes for many
    /// minutes.
    Stuck,
}

/// Runs a socket to its end. The first message in `queue` is a `welcome`. `connection` is the socket's entry in the
/// registry, `counted` its part in the count of its endpoint. `session_ended` resolves with the reason when the socket's
/// session ends.
pub(super) async fn run<Si, St, E, H>(
    (sink, stream): (Si, St),
    queue: OutQueue,
    handler: &mut H,
    realtime: &Realtime,
    connection: &Connection,
    counted: &Counted,
    session_ended: impl Future<Output = &'static str> + Send + Unpin,
) -> Ended
where
    Si: Sink<Message> + Unpin,
    St: Stream<Item = Result<Message, E>> + Unpin,
    E: ReadError + Send,
    H: SocketHandler,
{
    let reading = read(stream, &queue, handler, realtime, counted, session_ended);
    let writing = write(
        sink,
        &queue,
        realtime.timing().ping,
        connection,
        H::is_repeatable,
    );
    tokio::pin!(reading, writing);
    let (mut reading, mut writing) = (OnWake::new(reading), OnWake::new(writing));
    // If the reader ends first, the peer has closed or its input cannot be read further. If the writer ends first, it
    // has sent the close or found the peer gone; the reader then continues until the peer's close, for at most
    // `LINGER`.
    let ended = tokio::select! {
        () = &mut reading => match queue.is_closing() {
            true => writing.await,
            false => Ended::Cleanly,
        },
        ended = &mut writing => {
            if ended == Ended::Cleanly {
                let _ = Box::pin(timeout(LINGER, reading)).await;
            }
            ended
        }
    };
    // Parts of the application may still hold the queue.
    queue.end();
    if ended == Ended::Stuck {
        // Reset while the socket still exists: when it is dropped, its connection ends with a reset instead of a close.
        connection.reset();
    }
    ended
}

/// Closes an accepted socket with a code and a reason. A browser cannot see the HTTP status of a refused upgrade.
/// `code` is a [`CloseCode`] or a code of the application, from 4000 to 4999 (RFC 6455, section 7.4.2).
pub(super) async fn refuse<Si, St, E>(
    (mut sink, mut stream): (Si, St),
    code: impl Into<u16>,
    reason: &'static str,
) where
    Si: Sink<Message> + Unpin,
    St: Stream<Item = Result<Message, E>> + Unpin,
{
    let frame = CloseFrame {
        code: code.into(),
        reason: Utf8Bytes::from_static(reason),
    };
    if timeout(CLOSE_TIMEOUT, sink.send(Message::Close(Some(frame))))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        let _ = timeout(LINGER, async {
            while let Some(Ok(_)) = stream.next().await {}
        })
        .await;
    }
}

/// The futures of the handler are in boxes: it is at work for moments, and an idle socket takes no memory for it.
async fn read<St, E, H>(
    mut stream: St,
    queue: &OutQueue,
    handler: &mut H,
    realtime: &Realtime,
    counted: &Counted,
    mut session_ended: impl Future<Output = &'static str> + Unpin,
) where
    St: Stream<Item = Result<Message, E>> + Unpin,
    E: ReadError,
    H: SocketHandler,
{
    let drain = realtime.drain();
    let mut refusals = WindowCounter::default();
    let mut pings = WindowCounter::default();
    // One timer for the whole connection, reset with every frame, instead of a new timer for each frame.
    let idle = sleep(realtime.timing().idle);
    tokio::pin!(idle);
    let mut session_is_live = true;
    loop {
        // Messages queued after the close are never sent.
        let has_backlog = handler.has_backlog() && !queue.is_closing();
        let backlog = async {
            if has_backlog {
                queue.has_room().await
            } else {
                pending().await
            }
        };
        let message = tokio::select! {
            message = stream.next() => message,
            () = backlog => {
                let began = Instant::now();
                Box::pin(handler.fill()).await;
                // The time spent in `fill` does not count as the client's idle time.
                let deadline = idle.deadline() + began.elapsed();
                idle.as_mut().reset(deadline);
                continue;
            }
            () = drain.started(), if !queue.is_closing() => {
                queue.push_json(&SocketControl::<()>::Drain { retry_ms: drain.retry_ms() });
                queue.close(CloseCode::ServiceRestart, "the server restarts");
                continue;
            }
            reason = &mut session_ended, if session_is_live => {
                session_is_live = false;
                queue.close(handler.session_code(), reason);
                continue;
            }
            // A frame that arrived while this task did not run still counts: after a stopped process resumes, the frame
            // and the timer are ready at the same time.
            () = &mut idle, if !queue.is_closing() => match stream.next().now_or_never() {
                Some(message) => message,
                None => {
                    queue.close(CloseCode::HeartbeatMissed, "nothing was heard for too long");
                    continue;
                }
            },
        };
        let outcome = match message {
            None => return,
            Some(Ok(Message::Close(_))) => {
                // The next read sends the answer to the close, and ends when it is written.
                let _ = Box::pin(timeout(LINGER, stream.next())).await;
                return;
            }
            // After the server's close only the peer's close is handled.
            Some(_) if queue.is_closing() => continue,
            Some(Err(error)) => {
                let Some(code) = error.close_code() else {
                    tracing::debug!(%error, "a socket broke");
                    return;
                };
                queue.close(code, "what was sent breaks the protocol");
                continue;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(text))) if text.len() > TEXT_BYTES => {
                queue.close(
                    CloseCode::TooBig,
                    "a text message takes at most 65536 bytes",
                );
                continue;
            }
            Some(Ok(Message::Text(text))) => {
                Box::pin(text_message(&text, queue, handler, &mut pings, counted)).await
            }
            Some(Ok(Message::Binary(bytes))) => Box::pin(handler.binary(bytes)).await,
        };
        // Measured from here and not from the frame: the handler's time does not count as the client's idle time.
        idle.as_mut().reset(Instant::now() + realtime.timing().idle);
        if let Err(error) = outcome {
            let ignored =
                error.code == ErrorCode::RateLimited && refusals.add(REFUSAL_WINDOW) > REFUSALS;
            queue.push_json(&SocketControl::<()>::Error(error));
            if ignored {
                queue.close(CloseCode::RateLimitIgnored, "the rate limit was ignored");
            }
        }
    }
}

async fn text_message<H: SocketHandler>(
    text: &str,
    queue: &OutQueue,
    handler: &mut H,
    pings: &mut WindowCounter,
    counted: &Counted,
) -> Result<(), SocketError> {
    let executing = match decode::<H::Contract>(text) {
        Ok(Decoded::Kit(SocketRequest::Ping { at })) => {
            if pings.add(PING_WINDOW) > FREE_PINGS {
                handler.admit()?;
            }
            queue.push_json(&SocketControl::<()>::Pong {
                at,
                server_at: now_ms(),
                connections: counted.count(),
            });
            return Ok(());
        }
        Ok(Decoded::Feature(command)) => handler.command(command),
        Err(error) => return Err(handler.admit().err().unwrap_or(error)),
    };
    executing.await
}

enum Decoded<C> {
    Kit(SocketRequest),
    Feature(C),
}

/// Decodes a text message; the error explains in words what is wrong with it.
fn decode<C: SocketContract>(text: &str) -> Result<Decoded<C::Command>, SocketError> {
    // The common case is parsed once. What is no command of the feature is parsed again, to find out what it is. The check
    // of the first character is needed because serde accepts an array in the place of a tagged object.
    if text.trim_ascii_start().starts_with('{')
        && let Ok(command) = serde_json::from_str(text)
    {
        return Ok(Decoded::Feature(command));
    }
    let fields = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("A message is one JSON object with a \"type\".".into()),
        Err(error) => Err(format!(
            "A message is one JSON object; this is no JSON: {error}."
        )),
    };
    let fields = fields.map_err(|message| SocketError::new(ErrorCode::Malformed, message))?;
    let field = |name| fields.get(name).and_then(Value::as_str);
    let socket_error = |code, message: String| {
        let mut error = SocketError::new(code, message);
        error.re = field("id").map(str::to_owned);
        let echoed = C::ECHOED.iter().copied();
        let echoed = echoed.filter_map(|name| Some((name, field(name)?)));
        echoed.fold(error, |error, (name, value)| error.with(name, value))
    };
    let Some(kind) = field("type") else {
        return Err(socket_error(
            ErrorCode::Malformed,
            "A message needs a \"type\" that is a string.".into(),
        ));
    };
    let bad_field =
        |error: serde_json::Error| socket_error(ErrorCode::InvalidField, field_error(kind, &error));
    if SocketRequest::VARIANTS.contains(&kind) {
        serde_json::from_str(text)
            .map(Decoded::Kit)
            .map_err(bad_field)
    } else if C::Command::VARIANTS.contains(&kind) {
        serde_json::from_str(text)
            .map(Decoded::Feature)
            .map_err(bad_field)
    } else {
        let known = [C::Command::VARIANTS, SocketRequest::VARIANTS].concat();
        Err(socket_error(
            ErrorCode::UnknownType,
            format!("The types spoken here are {}.", known.join(", ")),
        ))
    }
}

/// Rewrites a serde error about a field without Rust's type names, for authors of clients in other languages.
fn field_error(kind: &str, error: &serde_json::Error) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("u64", "a whole number"),
        ("usize", "a whole number"),
        ("f32", "a number"),
        ("f64", "a number"),
        ("struct Position", "an object with \"epoch\" and \"offset\""),
        ("UUID parsing failed", "it is no UUID"),
    ];
    let words = error.to_string();
    let words = WORDS
        .iter()
        .fold(words, |words, (rust, plain)| words.replace(rust, plain));
    format!("\"{kind}\" is not as it should be: {words}.")
}

/// What takes a moment is in boxes, as in [`read`].
async fn write<Si: Sink<Message> + Unpin>(
    mut sink: Si,
    queue: &OutQueue,
    ping: Duration,
    connection: &Connection,
    is_repeatable: fn(&Message) -> bool,
) -> Ended {
    let mut ping = interval_at(Instant::now() + ping, ping);
    let mut newest = None;
    loop {
        let batch = tokio::select! {
            batch = queue.take() => batch,
            _ = ping.tick() => Box::pin(queue.batch_of(Some(Message::Ping(Bytes::new())))).await,
            // The request is kept until there is a message that can be repeated.
            () = connection.repeat_asked(), if newest.is_some() => Box::pin(queue.batch_of(newest.clone())).await,
        };
        if connection.may_break() {
            let mut newest_first = batch.messages.iter().rev();
            let repeatable = newest_first.find(|message| is_repeatable(message));
            newest = repeatable.cloned().or(newest);
        }
        if connection.is_stalled() {
            Box::pin(queue.closing()).await;
            return Ended::Stuck;
        }
        let last = batch.close.is_some();
        match Box::pin(send(&mut sink, queue, batch)).await {
            Sent::Everything if !last => {}
            Sent::Everything | Sent::Failed => return Ended::Cleanly,
            Sent::GivenUp => return Ended::Stuck,
        }
    }
}

/// How the write of a batch ended.
enum Sent {
    Everything,
    Failed,
    /// The peer took nothing for too long.
    GivenUp,
}

async fn send<Si: Sink<Message> + Unpin>(sink: &mut Si, queue: &OutQueue, batch: Batch) -> Sent {
    let write_timeout = WRITE_TIMEOUT + WRITE_TIMEOUT_PER_KIB * batch.kibibytes();
    let sending = async {
        for message in batch.messages {
            sink.feed(message).await?;
        }
        if let Some(close) = batch.close {
            sink.feed(Message::Close(Some(close))).await?;
        }
        sink.flush().await
    };
    // A peer that has stopped reading would block the write for ever. Once a close is queued, only `CLOSE_TIMEOUT` is left.
    let given_up = async {
        let closing = timeout(write_timeout, queue.closing()).await;
        if closing.is_ok() {
            sleep(CLOSE_TIMEOUT).await;
        }
    };
    // In this order: where the peer reads, nothing is waited for.
    tokio::select! {
        biased;
        sent = sending => match sent {
            Ok(()) => Sent::Everything,
            Err(_) => Sent::Failed,
        },
        () = given_up => Sent::GivenUp,
    }
}

/// Counts events within a time window; a new window begins after the previous one has ended.
#[derive(Default)]
struct WindowCounter {
    count: u32,
    since: Option<Instant>,
}

impl WindowCounter {
    /// Counts one event and returns the number of events in the current window.
    fn add(&mut self, window: Duration) -> u32 {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since > window) {
            (self.count, self.since) = (0, Some(now));
        }
        self.count += 1;
        self.count
    }
}

impl ReadError for tungstenite::Error {
    fn close_code(&self) -> Option<CloseCode> {
        use tungstenite::{Error, error::ProtocolError};
        match self {
            Error::Capacity(_) => Some(CloseCode::TooBig),
            Error::Utf8(_) => Some(CloseCode::InvalidUtf8),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            Error::Protocol(_) => Some(CloseCode::ProtocolError),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
