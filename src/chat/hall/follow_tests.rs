//! A log whose reads take their time, and a room in which somebody types all the while.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::time::timeout;

use super::*;
use crate::{
    bus::{
        Answer, Appended, Bus, Head, LogSummary, NewEvent, Page, Snapshot, Wakes,
        embedded::Embedded,
    },
    realtime::position::Epoch,
};

/// What one read takes.
const READ: Duration = Duration::from_millis(100);

/// Holds one event in each log. Only what a follower asks for is answered.
struct Slow(Arc<Embedded>);

impl Bus for Slow {
    fn read(&self, _log: &str, after: u64, _limit: usize) -> Answer<Page> {
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

    fn subscribe(&self, log: &str) -> Wakes {
        self.0.subscribe(log)
    }

    fn epoch(&self) -> Epoch {
        unimplemented!()
    }

    fn append(&self, _event: NewEvent) -> Answer<Appended> {
        unimplemented!()
    }

    fn head(&self, _log: &str) -> Answer<Head> {
        unimplemented!()
    }

    fn read_before(&self, _log: &str, _before: u64, _limit: usize) -> Answer<Page> {
        unimplemented!()
    }

    fn count(&self, _log: &str, _after: u64, _upto: u64, _except: Option<Uuid>) -> Answer<u64> {
        unimplemented!()
    }

    fn search(&self, _log: &str, _text: &str, _limit: usize) -> Answer<Page> {
        unimplemented!()
    }

    fn logs(&self, _prefix: &str, _limit: usize) -> Answer<Vec<LogSummary>> {
        unimplemented!()
    }

    fn compact(&self, _log: &str, _upto: u64, _snapshot: Bytes, _head: u64) -> Answer<()> {
        unimplemented!()
    }

    fn snapshot(&self, _log: &str) -> Answer<Option<Snapshot>> {
        unimplemented!()
    }

    fn forget(&self, _log: &str, _before: u64) -> Answer<u64> {
        unimplemented!()
    }

    fn put_latest(&self, _key: &str, _value: Bytes) -> Answer<()> {
        unimplemented!()
    }

    fn latest(&self, _prefix: &str) -> Answer<Vec<(String, Bytes)>> {
        unimplemented!()
    }

    fn publish(&self, _subject: &str, _bytes: Bytes) {
        unimplemented!()
    }

    fn listen(&self, _subject: &str) -> Volatile {
        unimplemented!()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        unimplemented!()
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_told_however_many_type() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(Embedded::open(folder.path()).unwrap());
    let (hall, slow) = (Hall::new("lobby", bus.clone()), Slow(bus.clone()));
    let (subject, log) = (
        hall.typing_subject(),
        Follower::new(Arc::new(slow), "log", 0),
    );
    let following = tokio::spawn(follow(Arc::downgrade(&hall), log, bus.listen(&subject)));
    let crowd = tokio::spawn(async move {
        loop {
            bus.publish(&subject, Bytes::copy_from_slice(Uuid::nil().as_bytes()));
            sleep(READ / 10).await;
        }
    });
    let mut told = hall.told.subscribe();
    let told = timeout(100 * READ, told.wait_for(|told| *told == 1)).await;
    assert!(told.is_ok(), "nothing was told while the others typed");
    following.abort();
    crowd.abort();
}
