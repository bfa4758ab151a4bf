//! The task that follows a channel's log and delivers its messages.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::{sync::watch, time::sleep};

use super::{Channel, ChannelState, Follow, Log, LogError, PAGE};
use crate::channel::ChannelContract;

/// Pause between two attempts to read a log that cannot be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

impl<C, L, S> Channel<C, L, S>
where
    C: ChannelContract,
    L: Log<Message = C::Message>,
    S: ChannelState<C::Message>,
{
    /// Delivers the messages of the log, for as long as the channel exists. Ends with the channel, which it does not keep.
    ///
    /// One such task runs at a time. If it panicked, another one goes on from what was delivered to all members. Members that
    /// got more before the panic do not get it twice, because each member's position is kept.
    pub fn follow(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<C, L, S> {
        self.follow_with(stream::pending::<()>(), |_, ()| ())
    }

    /// Like [`Channel::follow`]. Also calls `deliver` with each of the notices: volatile messages that are in no log, such as
    /// who is typing. A notice that was received before a message is delivered before it. The notices must not end before
    /// the channel.
    pub fn follow_with<N, T, F>(
        self: &Arc<Self>,
        mut notices: T,
        deliver: F,
    ) -> impl Future<Output = ()> + Send + use<C, L, S, N, T, F>
    where
        N: Send,
        T: Stream<Item = N> + Send + Unpin,
        F: Fn(&Self, N) + Send,
    {
        let mut log = self.log.follow(self.delivered());
        let (this, alive) = (Arc::downgrade(self), self.alive.subscribe());
        async move {
            let mut ended = pin!(ended(alive));
            loop {
                let next = {
                    // One read is completed, however many notices come meanwhile: restarted for each of them, it might never
                    // complete.
                    let mut next = pin!(log.next(PAGE));
                    loop {
                        tokio::select! {
                            next = &mut next => break next,
                            () = &mut ended => return,
                            Some(notice) = notices.next() => {
                                let Some(this) = this.upgrade() else { return };
                                deliver(&this, notice);
                            }
                        }
                    }
                };
                let Some(this) = this.upgrade() else { return };
                // Notices first: sent after the message that ends it, the typing would seem to go on.
                while let Some(Some(notice)) = notices.next().now_or_never() {
                    deliver(&this, notice);
                }
                match next {
                    Ok(entries) => {
                        let queues = this.deliver(&entries);
                        drop(this);
                        queues.write().await;
                    }
                    Err(LogError::Truncated { floor }) => {
                        this.skip_to(floor);
                        log = this.log.follow(floor);
                    }
                    Err(LogError::Closed) => return,
                    Err(error) => {
                        let channel = &this.name;
                        tracing::warn!(%channel, %error, "a channel's new messages cannot be read; trying again");
                        drop(this);
                        sleep(READ_AGAIN).await;
                    }
                }
            }
        }
    }
}

/// Resolves when the sender is dropped; nothing is ever sent.
async fn ended(mut alive: watch::Receiver<()>) {
    while alive.changed().await.is_ok() {}
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
