//! One socket: a read loop and a write loop, heartbeat, limits, typed close codes.
//!
//! Generic over `Sink` and `Stream`, so that it is tested without a network. The protocol is RFC 6455.

use std::{
    fmt::Display,
    future::{Future, pending},
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use serde::Deserialize;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::{
    Connection, Realtime, now_ms,
    queue::{Batch, OutQueue},
};
use crate::{
    close::CloseCode,
    contract::SocketContract,
    message::{ErrorCode, SocketControl, SocketError, SocketRequest},
};

/// Longest inbound text message in bytes.
pub const TEXT_BYTES: usize = 64 * 1024;
/// Up to here a message that is too long is read to its end, so that its sender can see the close code.
pub const TEXT_READ_BYTES: usize = 2 * TEXT_BYTES;
/// How long the server goes on reading after its close: dropping a socket with unread input turns the code into 1006.
const LINGER: Duration = Duration::from_secs(2);
/// How long the last messages and the close may take to leave; whoever stopped reading is then reset.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long what is written at once may take to leave, however little it is. Over HTTP/1.1 the connection sees for itself when
/// its peer takes nothing; over HTTP/2 nothing below sees it of a single socket.
const STALLED: Duration = Duration::from_secs(60);
/// And how much longer for each KiB of it.
const TIME_A_KIB: Duration = Duration::from_secs(1);
/// Refusals for the rate that a client may collect within [`REFUSAL_WINDOW`] before it counts as ignoring them.
const REFUSALS: u32 = 200;
const REFUSAL_WINDOW: Duration = Duration::from_secs(10);
/// Pings a second that count for no rate, so that a client that is busy otherwise does not miss its pong.
const FREE_PINGS: u32 = 10;

/// What a feature does with a socket. What waits for the storage waits inside [`SocketHandler::command`],
/// [`SocketHandler::binary`] and [`SocketHandler::fill`]: meanwhile no further message is read, so that a client that sends
/// faster than its commands are obeyed is slowed down by TCP. The other methods are quick and never wait.
pub trait SocketHandler: Send {
    type Contract: SocketContract;

    /// A message within the limits. An `Err` goes to the client; the socket lives on.
    fn command(
        &mut self,
        command: <Self::Contract as SocketContract>::Command,
    ) -> impl Future<Output = Result<(), SocketError>> + Send;

    /// Asks whether a message that is no command (it did not decode) may be answered at all.
    fn admit(&mut self) -> Result<(), SocketError>;

    /// A binary message.
    fn binary(&mut self, _bytes: Bytes) -> impl Future<Output = Result<(), SocketError>> + Send {
        let error = SocketError::new(ErrorCode::Malformed, "Only text messages are spoken here.");
        let answer = self.admit().and(Err(error));
        async { answer }
    }

    /// Whether a backlog waits to be put into the queue.
    fn has_backlog(&self) -> bool {
        false
    }

    /// Puts the next page of the backlog into the queue; called when the queue has room.
    fn fill(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether this outbound message may be sent twice, because its receiver knows it by an id or a state.
    fn is_repeatable(_message: &Message) -> bool {
        false
    }

    /// The code that says that the session has ended.
    fn session_code(&self) -> CloseCode {
        CloseCode::Session
    }

    /// Open sockets of this endpoint on this node.
    fn connections(&self) -> usize;
}

/// Why reading failed, as far as a close code can tell.
pub trait ReadError: Display {
    /// The code to answer with, or `None` when the connection is simply gone.
    fn close_code(&self) -> Option<CloseCode>;
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer left, or our close could be sent.
    Cleanly,
    /// The peer does not read: its connection is worth a reset, or the kernel keeps what it was sent for many minutes.
    Stuck,
}

/// Runs a socket to its end. The first message in `queue` is a [`welcome`](Realtime::welcome). `line` is its name;
/// `session_ended` resolves with the reason when the session behind it ends.
pub async fn run<S, E, H>(
    socket: S,
    queue: OutQueue,
    mut handler: H,
    realtime: &Realtime,
    connection: &Connection,
    session_ended: impl Future<Output = &'static str> + Send,
) -> Ended
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Send,
    E: ReadError + Send,
    H: SocketHandler,
{
    let (sink, stream) = socket.split();
    let reading = read(stream, &queue, &mut handler, realtime, session_ended);
    let writing = write(
        sink,
        &queue,
        realtime.timing().ping,
        connection,
        H::is_repeatable,
    );
    tokio::pin!(reading, writing);
    // Whichever ends first: a reader that ended has seen the peer leave, or input that cannot be read on; a writer that
    // ended has sent the close (or found the peer gone), and the reader goes on to the peer's close, or a little while.
    let ended = tokio::select! {
        () = &mut reading => match queue.is_closing() {
            true => writing.await,
            false => Ended::Cleanly,
        },
        ended = &mut writing => {
            if ended == Ended::Cleanly {
                let _ = timeout(LINGER, reading).await;
            }
            ended
        }
    };
    if ended == Ended::Stuck {
        // While the socket is there: how its connection ends is settled when it is dropped.
        connection.reset();
    }
    ended
}

/// Accepts a socket only to say why it cannot stay: a browser cannot see the status of a refused upgrade.
pub async fn refuse<S, E>(mut socket: S, code: CloseCode, reason: &'static str)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Send + Unpin,
{
    let frame = CloseFrame {
        code: code.code(),
        reason: Utf8Bytes::from_static(reason),
    };
    if timeout(FAREWELL, socket.send(Message::Close(Some(frame))))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        let _ = timeout(LINGER, async {
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
    }
}

async fn read<St, E, H>(
    mut stream: St,
    queue: &OutQueue,
    handler: &mut H,
    realtime: &Realtime,
    session_ended: impl Future<Output = &'static str>,
) where
    St: Stream<Item = Result<Message, E>> + Unpin,
    E: ReadError,
    H: SocketHandler,
{
    let drain = realtime.drain();
    let mut refusals = WindowCounter::new(REFUSAL_WINDOW);
    let mut pings = WindowCounter::new(Duration::from_secs(1));
    // One timer for the whole life, moved with every frame, instead of a new one a frame.
    let idle = sleep(realtime.timing().idle);
    tokio::pin!(idle, session_ended);
    let mut session_watched = true;
    loop {
        let backlog = async {
            // What is queued after the close is sent to nobody.
            if handler.has_backlog() && !queue.is_closing() {
                queue.has_room().await
            } else {
                pending().await
            }
        };
        let message = tokio::select! {
            message = stream.next() => message,
            () = backlog => {
                let began = Instant::now();
                handler.fill().await;
                let heard_by = idle.deadline() + began.elapsed();
                idle.as_mut().reset(heard_by);
                continue;
            }
            () = drain.started(), if !queue.is_closing() => {
                queue.push_json(&SocketControl::<()>::Drain { retry_ms: drain.retry_ms() });
                queue.close(CloseCode::ServiceRestart, "the server restarts");
                continue;
            }
            why = &mut session_ended, if session_watched => {
                session_watched = false;
                queue.close(handler.session_code(), why);
                continue;
            }
            // What came while this task could not look counts: a process that was stopped finds it with the timer.
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
                // The answer to a close leaves with the next read.
                let _ = timeout(LINGER, stream.next()).await;
                return;
            }
            // After our close only the peer's is of interest.
            Some(_) if queue.is_closing() => continue,
            Some(Err(error)) => {
                match error.close_code() {
                    Some(code) => queue.close(code, "what was sent breaks the protocol"),
                    None => tracing::debug!(%error, "a socket broke"),
                }
                return;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(text))) if text.len() > TEXT_BYTES => {
                queue.close(
                    CloseCode::TooBig,
                    "a text message takes at most 65536 bytes",
                );
                continue;
            }
            Some(Ok(Message::Text(text))) => text_message(&text, queue, handler, &mut pings).await,
            Some(Ok(Message::Binary(bytes))) => handler.binary(bytes).await,
        };
        // From here, and not from the frame: the time that its handler took was not the client's.
        idle.as_mut().reset(Instant::now() + realtime.timing().idle);
        if let Err(error) = outcome {
            let ignored = error.code == ErrorCode::RateLimited && refusals.add() > REFUSALS;
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
) -> Result<(), SocketError> {
    match decode::<H::Contract>(text) {
        Ok(Decoded::Kit(SocketRequest::Ping { at })) => {
            if pings.add() > FREE_PINGS {
                handler.admit()?;
            }
            let connections = handler.connections();
            queue.push_json(&SocketControl::<()>::Pong {
                at,
                server_at: now_ms(),
                connections,
            });
            Ok(())
        }
        Ok(Decoded::Feature(command)) => handler.command(command).await,
        Err(error) => Err(handler.admit().err().unwrap_or(error)),
    }
}

enum Decoded<C> {
    Kit(SocketRequest),
    Feature(C),
}

/// Decodes a text message, or says in words what is wrong with it.
fn decode<C: SocketContract>(text: &str) -> Result<Decoded<C::Command>, SocketError> {
    const PING: &str = "ping";
    #[derive(Default, Deserialize)]
    struct Envelope {
        r#type: Option<serde_json::Value>,
        id: Option<serde_json::Value>,
        room: Option<serde_json::Value>,
    }
    let envelope = serde_json::from_str::<serde_json::Value>(text)
        .map_err(|error| format!("A message is one JSON object; this is no JSON: {error}."))
        .and_then(|value| match value.is_object() {
            true => Ok(Envelope::deserialize(value).unwrap_or_default()),
            false => Err("A message is one JSON object with a \"type\".".into()),
        })
        .map_err(|message| SocketError::new(ErrorCode::Malformed, message))?;
    let in_words = |code, message: String| {
        let mut error = SocketError::new(code, message);
        error.re = envelope
            .id
            .as_ref()
            .and_then(|id| id.as_str())
            .map(str::to_owned);
        error.room = envelope
            .room
            .as_ref()
            .and_then(|room| room.as_str())
            .map(str::to_owned);
        error
    };
    let Some(kind) = envelope.r#type.as_ref().and_then(|kind| kind.as_str()) else {
        return Err(in_words(
            ErrorCode::Malformed,
            "A message needs a \"type\" that is a string.".into(),
        ));
    };
    let bad_field =
        |error: serde_json::Error| in_words(ErrorCode::InvalidField, field_error(kind, &error));
    if kind == PING {
        serde_json::from_str(text)
            .map(Decoded::Kit)
            .map_err(bad_field)
    } else if C::COMMANDS.contains(&kind) {
        serde_json::from_str(text)
            .map(Decoded::Feature)
            .map_err(bad_field)
    } else {
        let known = C::COMMANDS.join(", ");
        Err(in_words(
            ErrorCode::UnknownType,
            format!("The types spoken here are {known}, {PING}."),
        ))
    }
}

/// What serde says of a field, in words for people who write clients in other languages.
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
            _ = ping.tick() => Batch { messages: vec![Message::Ping(Bytes::new())], close: None },
            // Before the first message that can be repeated the wish is kept.
            () = connection.repeat_asked(), if newest.is_some() => Batch { messages: newest.clone().into_iter().collect(), close: None },
        };
        if connection.may_break() {
            let mut newest_first = batch.messages.iter().rev();
            let repeatable = newest_first.find(|message| is_repeatable(message));
            newest = repeatable.cloned().or(newest);
        }
        let stalled = tokio::select! {
            biased;
            () = connection.unless_stalled() => false,
            _ = queue.closing() => true,
        };
        if stalled {
            return Ended::Stuck;
        }
        let last = batch.close.is_some();
        let patience = STALLED + TIME_A_KIB * batch.kibibytes();
        let sending = async {
            for message in batch.messages {
                sink.feed(message).await?;
            }
            if let Some(close) = batch.close {
                sink.feed(Message::Close(Some(close))).await?;
            }
            sink.flush().await
        };
        // A peer that stopped reading holds the write for ever; once a close is asked for, it has only a little longer.
        let given_up = async {
            let closing = timeout(patience, queue.closing()).await;
            if closing.is_ok() {
                sleep(FAREWELL).await;
            }
        };
        let sent = tokio::select! {
            sent = sending => sent.is_ok(),
            () = given_up => return Ended::Stuck,
        };
        if last || !sent {
            return Ended::Cleanly;
        }
    }
}

/// Counts within a window of time, one window after the other.
struct WindowCounter {
    window: Duration,
    count: u32,
    since: Option<Instant>,
}

impl WindowCounter {
    fn new(window: Duration) -> Self {
        let (count, since) = (0, None);
        Self {
            window,
            count,
            since,
        }
    }

    /// Counts one more; how many there are in this window.
    fn add(&mut self) -> u32 {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since > self.window) {
            (self.count, self.since) = (0, Some(now));
        }
        self.count += 1;
        self.count
    }
}

impl ReadError for axum::Error {
    fn close_code(&self) -> Option<CloseCode> {
        use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};
        let source = std::error::Error::source(self)?;
        match source.downcast_ref::<Error>()? {
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
