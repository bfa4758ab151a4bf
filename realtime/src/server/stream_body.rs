//! The body of an event stream: events, heartbeats, and the end at the drain, at the end of the session or of the topic.

use std::{
    convert::Infallible,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::HttpBody;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    FutureExt,
    future::{BoxFuture, Fuse},
};
use hyper::body::Frame;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    clock::now_ms,
    counted::Counted,
    frame::frame,
    permits::Permit,
    realtime::Realtime,
    registry::Connection,
    topic::{Pending, Reader},
};
use crate::message::StreamControl;

/// Longest time that a stalled stream is kept. It is not written to, so a lost client would never be detected.
const STALLED_AT_MOST: Duration = Duration::from_secs(300);

/// Bytes passed to the connection at once. A connection whose peer does not read holds a few such pieces.
const WRITE_BYTES: usize = 8 * 1024;

/// The body of an open stream. It is polled only when the connection can accept more, so nothing accumulates here.
pub struct StreamBody<K: Clone + Eq + Hash> {
    /// What is sent first.
    opening: Option<Bytes>,
    reader: Reader<K>,
    rare: Rare,
    realtime: Realtime,
    connections: Arc<AtomicUsize>,
    connection: Connection,
    /// The last event, if the connection may be asked to repeat it.
    newest: Option<Bytes>,
    /// Set once the body has ended.
    is_finished: bool,
    /// Released when the response body is dropped, however the stream ends.
    _held: Held,
}

/// What a stream holds while it is open: its place in the counts of its endpoint and of its address, and in the drain.
pub type Held = (Counted, Option<Permit>, TaskTrackerToken);

/// What happens seldom to a stream. Each of these wakes `waker`, whose flag says that they are to be polled: a stream that
/// only sends events polls none of them.
struct Rare {
    waker: Waker,
    session_ended: Fuse<BoxFuture<'static, ()>>,
    drain_started: Fuse<BoxFuture<'static, ()>>,
    is_draining: bool,
    heartbeat: Interval,
    is_heartbeat_due: bool,
    /// `None` where the connection cannot be asked to repeat.
    repeat_asked: Option<BoxFuture<'static, ()>>,
    /// A repeat was asked for. It is kept until there is a first event.
    is_repeat_due: bool,
    /// Set once the connection is stalled.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> StreamBody<K> {
    pub fn new(
        opening: Bytes,
        reader: Reader<K>,
        realtime: Realtime,
        connections: Arc<AtomicUsize>,
        connection: Connection,
        session_ended: BoxFuture<'static, ()>,
        held: Held,
    ) -> Self {
        let period = realtime.timing().heartbeat;
        let mut heartbeat = interval_at(Instant::now() + period, period);
        // A connection that was blocked for a minute gets one heartbeat afterwards, not four.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let drain = realtime.drain().clone();
        let rare = Rare {
            waker: reader.signal().clone().into(),
            session_ended: session_ended.fuse(),
            drain_started: async move { drain.started().await }.boxed().fuse(),
            is_draining: false,
            heartbeat,
            is_heartbeat_due: false,
            repeat_asked: connection.may_break().then(|| repeat_asked(&connection)),
            is_repeat_due: false,
            stall: None,
        };
        Self {
            opening: Some(opening),
            reader,
            rare,
            realtime,
            connections,
            connection,
            newest: None,
            is_finished: false,
            _held: held,
        }
    }

    /// The next bytes; `None` at the end.
    fn next(&mut self) -> Poll<Option<Bytes>> {
        if self.is_finished {
            return Poll::Ready(None);
        }
        if self.reader.signal().take_others() && self.poll_rare().is_ready() {
            return self.finish(None);
        }
        if self.rare.stall.is_some() {
            return Poll::Pending;
        }
        let next = self.next_unless_stalled();
        if matches!(next, Poll::Ready(Some(_))) && self.connection.is_stalled() {
            // A stalled stream sends nothing. It ends with its session, when the server drains, or after a time limit.
            self.is_finished = false;
            self.rare.stall = Some(Box::pin(sleep(STALLED_AT_MOST)));
            if self.poll_rare().is_ready() {
                return self.finish(None);
            }
            return Poll::Pending;
        }
        next
    }

