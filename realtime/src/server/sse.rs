//! Answers a request with an event stream: headers, resume, events, heartbeats, drain.
//!
//! The format is defined by the WHATWG HTML standard, section 9.2.5 "Parsing an event stream".

use std::{
    convert::Infallible,
    hash::Hash,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequestParts, Query},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    FutureExt,
    future::{self, BoxFuture, Fuse, FusedFuture},
    stream,
};
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use super::{
    Connection, Counted, Realtime,
    frame::frame,
    now_ms,
    permits::Permit,
    topic::{Pending, Reader, Topic},
};
use crate::{
    message::{Hello, StreamControl},
    position::Position,
};

/// Reconnect delay in milliseconds for clients that reconnect by themselves. The kit's own client computes its delays.
const RETRY_MS: u64 = 2_000;

/// Longest time that a stalled stream is kept. It is not written to, so a lost client would never be detected.
const STALLED_AT_MOST: Duration = Duration::from_secs(300);

/// Bytes passed to the connection at once; hyper's write buffer holds that much without growing.
const WRITE_BYTES: usize = 16 * 1024;

/// The position from which a client resumes: the header `Last-Event-ID`, otherwise the query `last_event_id`. An id
/// that does not parse counts as none: a client with a foreign id starts anew and gets no error.
#[derive(Clone, Debug, Default)]
pub struct ResumeFrom(pub Option<Position>);

impl<S: Send + Sync> FromRequestParts<S> for ResumeFrom {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        #[derive(Deserialize)]
        struct Resume {
            last_event_id: Option<String>,
        }
        let header = parts
            .headers
            .get("last-event-id")
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let id = match header {
            Some(id) => Some(id),
            None => Query::<Resume>::from_request_parts(parts, state)
                .await
                .ok()
                .and_then(|query| query.0.last_event_id),
        };
        Ok(Self(id.and_then(|id| id.parse().ok())))
    }
}

/// An event stream that is about to be sent.
pub struct EventStream<K> {
    pub reader: Reader<K>,
    /// `Some(n)`: recovered, n events are replayed. `None`: not recovered, the client starts from `state`.
    pub recovered: Option<usize>,
    /// Encoded state events that follow `hello`.
    pub state: Vec<Bytes>,
    /// Resolves when the stream's session ends, which ends the stream; `None` for a public stream.
    pub session_ended: Option<BoxFuture<'static, ()>>,
    pub connection: Connection,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> EventStream<K> {
    /// The response: comment, `retry:`, `hello`, the state and the missed events, then live events until the topic or
    /// the session ends, the server drains or the client disconnects.
    ///
    /// `name` is the endpoint's, for the comment and the metrics. `permit` belongs to the limit for each address.
    pub fn respond(
        self,
        topic: &Topic<K>,
        realtime: &Realtime,
        name: &'static str,
        permit: Permit,
    ) -> Response {
        let counted = Counted::new(topic.connections().clone(), "sse", name);
        if let Some(replayed) = self.recovered {
            metrics::counter!("wirewise_replayed_events", "endpoint" => name)
                .increment(replayed as u64);
        }
        let hello = self.hello(topic, realtime);
        let mut opening = BytesMut::new();
        // In one block with `hello`: a separate block would have no data, and some clients report that as an empty
        // event.
        opening.put_slice(format!(": wirewise {name}\nretry: {RETRY_MS}\n").as_bytes());
        opening.put_slice(&hello);
        self.state.iter().for_each(|state| opening.put_slice(state));
        let period = realtime.timing().heartbeat;
        let mut heartbeat = interval_at(Instant::now() + period, period);
        // A connection that was blocked for a minute gets one heartbeat afterwards, not four.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let session_ended = self
            .session_ended
            .unwrap_or_else(|| future::pending().boxed());
        let live = Live {
            opening: Some(opening.freeze()),
            reader: self.reader,
            heartbeat,
            realtime: realtime.clone(),
            connections: topic.connections().clone(),
            session_ended: session_ended.fuse(),
            connection: self.connection,
            newest: None,
            finished: false,
            _counted: (counted, permit),
        };
        let body = Body::from_stream(stream::unfold(live, async |mut live| {
            let bytes = live.next().await?;
            tokio::select! {
                // Polled first, otherwise a draining server would sometimes drop its own drain frame.
                biased;
                () = live.connection.unless_stalled() => Some((Ok::<_, Infallible>(bytes), live)),
                // A stalled stream sends nothing. It ends with its session, when the server drains, or after a time
                // limit.
                () = &mut live.session_ended => None,
                () = live.realtime.drain().started() => None,
                () = sleep(STALLED_AT_MOST) => None,
            }
        }));
        (stream_headers(), body).into_response()
    }

    fn hello(&self, topic: &Topic<K>, realtime: &Realtime) -> Bytes {
        let at = self.reader.written();
        let hello = StreamControl::Hello(Hello {
            connection: self.connection.id().to_owned(),
            epoch: at.epoch.clone(),
            offset: at.offset,
            recovered: self.recovered.is_some(),
            replayed: self.recovered.unwrap_or(0),
            heartbeat_ms: realtime.timing().heartbeat.as_millis() as u64,
            connections: topic.connection_count(),
        });
        // Without a recovered position `hello` has no id: if the connection is cut here, the client must not skip
        // events that it has not received.
        frame(self.recovered.map(|_| &at), &hello)
    }
}

/// The last event of a sequence of encoded events.
fn last_event(events: &[u8]) -> &[u8] {
    const END: &[u8] = b"\n\n";
    let before = &events[..events.len().saturating_sub(END.len())];
    let begin = before.windows(END.len()).rposition(|bytes| bytes == END);
    &events[begin.map_or(0, |end| end + END.len())..]
}

/// Headers that keep proxies and caches from buffering, storing or compressing a stream.
pub fn stream_headers() -> [(header::HeaderName, HeaderValue); 3] {
    [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-transform"),
        ),
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ]
}

