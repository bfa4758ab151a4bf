//! The out-queue of one socket, bounded in bytes.
//!
//! It holds four kinds of entries:
//!
//! - *Messages*, in order. When they exceed the bound, the socket is closed with 4100 and the client resumes. A single
//!   message may be larger than the bound if little is pending before it.
//! - *Answers*, which may be larger than the bound. The client has requested each of them, and it is queued when there
//!   is room.
//! - At most one *volatile* message, which a newer one replaces.
//! - One *close*, which ends the queue.
//!
//! The task of the socket takes them out and writes them. A task that has messages for many sockets may write them itself, where
//! the connections take them at once (a direct write): then no task has to be woken for each socket. Only one of the two tasks
//! has taken messages that are not written yet, so their order holds.

mod direct;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use serde::Serialize;
use tokio::{sync::Notify, task::yield_now};

use super::{
    fan_out::{DirectWrite, Messages},
    metric,
};
use crate::close::CloseCode;

/// Pending bytes of one socket at which its client counts as too slow.
pub const QUEUE_BYTES: usize = 1024 * 1024;
/// One part in this many of the bound counts as little.
const LOW_WATER_PART: usize = 8;
/// Bytes that a queued message costs beyond its text.
const MESSAGE_OVERHEAD: usize = 64;
/// Bytes that one write takes out of the queue.
const WRITE_BYTES: usize = 64 * 1024;

/// The queue. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct OutQueue(Arc<Queued>);

#[derive(Debug)]
struct Queued {
    limit: usize,
    /// The peer uses another protocol that has only binary messages: text messages are dropped.
    binary_only: bool,
    /// A std mutex: it is held for a few pushes and never across an await.
    state: Mutex<State>,
    ready: Notify,
    drained: Notify,
    closing: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: Messages,
    bytes: usize,
    /// How many of the bytes do not count towards the bound: those up to the last answer or single large message.
    answer: usize,
    /// The index of the volatile message, counted from the first message that was ever queued.
    volatile: Option<u64>,
    /// Messages that were taken out so far.
    taken: u64,
    close: Option<CloseFrame>,
    /// Writes to the socket from any task. `None` where only the task of the socket may write.
    direct: Option<Weak<dyn DirectWrite>>,
    writer: Writer,
    /// Bytes of a direct write of which the connection did not take all. The task of the socket flushes them before anything
    /// else is written.
    unflushed: usize,
}

/// Who has taken out messages that are not written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Nobody,
    /// The task of the socket, until it takes again.
    Task,
    /// Another task, until its direct write returns.
    Direct,
}

/// What the write loop takes out of the queue at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// The messages to send, oldest first: as many as it takes to reach 64 KiB, or all that are queued.
    pub messages: Vec<Message>,
    /// The close to send after the messages; nothing follows it.
    pub close: Option<CloseFrame>,
    /// The size of its messages, and of what the connection has to be flushed of.
    bytes: usize,
}

impl Batch {
    /// The size of what is to be written, in KiB.
    pub fn kibibytes(&self) -> u32 {
        u32::try_from(self.bytes / 1_024).unwrap_or(u32::MAX)
    }
}

impl Default for OutQueue {
    fn default() -> Self {
        Self::new(QUEUE_BYTES)
    }
}

