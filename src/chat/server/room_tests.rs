//! Tests of a room: a panic of the task that follows its log, and marks that are too many.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{
    bus::{
        Answer, Appended, Bus, Head, Health, LogSummary, NewEvent, Page, Snapshot, Volatile, Wakes,
        embedded::Embedded,
    },
    chat::message::Posted,
};
use realtime::{
    position::Epoch,
    server::{
        channel::{Entered, Seat},
        queue::OutQueue,
    },
};

/// Ends a test that waits in vain; nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(20);
/// As many events as one read of the test's bus returns.
const PAGE: usize = 100;

/// A bus whose reads are given by the test. Everything else is passed to the embedded bus.
struct Reads<F> {
    bus: Arc<Embedded>,
    read: F,
}

impl<F: Fn(&Embedded, u64) -> Answer<Page> + Send + Sync> Bus for Reads<F> {
    fn read(&self, _log: &str, after: u64, _limit: usize) -> Answer<Page> {
        (self.read)(&self.bus, after)
    }

    fn subscribe(&self, log: &str) -> Wakes {
        self.bus.subscribe(log)
    }

    fn epoch(&self) -> Epoch {
        self.bus.epoch()
    }

    fn append(&self, event: NewEvent) -> Answer<Appended> {
        self.bus.append(event)
    }

    fn head(&self, log: &str) -> Answer<Head> {
        self.bus.head(log)
    }

    fn read_before(&self, log: &str, before: u64, limit: usize) -> Answer<Page> {
        self.bus.read_before(log, before, limit)
    }

    fn count(&self, log: &str, after: u64, upto: u64, except: Option<Uuid>) -> Answer<u64> {
        self.bus.count(log, after, upto, except)
    }

    fn search(&self, log: &str, text: &str, limit: usize) -> Answer<Page> {
        self.bus.search(log, text, limit)
    }

    fn logs(&self, prefix: &str, limit: usize) -> Answer<Vec<LogSummary>> {
        self.bus.logs(prefix, limit)
    }

    fn compact(&self, log: &str, upto: u64, snapshot: Bytes, head: u64) -> Answer<()> {
        self.bus.compact(log, upto, snapshot, head)
    }

    fn snapshot(&self, log: &str) -> Answer<Option<Snapshot>> {
        self.bus.snapshot(log)
    }

    fn forget(&self, log: &str, before: u64) -> Answer<u64> {
        self.bus.forget(log, before)
    }

    fn claim(&self, key: &str) -> Answer<bool> {
        self.bus.claim(key)
    }

    fn put_latest(&self, key: &str, value: Bytes) -> Answer<()> {
        self.bus.put_latest(key, value)
    }

    fn latest(&self, prefix: &str) -> Answer<Vec<(String, Bytes)>> {
        self.bus.latest(prefix)
    }

    fn publish(&self, subject: &str, bytes: Bytes) {
        self.bus.publish(subject, bytes);
    }

    fn listen(&self, subject: &str) -> Volatile {
        self.bus.listen(subject)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.bus.health()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.bus.close()
    }
}

#[tokio::test]
async fn a_room_whose_task_panics_follows_its_log_again_and_misses_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let panics = AtomicBool::new(true);
    let read = move |bus: &Embedded, after| {
        assert!(!panics.swap(false, Ordering::Relaxed), "on purpose");
        bus.read("chat/lobby", after, PAGE)
    };
    let bus = Arc::new(Embedded::open(folder.path()).unwrap());
    let background = Supervisor::default();
    let room = Room::new("lobby", Arc::new(Reads { bus, read }), background.clone());
    let channel = room.open().await.unwrap();
    let (ada, queue) = (User::new(Uuid::new_v4(), "Ada".into()), OutQueue::default());
    let seat = Seat {
        socket: 1,
        queue: &queue,
        first_time: true,
    };
    let start = channel.start(None, 0).await.unwrap();
    let entered = channel.enter(seat, &start, |_, _, _| vec![]);
    assert_eq!(entered, Entered::Live);
    let (from, text) = (ada, "hello".into());
    let posted = channel.send(Uuid::new_v4().into(), Posted { from, text });
    posted.await.unwrap();
    let delivered = timeout(PATIENCE, queue.take()).await;
    let delivered = delivered.expect("the room is dead").messages;
    assert_eq!(delivered.len(), 1);
    assert!(delivered[0].to_text().unwrap().contains("hello"));
    assert_eq!(background.failing()[0].task, "room");
}

#[tokio::test]
async fn marks_that_are_too_many_are_removed_from_the_storage() {
    const TOO_MANY: u64 = 50;
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(Embedded::open(folder.path()).unwrap());
    let key = |number: u64| format!("chat/read/lobby/{}", Uuid::from_u128(number.into()));
    let put = |number: u64| bus.put_latest(&key(number), number.to_string().into());
    for answer in join_all((1..=10_000 + TOO_MANY).map(put)).await {
        answer.unwrap();
    }
    let room = Room::new("lobby", bus.clone(), Supervisor::default());
    save_marks(&room.open().await.unwrap()).await;
    let kept = bus.latest("chat/read/lobby/").await.unwrap();
    let first = kept.first().map(|(key, _)| key.clone());
    assert_eq!((kept.len(), first), (10_000, Some(key(TOO_MANY + 1))));
}

#[tokio::test]
async fn a_room_that_is_not_open_is_closed_once_nobody_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(Embedded::open(folder.path()).unwrap());
    let room = Room::new("lobby", bus, Supervisor::default());
    let opening = room.clone();
    assert!(!room.close_if_idle());
    drop(opening);
    assert!(room.close_if_idle());
}
