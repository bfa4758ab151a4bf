//! Polls a future only when it was woken.
//!
//! Two halves of one task wake it for each other in vain: where messages go out, the half that reads would be polled for
//! each of them, down to the socket.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;

/// A future with a waker of its own. However often it is polled, the future is polled only if it was woken since.
pub struct OnWake<F> {
    future: F,
    woken: Arc<Woken>,
    waker: Waker,
}

struct Woken {
    is_woken: AtomicBool,
    /// The task that polls the [`OnWake`].
    task: AtomicWaker,
}

impl<F: Future + Unpin> OnWake<F> {
    /// The future is polled the first time.
    pub fn new(future: F) -> Self {
        let woken = Arc::new(Woken {
            is_woken: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        let waker = woken.clone().into();
        Self {
            future,
            woken,
            waker,
        }
    }
}

impl<F: Future + Unpin> Future for OnWake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        // Before the flag is read, so that whatever sets it from here on wakes the task.
        this.woken.task.register(context.waker());
        if !this.woken.is_woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before the future is polled, so that it is polled again if it is woken meanwhile.
        this.woken.is_woken.store(false, Ordering::Release);
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn};

    use futures::{FutureExt, channel::oneshot};

    use super::*;

    #[test]
    fn a_future_is_polled_only_when_it_was_woken() {
        let polls = Cell::new(0);
        let (end, mut ended) = oneshot::channel();
        let future = poll_fn(|context| {
            polls.set(polls.get() + 1);
            ended.poll_unpin(context)
        });
        let mut on_wake = OnWake::new(future);
        for _ in 0..3 {
            assert!((&mut on_wake).now_or_never().is_none());
        }
        assert_eq!(polls.get(), 1);
        end.send("the end").unwrap();
        assert_eq!((&mut on_wake).now_or_never(), Some(Ok("the end")));
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn whatever_wakes_the_future_wakes_its_task() {
        let (end, ended) = oneshot::channel();
        let waiting = tokio::spawn(OnWake::new(ended));
        tokio::task::yield_now().await;
        end.send("the end").unwrap();
        assert_eq!(waiting.await.unwrap(), Ok("the end"));
    }

    #[tokio::test]
    async fn a_future_that_wakes_itself_goes_on() {
        let mut steps = 0;
        let stepping = poll_fn(|context| {
            steps += 1;
            context.waker().wake_by_ref();
            match steps {
                3 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        });
        OnWake::new(stepping).await;
        assert_eq!(steps, 3);
    }
}