/// The state of an open stream.
struct Live<K> {
    opening: Option<Bytes>,
    reader: Reader<K>,
    heartbeat: Interval,
    realtime: Realtime,
    connections: Arc<AtomicUsize>,
    session_ended: Fuse<BoxFuture<'static, ()>>,
    connection: Connection,
    /// The last event, if the connection may be asked to repeat it.
    newest: Option<Bytes>,
    finished: bool,
    /// Released when the response body is dropped, however the stream ends.
    _counted: (Counted, Permit),
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Live<K> {
    /// The next bytes to write. It is called only when the connection can accept more, so nothing accumulates here.
    async fn next(&mut self) -> Option<Bytes> {
        if self.finished {
            return None;
        }
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        let drain = self.realtime.drain().clone();
        loop {
            let session_ended = &mut self.session_ended;
            if session_ended.is_terminated() || session_ended.now_or_never().is_some() {
                return None;
            }
            // Checked before the events, otherwise a stream that is always busy would never send a heartbeat.
            if self.heartbeat.tick().now_or_never().is_some() {
                return Some(self.heartbeat_frame());
            }
            // The request is kept until there is a first event.
            if let Some(newest) = &self.newest
                && self.connection.repeat_asked().now_or_never().is_some()
            {
                return Some(newest.clone());
            }
            let pending = self.reader.take(WRITE_BYTES);
            if drain.is_draining() {
                self.finished = true;
                return Some(self.drain_frame(pending));
            }
            match pending {
                Pending::Events(bytes) => {
                    if self.connection.may_break() {
                        // A copy, because a slice would keep the much larger batch in memory.
                        self.newest = Some(Bytes::copy_from_slice(last_event(&bytes)));
                    }
                    return Some(bytes);
                }
                Pending::Ended | Pending::Lagged => return None,
                Pending::Nothing => {}
            }
            tokio::select! {
                () = drain.started() => {}
                () = &mut self.session_ended => {}
                _ = self.heartbeat.tick() => return Some(self.heartbeat_frame()),
                () = self.reader.changed() => {}
                () = self.connection.repeat_asked(), if self.newest.is_some() => return self.newest.clone(),
            }
        }
    }

    fn heartbeat_frame(&mut self) -> Bytes {
        let connections = self.connections.load(std::sync::atomic::Ordering::Relaxed);
        frame(
            Some(&self.reader.position()),
            &StreamControl::Heartbeat {
                at: now_ms(),
                connections,
            },
        )
    }

    fn drain_frame(&mut self, pending: Pending) -> Bytes {
        let mut bytes = BytesMut::new();
        if let Pending::Events(events) = pending {
            bytes.put_slice(&events);
        }
        let retry_ms = self.realtime.drain().retry_ms();
        bytes.put_slice(format!("retry: {retry_ms}\n").as_bytes());
        bytes.put_slice(&frame(
            Some(&self.reader.position()),
            &StreamControl::Drain { retry_ms },
        ));
        bytes.freeze()
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