impl OutQueue {
    /// A queue that holds up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self::with(limit, false)
    }

    /// A queue for a peer that understands no text: text messages are dropped, also the kit's own.
    pub fn binary_only() -> Self {
        Self::with(QUEUE_BYTES, true)
    }

    fn with(limit: usize, binary_only: bool) -> Self {
        let (ready, drained, closing) = (Notify::new(), Notify::new(), Notify::new());
        Self(Arc::new(Queued {
            limit,
            binary_only,
            state: Mutex::default(),
            ready,
            drained,
            closing,
        }))
    }

    /// Queues a message. When the bound is exceeded, everything pending is dropped and the socket closes with 4100.
    pub fn push(&self, message: Message) {
        self.push_unnoticed(message);
        self.0.ready.notify_one();
    }

    /// Like [`OutQueue::push`], but wakes no task. A direct write has to follow.
    pub(super) fn push_unnoticed(&self, message: Message) {
        let mut state = self.state();
        if self.drops(&state, &message) {
            return;
        }
        let (waiting, cost) = (state.bytes, cost(&message));
        state.bytes += cost;
        if cost > self.0.limit && waiting <= self.low_water() {
            // A single oversized message does not mean that the client is slow, so it does not count towards the bound.
            state.answer = state.bytes;
        } else if state.bytes - state.answer > self.0.limit {
            metric::counter("slow_consumers").increment(1);
            self.set_close(state, CloseCode::TooSlow, "the client reads too slowly");
            return;
        }
        state.messages.push(message);
    }

    /// Queues an answer of any size. Wait for [`OutQueue::has_room`] first, so that at most one is pending. The first
    /// messages of a new socket may include several answers.
    pub fn push_answer(&self, message: Message) {
        let mut state = self.state();
        if self.drops(&state, &message) {
            return;
        }
        state.bytes += cost(&message);
        // What is pending is far below the bound, so all of it counts as the answer until it is sent.
        state.answer = state.bytes;
        state.messages.push(message);
        drop(state);
        self.0.ready.notify_one();
    }

    /// Encodes and queues one message. If several sockets get the same message, encode it once with [`encode`].
    pub fn push_json(&self, event: &impl Serialize) {
        self.push(encode(event));
    }

    /// Queues a message that only matters until the next one. If the previous one is still pending, it is removed, and
    /// `whole` (the complete current state) is queued instead of `change`.
    pub fn push_volatile(&self, change: &Message, whole: impl FnOnce() -> Message) {
        let mut state = self.state();
        if self.drops(&state, change) {
            return;
        }
        let waiting = state
            .volatile
            .and_then(|position| position.checked_sub(state.taken));
        let waiting = waiting.map(|index| index as usize);
        let message = match waiting.filter(|index| *index < state.messages.len()) {
            Some(older) => {
                let older = state.messages.remove(older);
                state.bytes -= cost(&older);
                state.answer = state.answer.min(state.bytes);
                whole()
            }
            None => change.clone(),
        };
        state.bytes += cost(&message);
        state.volatile = Some(state.taken + state.messages.len() as u64);
        state.messages.push(message);
        drop(state);
        self.0.ready.notify_one();
    }

    /// Ends the queue: pending messages are still sent, then the close. With 4100 they are dropped. Only the first call
    /// has an effect. `code` is a [`CloseCode`] or a code of the application, from 4000 to 4999 (RFC 6455, section 7.4.2).
    pub fn close(&self, code: impl Into<u16>, reason: &'static str) {
        let state = self.state();
        if state.close.is_none() {
            self.set_close(state, code, reason);
        }
    }

    /// The socket has ended: nothing takes messages out of the queue any more.
    pub(super) fn end(&self) {
        self.state().direct = None;
        // A code without a reason, because this close is never sent.
        self.close(CloseCode::Done.code(), "");
    }

    /// Waits for messages or a close to write.
    pub async fn take(&self) -> Batch {
        loop {
            if let Some(batch) = self.try_take() {
                return batch;
            }
            self.0.ready.notified().await;
        }
    }

    /// Resolves when the queue has room for another page of a backlog: at most an eighth of its bound is pending. Also
    /// resolves when a close is queued or the socket has ended; what is pushed then is dropped.
    pub async fn has_room(&self) {
        loop {
            // Created before the state is examined, so that no notification is missed in between.
            let drained = self.0.drained.notified();
            if self.is_closing() || self.pending_bytes() <= self.low_water() {
                return;
            }
            drained.await;
        }
    }

    /// Resolves with the close code when the socket shall be closed.
    pub async fn closing(&self) -> u16 {
        loop {
            if let Some(close) = &self.state().close {
                return close.code;
            }
            self.0.closing.notified().await;
        }
    }

    /// Whether a close is queued; messages that are pushed from then on are dropped.
    pub fn is_closing(&self) -> bool {
        self.state().close.is_some()
    }

    /// Bytes that are queued and not yet taken out.
    pub fn pending_bytes(&self) -> usize {
        self.state().bytes
    }

    /// Whether more than half of the bound is pending. A backlog stops here: the other half is for messages that cannot
    /// wait, and for one message of any size.
    pub fn is_half_full(&self) -> bool {
        self.pending_bytes() > self.0.limit / 2
    }

    /// What the task of the socket takes out. It has written what it took before.
    fn try_take(&self) -> Option<Batch> {
        let mut state = self.state();
        let unflushed = state.begin_write()?;
        let (messages, bytes) = state.take_messages();
        let close = state.close.clone().filter(|_| state.messages.is_empty());
        let has_any = !messages.is_empty() || close.is_some() || unflushed > 0;
        if !has_any {
            state.writer = Writer::Nobody;
        }
        drop(state);
        self.0.drained.notify_waiters();
        has_any.then_some(Batch {
            messages: messages.into_vec(),
            close,
            bytes: unflushed + bytes,
        })
    }

    /// Messages that are not in the queue, for the task of the socket. It has written what it took before.
    pub(super) async fn batch_of(&self, messages: impl IntoIterator<Item = Message>) -> Batch {
        let messages: Vec<_> = messages.into_iter().collect();
        let bytes: usize = messages.iter().map(cost).sum();
        // A direct write lasts for moments. What it leaves is flushed with this batch, and counts for its time limit.
        let unflushed = loop {
            if let Some(unflushed) = self.state().begin_write() {
                break unflushed;
            }
            yield_now().await;
        };
        Batch {
            messages,
            close: None,
            bytes: unflushed + bytes,
        }
    }

    /// At most this many pending bytes count as little.
    fn low_water(&self) -> usize {
        self.0.limit / LOW_WATER_PART
    }

    fn set_close(
        &self,
        mut state: MutexGuard<'_, State>,
        code: impl Into<u16>,
        reason: &'static str,
    ) {
        let code = code.into();
        if code == CloseCode::TooSlow.code() {
            // The client gets all of it again, in order, when it resumes.
            state.messages.clear();
            (state.bytes, state.answer, state.volatile) = (0, 0, None);
        }
        state.close = Some(CloseFrame {
            code,
            reason: reason.into(),
        });
        drop(state);
        self.0.ready.notify_one();
        self.0.closing.notify_one();
        self.0.drained.notify_waiters();
    }

    fn drops(&self, state: &State, message: &Message) -> bool {
        state.close.is_some() || (self.0.binary_only && matches!(message, Message::Text(_)))
    }

    /// A poisoned lock is used all the same: at worst the byte count is too high, and the socket closes early.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The task of the socket writes. Returns what it has to flush besides; `None` while a direct write is made, which notifies
    /// when it leaves something.
    fn begin_write(&mut self) -> Option<usize> {
        if self.writer == Writer::Direct {
            return None;
        }
        self.writer = Writer::Task;
        Some(std::mem::take(&mut self.unflushed))
    }

    /// The oldest messages and their bytes: as many as it takes to reach [`WRITE_BYTES`].
    fn take_messages(&mut self) -> (Messages, usize) {
        let (mut count, mut bytes) = (0, 0);
        for message in &self.messages {
            if bytes >= WRITE_BYTES {
                break;
            }
            count += 1;
            bytes += cost(message);
        }
        // With its memory, so that an idle socket has none for messages.
        let messages = match count == self.messages.len() {
            true => std::mem::take(&mut self.messages),
            false => self.messages.drain(..count).collect(),
        };
        self.taken += count as u64;
        self.bytes -= bytes;
        // The queue is in order, so the bytes taken out are the oldest, which the answer includes.
        self.answer = self.answer.saturating_sub(bytes);
        (messages, bytes)
    }
}

