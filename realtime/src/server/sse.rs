//! Answers a request with an event stream: headers, resume, events, heartbeats, drain.
//!
//! The format is defined by the WHATWG HTML standard, section 9.2.5 "Parsing an event stream".

use std::{convert::Infallible, future::Future, hash::Hash, marker::PhantomData};

use axum::{
    Extension,
    body::Body,
    extract::{FromRef, FromRequestParts, Query},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use serde::{Deserialize, Serialize};

use super::{
    counted::Counted,
    frame::frame,
    listen::{LiveBody, Reading},
    metric,
    realtime::{ClientAddress, Realtime, Timing},
    registry::Connection,
    stream_body::StreamBody,
    topic::{Opened, Selection, Topic},
};
use crate::{
    contract::StreamContract,
    message::{Hello, StreamControl},
    position::Position,
};

/// Reconnect delay in milliseconds for clients that reconnect by themselves. The kit's own client computes its delays.
const RETRY_MS: u64 = 2_000;

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

    /// The position after which the client resumes, if it sent one that can be read. A mirror waits for it
    /// ([`Mirror::reach`](super::mirror::Mirror::reach)).
    pub fn after(&self) -> Option<&Position> {
        self.after.as_ref()
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
        K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
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
        K: Clone + Eq + Hash + Send + Sync + Unpin + 'static,
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
        // Held by the stream itself: under another accept loop the drain would not wait for it.
        let hold = self.realtime.drain().hold();
        let reading = Reading(opened.reader.signal().clone());
        let body = StreamBody::new(
            opening.freeze(),
            opened.reader,
            self.realtime,
            topic.connections().clone(),
            self.connection,
            self.session_ended,
            (counted, permit, hold),
        );
        let extensions = (Extension(LiveBody), Extension(reading));
        (stream_headers(), extensions, Body::new(body)).into_response()
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

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
