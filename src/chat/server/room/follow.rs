//! The task that follows a room's log and queues its messages for all live members, in the order of the log.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::extract::ws::Message;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{PAGE, Room};
use crate::{
    bus::{BusError, Event, Follower, Volatile},
    chat::{message::ChatEvent, server::log::decode},
};
use realtime::{close::CloseCode, server::queue::encode};

/// Pause between two attempts to read a log that cannot be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Delivers the messages of the log and the typing notices to the room, for as long as the room exists.
async fn follow(room: Weak<Room>, mut log: Follower, mut typing: Volatile) {
    loop {
        let next = {
            // One read is completed, however many users type meanwhile: restarted for each notice, it might never
            // complete.
            let mut next = pin!(log.next(PAGE));
            loop {
                tokio::select! {
                    next = &mut next => break next,
                    Some(bytes) = typing.next() => {
                        let Some(room) = room.upgrade() else { return };
                        room.broadcast_typing(&bytes);
                    }
                }
            }
        };
        let Some(room) = room.upgrade() else { return };
        // Typing first: sent after the message that ends it, the typing would seem to go on.
        typing
            .waiting()
            .iter()
            .for_each(|bytes| room.broadcast_typing(bytes));
        match next {
            Ok(events) => room.broadcast_messages(events),
            Err(BusError::Forgotten { floor }) => {
                room.skip_to(floor);
                log = room.log.follow(floor);
            }
            Err(BusError::Closed) => return,
            Err(error) => {
                tracing::warn!(room = room.name, %error, "a room's new messages cannot be read; trying again");
                drop(room);
                sleep(READ_AGAIN).await;
            }
        }
    }
}

impl Room {
    /// Starts the task that follows the log. It ends with the handle.
    pub(super) fn follow_from(
        self: &Arc<Self>,
        log: Follower,
        typing: Volatile,
    ) -> AbortOnDropHandle<()> {
        let this = Arc::downgrade(self);
        // A panic does not stop the room: the log is followed again from the offset that was delivered to all members.
        // Members that got more before the panic do not get it twice, because each member's position is kept.
        let mut first = Some((log, typing));
        let task = self.background.run("room", move || {
            let sources = first.take().or_else(|| Some(this.upgrade()?.sources()));
            let this = this.clone();
            async move {
                if let Some((log, typing)) = sources {
                    follow(this, log, typing).await;
                }
            }
        });
        AbortOnDropHandle::new(task)
    }

    /// The sources of the room's task: the log after `delivered_up_to`, and the typing notices.
    fn sources(&self) -> (Follower, Volatile) {
        let delivered = *self.delivered_up_to.borrow();
        let typing = self.bus.listen(&self.typing_subject());
        (self.log.follow(delivered), typing)
    }

    /// Queues new messages for all live members, in the order of the log.
    fn broadcast_messages(&self, events: Vec<Event>) {
        let Some(last) = events.last().map(|event| event.offset) else {
            return;
        };
        // Encoded once for all, and before the lock is taken.
        let encoded: Vec<(u64, Uuid, Message)> = events
            .into_iter()
            .map(|event| {
                let message = decode(event);
                let (offset, from) = (message.offset, message.from.id);
                let room = self.name.clone();
                (offset, from, encode(&ChatEvent::Message { room, message }))
            })
            .collect();
        let mut state = self.state();
        for (offset, from, message) in encoded {
            state.roster.clear_typing(from);
            for listener in state.listeners.values_mut() {
                // A member that read the message from the log has it already.
                if listener.live && listener.after < offset {
                    listener.after = offset;
                    listener.queue.push(message.clone());
                }
            }
        }
        self.delivered_up_to.send_replace(last);
    }

    fn broadcast_typing(&self, bytes: &[u8]) {
        if let Ok(user_id) = Uuid::from_slice(bytes) {
            let mut state = self.state();
            state.roster.set_typing(user_id, Instant::now());
            let room = self.name.clone();
            state.broadcast(&ChatEvent::Typing { room, user_id });
        }
    }

    /// Messages were dropped before they were delivered. A member that lacks them is closed; it reconnects and gets
    /// `recovered: false`. No member skips messages silently.
    fn skip_to(&self, floor: u64) {
        let state = self.state();
        for listener in state.listeners.values() {
            if listener.live && listener.after < floor {
                let reason = "what was missed is no longer held";
                listener.queue.close(CloseCode::TooSlow, reason);
            }
        }
        self.delivered_up_to.send_replace(floor);
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