/// Encodes a text message. Clones share the bytes, so a room encodes a message once for all its members.
pub fn encode(event: &impl Serialize) -> Message {
    match serde_json::to_string(event) {
        Ok(json) => Message::Text(Utf8Bytes::from(json)),
        Err(error) => {
            // A programming error: only a type that is not a message fails.
            tracing::error!(%error, "a message could not be encoded");
            Message::Text(Utf8Bytes::from_static("{}"))
        }
    }
}

/// The bytes of a message, plus [`MESSAGE_OVERHEAD`].
fn cost(message: &Message) -> usize {
    let length = match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    };
    length + MESSAGE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned().into())
    }

    fn texts(batch: Batch) -> Vec<String> {
        let text = |message: &Message| message.to_text().unwrap().to_owned();
        batch.messages.iter().map(text).collect()
    }

    #[tokio::test]
    async fn messages_are_taken_in_order_and_together() {
        let queue = OutQueue::default();
        for name in ["a", "b", "c"] {
            queue.push(text(name));
        }
        assert_eq!(texts(queue.take().await), ["a", "b", "c"]);
        assert_eq!(queue.pending_bytes(), 0);
    }

    #[tokio::test]
    async fn a_pending_volatile_message_is_replaced() {
        let queue = OutQueue::default();
        queue.push(text("first"));
        queue.push_volatile(&text("change 1"), || text("whole 1"));
        queue.push(text("hidden"));
        queue.push_volatile(&text("change 2"), || text("whole 2"));
        assert_eq!(texts(queue.take().await), ["first", "hidden", "whole 2"]);
        queue.push_volatile(&text("change 3"), || text("whole 3"));
        assert_eq!(
            texts(queue.take().await),
            ["change 3"],
            "nothing was pending, so the change is enough"
        );
    }

    #[tokio::test]
    async fn past_the_bound_the_socket_closes_as_too_slow() {
        let queue = OutQueue::new(1_000);
        for _ in 0..20 {
            queue.push(text(&"x".repeat(100)));
            assert!(queue.pending_bytes() <= 1_000);
        }
        assert_eq!(queue.closing().await, 4100);
        let batch = queue.take().await;
        assert!(batch.messages.is_empty());
        assert_eq!(batch.close.unwrap().code, 4100);
    }

    #[tokio::test]
    async fn an_answer_may_exceed_the_bound_and_later_messages_may_not() {
        let queue = OutQueue::new(1_000);
        queue.push_answer(text(&"x".repeat(5_000)));
        assert!(queue.pending_bytes() > 5_000);
        queue.push(text("behind it"));
        assert!(!queue.is_closing());
        queue.push(text(&"x".repeat(1_000)));
        assert_eq!(queue.closing().await, 4100);
        // Once the answer was taken out, the bound holds as before.
        let queue = OutQueue::new(1_000);
        queue.push_answer(text(&"x".repeat(5_000)));
        assert_eq!(queue.take().await.messages.len(), 1);
        queue.push(text(&"x".repeat(900)));
        assert!(!queue.is_closing());
        queue.push(text(&"x".repeat(900)));
        assert!(queue.is_closing());
    }

    #[tokio::test]
    async fn a_single_message_may_exceed_the_bound_if_little_is_pending() {
        let large = || text(&"x".repeat(5_000));
        let queue = OutQueue::new(1_000);
        queue.push(text("little"));
        queue.push(large());
        queue.push(text("behind it"));
        assert_eq!(queue.take().await.messages.len(), 3);
        // A client that has read all of that is fast enough.
        queue.push(large());
        assert!(!queue.is_closing());
        queue.push(large());
        assert_eq!(queue.closing().await, 4100);
        let queue = OutQueue::new(1_000);
        queue.push(text(&"x".repeat(500)));
        queue.push(large());
        assert_eq!(queue.closing().await, 4100);
    }

    #[tokio::test]
    async fn a_binary_only_peer_is_sent_no_text() {
        let queue = OutQueue::binary_only();
        queue.push(text("an error"));
        queue.push_volatile(&text("a change"), || text("whole"));
        queue.push(Message::Binary(Bytes::from_static(b"bytes")));
        let batch = queue.take().await;
        assert_eq!(batch.messages.len(), 1);
        assert!(matches!(batch.messages[0], Message::Binary(_)));
    }

    #[tokio::test]
    async fn a_close_follows_the_pending_messages_and_ends_the_queue() {
        let queue = OutQueue::default();
        queue.push(text("last"));
        queue.close(CloseCode::ServiceRestart, "restart");
        queue.close(CloseCode::Policy, "later");
        queue.push(text("never"));
        let batch = queue.take().await;
        assert_eq!(batch.close.as_ref().unwrap().code, 1012);
        assert_eq!(texts(batch), ["last"]);
    }

    #[tokio::test]
    async fn a_client_closed_as_too_slow_is_sent_nothing_more() {
        let queue = OutQueue::default();
        queue.push(text("of another room"));
        queue.close(CloseCode::TooSlow, "it comes again");
        assert_eq!(queue.pending_bytes(), 0);
        let batch = queue.take().await;
        assert!(batch.messages.is_empty());
        assert_eq!(batch.close.unwrap().code, 4100);
        assert_eq!(queue.pending_bytes(), 0);
    }

    #[tokio::test]
    async fn a_backlog_waits_for_room() {
        let queue = OutQueue::default();
        queue.push(text(&"x".repeat(QUEUE_BYTES / LOW_WATER_PART)));
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, queue.has_room())
                .await
                .is_err()
        );
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { queue.has_room().await }
        });
        while !queue.take().await.messages.is_empty() && queue.pending_bytes() > 0 {}
        waiter.await.unwrap();
    }

    #[tokio::test]
    async fn no_backlog_waits_for_a_queue_that_is_closed() {
        let queue = OutQueue::default();
        queue.push(text(&"x".repeat(QUEUE_BYTES / LOW_WATER_PART)));
        let waiters = [(); 2].map(|()| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.has_room().await })
        });
        tokio::task::yield_now().await;
        queue.end();
        for waiter in waiters {
            waiter.await.unwrap();
        }
        queue.has_room().await;
    }

    #[tokio::test]
    async fn a_backlog_waits_for_the_bound_of_its_own_queue() {
        let has_room = async |queue: &OutQueue| {
            tokio::time::timeout(std::time::Duration::ZERO, queue.has_room())
                .await
                .is_ok()
        };
        let queue = OutQueue::new(1_000);
        queue.push(text(&"x".repeat(500)));
        assert!(!has_room(&queue).await);
        queue.take().await;
        assert!(has_room(&queue).await);
        let queue = OutQueue::new(16 * QUEUE_BYTES);
        queue.push(text(&"x".repeat(QUEUE_BYTES)));
        assert!(has_room(&queue).await);
    }
}
