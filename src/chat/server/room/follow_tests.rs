//! Tests of a room's task: slow reads while users type all the time, and a panic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{
    background::Supervisor,
    bus::{
        Answer, Appended, Bus, Head, Health, LogSummary, NewEvent, Page, Snapshot, Wakes,
        embedded::Embedded,
    },
    session::User,
};
use realtime::position::Epoch;

/// Ends a test that waits in vain; nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Duration of one read.
const READ: Duration = Duration::from_millis(100);

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

/// A slow read of a log that holds one event.
fn slowly(_bus: &Embedded, after: u64) -> Answer<Page> {
    let event = Event {
        offset: 1,
        id: Uuid::nil(),
        at: 0,
        bytes: Bytes::new(),
    };
    let events = if after == 0 { vec![event] } else { vec![] };
    async {
        sleep(READ).await;
        let more = false;
        Ok(Page { events, more })
    }
    .boxed()
}

#[tokio::test(start_paused = true)]
async fn messages_are_delivered_however_many_users_type() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(Embedded::open(folder.path()).unwrap());
    let (room, slow) = (
        Room::new("lobby", bus.clone(), Supervisor::default()),
        Reads {
            bus: bus.clone(),
            read: slowly,
        },
    );
    let (subject, log) = (
        room.typing_subject(),
        Follower::new(Arc::new(slow), "log", 0),
    );
    let following = tokio::spawn(follow(Arc::downgrade(&room), log, bus.listen(&subject)));
    let crowd = tokio::spawn(async move {
        loop {
            bus.publish(&subject, Bytes::copy_from_slice(Uuid::nil().as_bytes()));
            sleep(READ / 10).await;
        }
    });
    let mut delivered = room.delivered_up_to.subscribe();
    let delivered = timeout(100 * READ, delivered.wait_for(|delivered| *delivered == 1)).await;
    assert!(
        delivered.is_ok(),
        "nothing was delivered while the others typed"
    );
    following.abort();
    crowd.abort();
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
    room.open().await.unwrap();
    let user = User {
        id: Uuid::new_v4(),
        name: "Ada".into(),
        color: "#123456".into(),
    };
    let (offset, _) = room
        .post(Uuid::new_v4().into(), &user, "hello")
        .await
        .unwrap();
    let mut delivered = room.delivered_up_to.subscribe();
    let delivered = timeout(
        PATIENCE,
        delivered.wait_for(|delivered| *delivered == offset),
    )
    .await;
    assert!(delivered.is_ok(), "the room is dead");
    assert_eq!(background.failing()[0].task, "room");
}