    fn next_unless_stalled(&mut self) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening));
        }
        // Before the events, otherwise a stream that is always busy would never send a heartbeat.
        if std::mem::take(&mut self.rare.is_heartbeat_due) {
            return Poll::Ready(Some(self.heartbeat_frame()));
        }
        if self.rare.is_repeat_due
            && let Some(newest) = &self.newest
        {
            self.rare.is_repeat_due = false;
            return Poll::Ready(Some(newest.clone()));
        }
        let pending = self.reader.take(WRITE_BYTES);
        if self.rare.is_draining {
            let last = self.drain_frame(pending);
            return self.finish(Some(last));
        }
        match pending {
            Pending::Events(bytes) => {
                if self.connection.may_break() {
                    // A copy, because a slice would keep the much larger batch in memory.
                    self.newest = Some(Bytes::copy_from_slice(last_event(&bytes)));
                }
                Poll::Ready(Some(bytes))
            }
            Pending::Ended | Pending::Lagged => self.finish(None),
            Pending::Nothing => Poll::Pending,
        }
    }

    /// Polls what happens seldom. Ready if the stream ends now, without a further word.
    fn poll_rare(&mut self) -> Poll<()> {
        let rare = &mut self.rare;
        let mut context = Context::from_waker(&rare.waker);
        if rare.session_ended.poll_unpin(&mut context).is_ready() {
            return Poll::Ready(());
        }
        rare.is_draining |= rare.drain_started.poll_unpin(&mut context).is_ready();
        if let Some(stall) = &mut rare.stall {
            let is_over = stall.as_mut().poll(&mut context).is_ready();
            return match is_over || rare.is_draining {
                true => Poll::Ready(()),
                false => Poll::Pending,
            };
        }
        while rare.heartbeat.poll_tick(&mut context).is_ready() {
            rare.is_heartbeat_due = true;
        }
        while let Some(asked) = &mut rare.repeat_asked
            && asked.poll_unpin(&mut context).is_ready()
        {
            rare.is_repeat_due = true;
            rare.repeat_asked = Some(repeat_asked(&self.connection));
        }
        Poll::Pending
    }

    fn finish(&mut self, last: Option<Bytes>) -> Poll<Option<Bytes>> {
        self.is_finished = true;
        Poll::Ready(last)
    }

    fn heartbeat_frame(&mut self) -> Bytes {
        let connections = self.connections.load(Ordering::Relaxed);
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

impl<K: Clone + Eq + Hash + Send + Sync + Unpin + 'static> HttpBody for StreamBody<K> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        // First, so that what happens from here on wakes the task.
        this.reader.signal().register(context.waker());
        this.next().map(|bytes| Some(Ok(Frame::data(bytes?))))
    }
}

fn repeat_asked(connection: &Connection) -> BoxFuture<'static, ()> {
    let connection = connection.clone();
    async move { connection.repeat_asked().await }.boxed()
}

/// The last event of a sequence of encoded events.
fn last_event(events: &[u8]) -> &[u8] {
    const END: &[u8] = b"\n\n";
    let before = &events[..events.len().saturating_sub(END.len())];
    let begin = before.windows(END.len()).rposition(|bytes| bytes == END);
    &events[begin.map_or(0, |end| end + END.len())..]
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Sample {
        Text { text: String },
    }

    #[test]
    fn the_last_event_of_a_sequence_is_found() {
        let event = |text: &str| frame(None, &Sample::Text { text: text.into() });
        let several = Bytes::from([event("one"), event("two"), event("three")].concat());
        assert_eq!(last_event(&several), event("three"));
        assert_eq!(last_event(&event("one")), event("one"));
        let several_lines = "id: a-1\nevent: text\ndata: {\ndata: \ndata: }\n\n";
        assert_eq!(
            last_event(several_lines.as_bytes()),
            several_lines.as_bytes()
        );
    }
}
