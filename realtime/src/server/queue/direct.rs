//! Direct writes: a task that has messages for many sockets writes them without waking the tasks of the sockets.

use std::sync::Weak;

use super::{OutQueue, Writer};
use crate::server::fan_out::{DirectWrite, WriteNow};

/// A direct write. When it ends, also by a panic, the task of the socket goes on with what is left.
struct DirectWriting<'a> {
    queue: &'a OutQueue,
    unflushed: usize,
}

impl OutQueue {
    /// From now on direct writes are made.
    pub(crate) fn write_with(&self, direct: Weak<dyn DirectWrite>) {
        self.state().direct = Some(direct);
    }
}

impl WriteNow for OutQueue {
    /// Writes what is queued, where the connection takes it at once. Otherwise it wakes the task of the socket.
    fn write_now(&self) {
        let mut state = self.state();
        let is_free = state.writer == Writer::Nobody && state.unflushed == 0;
        let is_free = is_free && state.close.is_none();
        let direct = state.direct.as_ref().filter(|_| is_free);
        let Some(direct) = direct.and_then(Weak::upgrade) else {
            drop(state);
            return self.0.ready.notify_one();
        };
        let (messages, unflushed) = state.take_messages();
        if messages.is_empty() {
            return;
        }
        state.writer = Writer::Direct;
        drop(state);
        let mut writing = DirectWriting {
            queue: self,
            unflushed,
        };
        self.0.drained.notify_waiters();
        if direct.write(messages) {
            writing.unflushed = 0;
        }
    }
}

impl Drop for DirectWriting<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.writer = Writer::Nobody;
        state.unflushed = self.unflushed;
        let has_more = state.unflushed > 0 || !state.messages.is_empty() || state.close.is_some();
        drop(state);
        if has_more {
            self.queue.0.ready.notify_one();
        }
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
