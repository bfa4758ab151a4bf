//! Answers a request with an event stream: headers, resume, events, heartbeats, drain.
//!
//! The format is defined by the WHATWG HTML standard, section 9.2.5 "Parsing an event stream".

use std::{
    convert::Infallible,
    future::Future,
    hash::Hash,
    marker::PhantomData,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts, Query},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    FutureExt,
    future::{self, BoxFuture, Fuse, FusedFuture},
    stream,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    clock::now_ms,
    counted::Counted,
    frame::frame,
    metric,
    permits::Permit,
    realtime::{ClientAddress, Realtime, Timing},
    registry::Connection,
    topic::{Opened, Pending, Reader, Selection, Topic},
};
use crate::{
    contract::StreamContract,
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
struct ResumeFrom(Option<Position>);

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

/// A request for the event stream of the contract `C`: everything that answering it takes.
///
/// It is an extractor for handlers whose state gives a [`Realtime`] (axum's `FromRef`). It holds the position from which the
/// client resumes, the client's address and the connection's handle; [`StreamRequest::respond`] takes the permit of the
/// address and heeds the drain.
pub struct StreamRequest<C> {
    realtime: Realtime,
    after: Option<Position>,
    address: Option<ClientAddress>,
    connection: Connection,
    session_ended: BoxFuture<'static, ()>,
    contract: PhantomData<C>,
}

impl<C: StreamContract, S: Send + Sync> FromRequestParts<S> for StreamRequest<C>
where
    Realtime: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let realtime = Realtime::from_ref(state);
        let ResumeFrom(after) = ResumeFrom::from_request_parts(parts, state).await?;
        Ok(Self {
            after,
            address: ClientAddress::of_request(parts),
            connection: realtime.connection(parts),
            session_ended: future::pending().boxed(),
            contract: PhantomData,
            realtime,
        })
    }
}

impl<C: StreamContract> StreamRequest<C> {
    /// The connection, for instance to record whose it is.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Ends the stream when `ended` resolves, for a stream that only the users of a session may read.
    pub fn until(mut self, ended: impl Future<Output: Send> + Send + 'static) -> Self {
        self.session_ended = async { drop(ended.await) }.boxed();
        self
    }

    /// The response with all events of a topic whose state is its newest event; see [`Topic::latest`].
    pub fn respond_latest(self, topic: &Topic<C::Event>) -> Response
    where
        C::Event: Clone,
    {
        self.respond(topic, |newest| vec![newest.clone()])
    }

    /// The response with all events of a topic; see [`StreamRequest::respond_with`]. `snapshot` makes the events that give
    /// the topic's state to a client that does not resume.
    pub fn respond<T, K>(
        self,
        topic: &Topic<T, K>,
        snapshot: impl FnOnce(&T) -> Vec<C::Event>,
    ) -> Response
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.respond_with(topic, Selection::all(), |state, _| snapshot(state))
    }

    /// The response with selected events of a topic: comment, `retry:`, `hello`, the missed events or the snapshot, then
    /// live events until the topic or the session ends, the server drains or the client disconnects.
    ///
    /// It is 204 if the topic has ended and the client has its last event, because a browser does not reconnect after that
    /// (WHATWG HTML, section 9.2.3). It is 429 if the client's address has all of its permits. For `snapshot` see
    /// [`Topic::open`].
    pub fn respond_with<T, K, E: Serialize>(
        self,
        topic: &Topic<T, K>,
        selection: Selection<K>,
        snapshot: impl FnOnce(&T, &dyn Fn(&K) -> bool) -> Vec<E>,
    ) -> Response
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        let end = topic.end_position();
        if end.is_some_and(|end| self.after.as_ref().is_some_and(|after| *after >= end)) {
            return StatusCode::NO_CONTENT.into_response();
        }
        let permit = match self.realtime.permit(self.address) {
            Ok(permit) => permit,
            Err(refused) => return self.realtime.refuse(refused),
        };
        let after = self.after.filter(|_| !self.connection.has_expired());
        let opened = topic.open(after.as_ref(), selection, snapshot);
        let counted = Counted::new(topic.connections().clone(), "sse", C::NAME);
        if let Some(replayed) = opened.recovered {
            metric::endpoint_counter("replayed_events", C::NAME).increment(replayed as u64);
        }
        let timing = self.realtime.timing();
        let hello = hello(&opened, &self.connection, timing, topic.connection_count());
        let mut opening = BytesMut::new();
        // In one block with `hello`: a separate block would have no data, and some clients report that as an empty
        // event.
        let (server, name) = (self.realtime.name(), C::NAME);
        opening.put_slice(format!(": {server} {name}\nretry: {RETRY_MS}\n").as_bytes());
        opening.put_slice(&hello);
        opened
            .state
            .iter()
            .for_each(|state| opening.put_slice(state));
        let period = timing.heartbeat;
        let mut heartbeat = interval_at(Instant::now() + period, period);
        // A connection that was blocked for a minute gets one heartbeat afterwards, not four.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Held by the stream itself: under another accept loop the drain would not wait for it.
        let hold = self.realtime.drain().hold();
        let live = Live {
            opening: Some(opening.freeze()),
            reader: opened.reader,
            heartbeat,
            realtime: self.realtime,
            connections: topic.connections().clone(),
            session_ended: self.session_ended.fuse(),
            connection: self.connection,
            newest: None,
            finished: false,
            _counted: (counted, permit, hold),
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
}

fn hello<K: Clone + Eq + Hash>(
    opened: &Opened<K>,
    connection: &Connection,
    timing: &Timing,
    connections: usize,
) -> Bytes {
    let at = opened.reader.written();
    let hello = StreamControl::Hello(Hello {
        connection: connection.id().to_owned(),
        epoch: at.epoch.clone(),
        offset: at.offset,
        recovered: opened.recovered.is_some(),
        replayed: opened.recovered.unwrap_or(0),
        heartbeat_ms: timing.heartbeat.as_millis() as u64,
        connections,
    });
    // Without a recovered position `hello` has no id: if the connection is cut here, the client must not skip events
    // that it has not received.
    frame(opened.recovered.map(|_| &at), &hello)
}

/// The last event of a sequence of encoded events.
fn last_event(events: &[u8]) -> &[u8] {
    const END: &[u8] = b"\n\n";
    let before = &events[..events.len().saturating_sub(END.len())];
    let begin = before.windows(END.len()).rposition(|bytes| bytes == END);
    &events[begin.map_or(0, |end| end + END.len())..]
}

/// Headers that keep proxies and caches from buffering, storing or compressing a stream.
fn stream_headers() -> [(header::HeaderName, HeaderValue); 3] {
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
    _counted: (Counted, Option<Permit>, TaskTrackerToken),
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Live<K> {
    /// The next bytes to write. It is called only when the connection can accept more, so nothing accumulates here.
    async fn next(&mut self) -> Option<Bytes> {
        if self.finished {
            return None;
        }
        let drain = self.realtime.drain().clone();
        loop {
            let session_ended = &mut self.session_ended;
            if session_ended.is_terminated() || session_ended.now_or_never().is_some() {
                return None;
            }
            if let Some(opening) = self.opening.take() {
                return Some(opening);
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
