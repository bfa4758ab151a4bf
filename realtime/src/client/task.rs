//! Runs a future that is dropped together with its handle.

use std::future::Future;

use futures::future::{AbortHandle, Aborted, LocalBoxFuture, abortable};

use super::platform::spawn;

/// A running future. When this is dropped, the future is not polled again: nothing that follows its next `await` happens.
pub(super) struct Task(AbortHandle);

impl Task {
    pub(super) fn spawn(future: impl Future<Output = ()> + 'static) -> Self {
        // Boxed, so that the code around it exists once and not for each future.
        let future: LocalBoxFuture<'static, ()> = Box::pin(future);
        let (task, future) = Self::new(future);
        spawn(Box::pin(async move {
            let _ = future.await;
        }));
        task
    }

    fn new(
        future: impl Future<Output = ()> + 'static,
    ) -> (Self, impl Future<Output = Result<(), Aborted>> + 'static) {
        let (future, handle) = abortable(future);
        (Self(handle), future)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, task::Poll};

    use futures::{FutureExt, channel::oneshot, task::noop_waker_ref};

    use super::*;

    /// Polls a task once; returns whether it has ended.
    fn poll(future: &mut (impl Future + Unpin)) -> bool {
        let mut context = std::task::Context::from_waker(noop_waker_ref());
        matches!(future.poll_unpin(&mut context), Poll::Ready(_))
    }

    #[test]
    fn an_answer_that_arrives_after_the_task_was_dropped_has_no_effect() {
        for dropped in [false, true] {
            let opened = Rc::new(Cell::new(false));
            let (answer, answered) = oneshot::channel::<()>();
            let opens = opened.clone();
            let (task, future) = Task::new(async move {
                let _ = answered.await;
                opens.set(true);
            });
            let mut future = Box::pin(future);
            assert!(!poll(&mut future));
            let task = (!dropped).then_some(task);
            let _ = answer.send(());
            assert!(poll(&mut future));
            assert_eq!(opened.get(), task.is_some());
        }
    }
}
