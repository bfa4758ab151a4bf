//! Resets a single HTTP/2 stream when its peer reads none of it, without ending the connection.
//!
//! hyper runs each stream as a task. While the peer's flow-control window is closed, that task waits inside hyper and
//! polls neither the handler nor the body. So the tasks are wrapped where they are spawned. Dropping a task resets its
//! stream and does not affect the others.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use hyper::{
    body::{Body as HttpBody, Frame, SizeHint},
    rt::Executor,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    activity::ActiveRequest,
    patience::{Patience, Timer},
};
use crate::server::{drain::Drain, metric};

tokio::task_local! {
    /// The stream of the current task.
    static STREAM: Arc<Stream>;
}

/// The state of a stream, shared by its tasks, its body and its handle.
#[derive(Debug, Default)]
pub(super) struct Stream {
    ended: CancellationToken,
    /// When hyper took a chunk of the body; `None` once it has polled for the next one.
    /// A std mutex: it is held for one assignment.
    chunk_taken_at: Mutex<Option<Instant>>,
}

impl Stream {
    /// The stream of the current task; `None` over HTTP/1.1.
    pub fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// Resets the stream.
    pub fn end(&self) {
        self.ended.cancel();
    }

    fn chunk_taken_at(&self) -> Option<Instant> {
        *self
            .chunk_taken_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set_chunk_taken_at(&self, at: Option<Instant>) {
        *self
            .chunk_taken_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Spawns the tasks of streams.
#[derive(Clone)]
pub(super) struct Streams {
    pub patience: Patience,
    pub drain: Drain,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        // An upgraded socket sends from a task of its own. The stream's task spawns it, so it gets the same stream.
        let stream = Stream::current().unwrap_or_default();
        let watched = watch(task, stream.clone(), self.patience, self.drain.clone());
        tokio::spawn(STREAM.scope(stream, watched));
    }
}

/// Runs a task until it ends, its stream is reset, or the peer has read nothing for too long. Then the task is dropped.
async fn watch(task: impl Future, stream: Arc<Stream>, patience: Patience, drain: Drain) {
    let mut task = pin!(task);
    let mut ended = pin!(stream.ended.cancelled());
    let mut drain_started = pin!(drain.started());
    let (mut draining, mut timer) = (false, Timer::default());
    poll_fn(|context| {
        if task.as_mut().poll(context).is_ready() || ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        draining = draining || drain_started.as_mut().poll(context).is_ready();
        let Some(taken_at) = stream.chunk_taken_at() else {
            return Poll::Pending;
        };
        let given_up = timer.poll_at(taken_at + patience.stall(draining), context);
        if given_up.is_ready() {
            metric::counter("stalled_readers").increment(1);
            tracing::debug!("the peer reads nothing of a stream; the stream is reset");
        }
        given_up
    })
    .await;
}

/// The body of a response. The request counts as running until the body is dropped.
pub(super) struct Answer {
    pub body: Body,
    pub stream: Option<Arc<Stream>>,
    pub _active: ActiveRequest,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if let Some(stream) = &this.stream {
            let is_taken = matches!(frame, Poll::Ready(Some(_)));
            stream.set_chunk_taken_at(is_taken.then(Instant::now));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
