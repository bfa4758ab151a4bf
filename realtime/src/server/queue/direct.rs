//! Writes the messages of a queue past the task of its socket: from a task that has messages for many sockets.

use std::sync::Weak;

use axum::extract::ws::Message;

use super::{OutQueue, Writer};
use crate::server::fan_out::FanOut;

/// Writes messages to a socket from any task.
pub trait DirectWrite: Send + Sync {
    /// Writes messages, in their order. False if the connection did not take all of them, or failed: the task of the socket
    /// has to flush, and then gets the error.
    fn write(&self, messages: Vec<Message>) -> bool;
}

/// A direct write. When it ends, also by a panic, the task of the socket goes on with what is left.
struct DirectWriting<'a> {
    queue: &'a OutQueue,
    unwritten: usize,
}

impl OutQueue {
    /// From now on messages may be written past the task of the socket.
    pub(in crate::server) fn write_with(&self, direct: Weak<dyn DirectWrite>) {
        self.state().direct = Some(direct);
    }
}

impl FanOut for OutQueue {
    /// Writes what is queued, where the connection takes it at once. Otherwise it wakes the task of the socket.
    fn write_now(&self) {
        let mut state = self.state();
        let is_free = state.writer == Writer::Nobody && state.close.is_none();
        let direct = state.direct.as_ref().filter(|_| is_free);
        let Some(direct) = direct.and_then(Weak::upgrade) else {
            drop(state);
            return self.0.ready.notify_one();
        };
        let (messages, unwritten) = state.take_messages();
        if messages.is_empty() {
            return;
        }
        state.writer = Writer::Direct;
        drop(state);
        let mut writing = DirectWriting {
            queue: self,
            unwritten,
        };
        self.0.drained.notify_waiters();
        if direct.write(messages) {
            writing.unwritten = 0;
        }
    }
}

impl Drop for DirectWriting<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.writer = Writer::Nobody;
        state.unwritten = self.unwritten;
        let has_more = state.unwritten > 0 || !state.messages.is_empty() || state.close.is_some();
        drop(state);
        if has_more {
            self.queue.0.ready.notify_one();
        }
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
