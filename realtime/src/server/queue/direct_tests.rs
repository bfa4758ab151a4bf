//! Tests of the order in which the task of a socket and others write the messages of its queue.

use std::sync::{Arc, Mutex};

use axum::extract::ws::Message;
use futures::FutureExt;

use super::*;
use crate::{close::CloseCode, server::fan_out::Messages};

/// A connection that takes messages, or takes none.
#[derive(Default)]
struct Connection {
    is_blocked: bool,
    written: Mutex<Vec<String>>,
}

impl DirectWrite for Connection {
    fn write(&self, messages: Messages) -> bool {
        let texts = messages.iter().map(|message| message.to_text().unwrap());
        let texts = texts.map(str::to_owned);
        self.written.lock().unwrap().extend(texts);
        !self.is_blocked
    }
}

fn queue(is_blocked: bool) -> (OutQueue, Arc<Connection>) {
    let connection = Arc::new(Connection {
        is_blocked,
        ..Connection::default()
    });
    let queue = OutQueue::default();
    let direct: Arc<dyn DirectWrite> = connection.clone();
    queue.write_with(Arc::downgrade(&direct));
    (queue, connection)
}

impl Connection {
    fn written(&self) -> Vec<String> {
        self.written.lock().unwrap().clone()
    }
}

fn push(queue: &OutQueue, text: &str) {
    queue.push_unnoticed(Message::Text(text.into()));
}

/// What the task of the socket would write now.
fn taken(queue: &OutQueue) -> Option<Vec<String>> {
    let batch = queue.take().now_or_never()?;
    let texts = batch.messages.iter();
    let texts = texts.map(|message| message.to_text().unwrap().to_owned());
    Some(texts.collect())
}

#[test]
fn what_the_connection_takes_needs_no_task() {
    let (queue, connection) = queue(false);
    push(&queue, "one");
    push(&queue, "two");
    queue.write_now();
    assert_eq!(connection.written(), ["one", "two"]);
    assert_eq!(queue.pending_bytes(), 0);
    assert_eq!(taken(&queue), None);
    queue.write_now();
    assert_eq!(connection.written().len(), 2);
}

#[test]
fn what_the_connection_does_not_take_is_left_to_the_task() {
    let (queue, connection) = queue(true);
    push(&queue, "a long message".repeat(500).as_str());
    queue.write_now();
    assert_eq!(connection.written().len(), 1);
    push(&queue, "next");
    queue.write_now();
    assert_eq!(connection.written().len(), 1, "it is not flushed yet");
    let batch = queue.take().now_or_never().unwrap();
    assert_eq!(batch.messages.len(), 1, "the first one is written in part");
    assert!(batch.kibibytes() >= 6, "its bytes count for the time limit");
    assert_eq!(taken(&queue), None);
}

#[test]
fn while_the_task_writes_nothing_overtakes_it() {
    let (queue, connection) = queue(false);
    queue.push(Message::Text("first".into()));
    assert_eq!(taken(&queue), Some(vec!["first".into()]));
    push(&queue, "second");
    queue.write_now();
    assert!(
        connection.written().is_empty(),
        "the first may be unwritten"
    );
    assert_eq!(taken(&queue), Some(vec!["second".into()]));
    assert_eq!(taken(&queue), None, "the task has written all of it");
    push(&queue, "third");
    queue.write_now();
    assert_eq!(connection.written(), ["third"]);
}

#[tokio::test]
async fn a_ping_has_the_time_of_what_is_left_and_nothing_overtakes_it() {
    let (queue, connection) = queue(true);
    push(&queue, "a long message".repeat(500).as_str());
    queue.write_now();
    let ping = queue.batch_of([Message::Ping("".into())]).await;
    assert!(ping.kibibytes() >= 6);
    push(&queue, "next");
    queue.write_now();
    assert_eq!(connection.written().len(), 1);
    assert_eq!(taken(&queue), Some(vec!["next".into()]));
}

/// A connection to whose socket something happens while it writes.
struct During(OutQueue, fn(&OutQueue));

impl DirectWrite for During {
    fn write(&self, _: Messages) -> bool {
        (self.1)(&self.0);
        true
    }
}

/// What the task takes, first during a direct write and then after it.
fn taken_after(during: fn(&OutQueue)) -> OutQueue {
    let queue = OutQueue::default();
    let direct: Arc<dyn DirectWrite> = Arc::new(During(queue.clone(), during));
    queue.write_with(Arc::downgrade(&direct));
    push(&queue, "first");
    queue.write_now();
    queue
}

#[test]
fn the_task_does_not_overtake_a_direct_write_and_goes_on_after_it() {
    let queue = taken_after(|queue| {
        queue.push(Message::Text("second".into()));
        assert_eq!(taken(queue), None, "the first may be unwritten");
        queue.write_now();
    });
    assert_eq!(taken(&queue), Some(vec!["second".into()]));
    let queue = taken_after(|queue| {
        queue.close(CloseCode::ServiceRestart, "restart");
        assert!(queue.take().now_or_never().is_none());
    });
    let batch = queue.take().now_or_never().unwrap();
    assert_eq!(batch.close.unwrap().code, 1012);
}

#[test]
fn a_direct_write_that_panics_leaves_the_queue_to_the_task() {
    let queue = OutQueue::default();
    let direct: Arc<dyn DirectWrite> = Arc::new(During(queue.clone(), |_| panic!("broken")));
    queue.write_with(Arc::downgrade(&direct));
    push(&queue, "first");
    let write = std::panic::AssertUnwindSafe(|| queue.write_now());
    assert!(std::panic::catch_unwind(write).is_err());
    push(&queue, "second");
    assert_eq!(taken(&queue), Some(vec!["second".into()]));
}

#[tokio::test]
async fn the_task_is_woken_where_nothing_may_be_written_past_it() {
    let without = OutQueue::default();
    let (closing, _connection) = queue(false);
    closing.close(CloseCode::Done, "done");
    let (ended, _connection) = queue(false);
    ended.end();
    let (gone, connection) = queue(false);
    drop(connection);
    for queue in [without, closing, ended, gone] {
        let task = tokio::spawn({
            let queue = queue.clone();
            async move { queue.take().await }
        });
        tokio::task::yield_now().await;
        push(&queue, "first");
        queue.write_now();
        task.await.unwrap();
    }
}
