//! The task that follows a room's log and tells what it brings to all live members, in the order of the log.

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

/// Between two tries to read a log that cannot be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Tells a room what its log brings, for as long as there is the room.
async fn follow(hall: Weak<Room>, mut log: Follower, mut typing: Volatile) {
    loop {
        let next = {
            // One read to its end, however many type meanwhile: begun anew for each of them, it might never come to one.
            let mut next = pin!(log.next(PAGE));
            loop {
                tokio::select! {
                    next = &mut next => break next,
                    Some(bytes) = typing.next() => {
                        let Some(hall) = hall.upgrade() else { return };
                        hall.tell_typing(&bytes);
                    }
                }
            }
        };
        let Some(hall) = hall.upgrade() else { return };
        // Typing first: told after the message that ends it, it would seem to go on.
        typing
            .waiting()
            .iter()
            .for_each(|bytes| hall.tell_typing(bytes));
        match next {
            Ok(events) => hall.tell_messages(events),
            Err(BusError::Forgotten { floor }) => {
                hall.skip_to(floor);
                log = hall.log.follow(floor);
            }
            Err(BusError::Closed) => return,
            Err(error) => {
                tracing::warn!(room = hall.name, %error, "a room's new messages cannot be read; trying again");
                drop(hall);
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
        // A panic leaves no dead room: its log is followed anew from what all members were told. Those who were told
        // more before it are not told again, because each member's place is kept.
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

    /// What the room's task follows: the log from what all live members were told, and who types.
    fn sources(&self) -> (Follower, Volatile) {
        let told = *self.told.borrow();
        let typing = self.bus.listen(&self.typing_subject());
        (self.log.follow(told), typing)
    }

    /// Tells new messages to all live members, in the order of the log.
    fn tell_messages(&self, events: Vec<Event>) {
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
            state.room.typed(from);
            for listener in state.listeners.values_mut() {
                // Whoever read it from the log has it already.
                if listener.live && listener.after < offset {
                    listener.after = offset;
                    listener.queue.push(message.clone());
                }
            }
        }
        self.told.send_replace(last);
    }

    fn tell_typing(&self, bytes: &[u8]) {
        if let Ok(user_id) = Uuid::from_slice(bytes) {
            let mut state = self.state();
            state.room.types(user_id, Instant::now());
            let room = self.name.clone();
            state.tell(&ChatEvent::Typing { room, user_id });
        }
    }

    /// Messages were dropped before they were told. Whoever lacks them comes again and is told so; nobody skips silently.
    fn skip_to(&self, floor: u64) {
        let state = self.state();
        for listener in state.listeners.values() {
            if listener.live && listener.after < floor {
                let reason = "what was missed is no longer held";
                listener.queue.close(CloseCode::TooSlow, reason);
            }
        }
        self.told.send_replace(floor);
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
