//! One stream of an HTTP/2 connection: ended alone when its peer takes nothing of it, or when it is reset.
//!
//! hyper runs each stream as a task. While the peer leaves its window shut, that task waits inside hyper, and asks neither the
//! handler nor the body. So the tasks are wrapped where they are spawned. A task that is dropped resets its stream, and
//! leaves the others alone.

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
use crate::server::drain::Drain;

tokio::task_local! {
    /// The stream whose task this is.
    static STREAM: Arc<Stream>;
}

/// A stream, as its tasks, its body and its handle share it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    ended: CancellationToken,
    /// When hyper took a piece of the body and has not asked for the next one since.
    /// A std mutex: it is held for one assignment.
    taken: Mutex<Option<Instant>>,
}

impl Stream {
    /// The stream of the task that runs; none over HTTP/1.1.
    pub fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// Resets the stream.
    pub fn end(&self) {
        self.ended.cancel();
    }

    fn taken(&self) -> Option<Instant> {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_taken(&self, taken: Option<Instant>) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = taken;
    }
}

/// Runs the tasks of streams.
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
        // What an upgraded socket sends is a task of its own, which the stream's task begins: it belongs to the same stream.
        let stream = Stream::current().unwrap_or_default();
        let watched = watch(task, stream.clone(), self.patience, self.drain.clone());
        tokio::spawn(STREAM.scope(stream, watched));
    }
}

/// Runs a task until it ends, or its stream shall end; then it is dropped.
async fn watch(task: impl Future, stream: Arc<Stream>, patience: Patience, drain: Drain) {
    let mut task = pin!(task);
    let mut ended = pin!(stream.ended.cancelled());
    let mut draining = pin!(drain.started());
    let (mut leaving, mut timer) = (false, Timer::default());
    poll_fn(|context| {
        if task.as_mut().poll(context).is_ready() || ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        leaving = leaving || draining.as_mut().poll(context).is_ready();
        let Some(taken) = stream.taken() else {
            return Poll::Pending;
        };
        let given_up = timer.poll_at(taken + patience.stall(leaving), context);
        if given_up.is_ready() {
            metrics::counter!("wirewise_stalled_readers").increment(1);
            tracing::debug!("the peer takes nothing of a stream, which is reset");
        }
        given_up
    })
    .await;
}

/// The body of an answer. The request goes on until it is dropped.
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
            stream.set_taken(is_taken.then(Instant::now));
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
