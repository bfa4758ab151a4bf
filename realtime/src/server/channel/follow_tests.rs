use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{
    super::{
        Appended, DELIVERY_TIMEOUT, Entered, Head, MemoryLog, Seat,
        tests::{Event, LATEST, Wall, answer, append, decoded, enter, open, take},
    },
    *,
};
use crate::{
    channel::Entry, close::CloseCode, id::SpelledId, position::Epoch, server::queue::OutQueue,
};

#[tokio::test]
async fn the_task_ends_with_its_channel() {
    let (channel, _) = open(10);
    let following = tokio::spawn(channel.follow());
    tokio::task::yield_now().await;
    drop(channel);
    following.await.unwrap();
}

#[tokio::test]
async fn a_notice_that_was_received_before_a_message_is_delivered_before_it() {
    // `select!` begins with a random branch, so one round in two would pass by chance.
    for _ in 0..64 {
        let (channel, log) = open(10);
        let (queue, _) = enter(&channel, 1, 0);
        let (notify, notices) = futures::channel::mpsc::unbounded();
        let following = channel.follow_with(notices, |channel, notice: &str| {
            channel.change(|_, members| members.broadcast(&notice));
        });
        // Both are there before the task runs for the first time.
        notify.unbounded_send("typing").unwrap();
        append(&log, 1);
        notify.unbounded_send("typing").unwrap();
        let following = tokio::spawn(following);
        let mut delivered = channel.delivered.subscribe();
        delivered
            .wait_for(|delivered| *delivered == 1)
            .await
            .unwrap();
        let (events, _) = take(&queue);
        assert_eq!(events.len(), 4);
        let typing = "typing".into();
        assert_eq!((&events[1], &events[2]), (&typing, &typing));
        assert_eq!(events[3]["type"], "message");
        following.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_loss_is_delivered() {
    let (channel, log) = open(3);
    let (lacking, _) = enter(&channel, 1, 0);
    // Seven of ten are dropped before the task runs for the first time.
    for number in 1..=10 {
        append(&log, number);
    }
    let (holding, entered) = enter(&channel, 2, 10);
    assert_eq!(entered, Entered::Live);
    let following = tokio::spawn(channel.follow());
    append(&log, 11);
    let mut delivered = channel.delivered.subscribe();
    let delivered = delivered.wait_for(|delivered| *delivered == 11);
    timeout(DELIVERY_TIMEOUT, delivered).await.unwrap().unwrap();
    assert_eq!(take(&lacking).1, Some(CloseCode::TooSlow.code()));
    let (events, close) = decoded(&holding);
    let is_next =
        |event: &Event| matches!(event, Event::Message { entry, .. } if entry.offset == 11);
    assert!(events.len() == 2 && is_next(&events[1]) && close.is_none());
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn messages_are_delivered_however_many_notices_come() {
    const READ: Duration = Duration::from_millis(100);
    let (channel, _) = open_with(|log, after, limit| {
        async move {
            sleep(READ).await;
            log.read(after, limit).await
        }
        .boxed()
    });
    let crowd = Box::pin(stream::unfold((), |()| async {
        sleep(READ / 10).await;
        Some(((), ()))
    }));
    tokio::spawn(channel.follow_with(crowd, |_, ()| ()));
    let began = Instant::now();
    channel
        .log()
        .0
        .append(Uuid::new_v4().into(), 1)
        .await
        .unwrap();
    let mut delivered = channel.delivered.subscribe();
    delivered
        .wait_for(|delivered| *delivered == 1)
        .await
        .unwrap();
    assert!(began.elapsed() <= 2 * READ);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_read_again() {
    let failed = Arc::new(AtomicBool::new(false));
    let (channel, queue) = open_with(move |log, after, limit| {
        let fails = !failed.swap(true, Ordering::Relaxed);
        async move {
            match fails {
                true => Err(LogError::Unavailable("on purpose".into())),
                false => log.read(after, limit).await,
            }
        }
        .boxed()
    });
    tokio::spawn(channel.follow());
    channel.send(Uuid::new_v4().into(), 1).await.unwrap();
    sleep(DELIVERY_TIMEOUT).await;
    assert_eq!(channel.delivered(), 1);
    assert_eq!(decoded(&queue).0.len(), 2);
}

#[tokio::test]
async fn a_task_that_panicked_is_followed_by_one_that_misses_nothing() {
    let panicked = Arc::new(AtomicBool::new(false));
    let (channel, queue) = open_with(move |log, after, limit| {
        assert!(panicked.swap(true, Ordering::Relaxed), "on purpose");
        async move { log.read(after, limit).await }.boxed()
    });
    channel
        .log()
        .0
        .append(Uuid::new_v4().into(), 1)
        .await
        .unwrap();
    assert!(tokio::spawn(channel.follow()).await.unwrap_err().is_panic());
    tokio::spawn(channel.follow());
    channel.send(Uuid::new_v4().into(), 2).await.unwrap();
    assert_eq!(decoded(&queue).0.len(), 3);
}

type Read = dyn Fn(MemoryLog<u64>, u64, usize) -> BoxFuture<'static, Result<Vec<Entry<u64>>, LogError>>
    + Send
    + Sync;

/// A log whose follower reads as a test says.
struct Scripted(MemoryLog<u64>, Arc<Read>);

struct ScriptedFollower(MemoryLog<u64>, Arc<Read>, u64);

impl Log for Scripted {
    type Message = u64;
    type Follower = ScriptedFollower;

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    async fn head(&self) -> Result<Head, LogError> {
        self.0.head().await
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry<u64>>, LogError> {
        self.0.read(after, limit).await
    }

    async fn count(&self, after: u64, upto: u64) -> Result<u64, LogError> {
        self.0.count(after, upto).await
    }

    async fn before_latest(&self, head: u64, count: usize) -> Result<u64, LogError> {
        self.0.before_latest(head, count).await
    }

    async fn append(&self, id: SpelledId, message: u64) -> Result<Appended, LogError> {
        self.0.append(id, message).await
    }

    fn follow(&self, after: u64) -> ScriptedFollower {
        ScriptedFollower(self.0.clone(), self.1.clone(), after)
    }
}

impl Follow for ScriptedFollower {
    type Message = u64;

    async fn next(&mut self, limit: usize) -> Result<Vec<Entry<u64>>, LogError> {
        let waits = self.0.follow(self.2).next(1).await.is_err();
        if waits {
            pending::<()>().await;
        }
        let entries = (self.1)(self.0.clone(), self.2, limit).await?;
        self.2 = entries.last().map_or(self.2, |last| last.offset);
        Ok(entries)
    }
}

type ScriptedChannel = Channel<Wall, Scripted>;

/// A channel with one live member.
fn open_with<F>(read: F) -> (Arc<ScriptedChannel>, OutQueue)
where
    F: Fn(MemoryLog<u64>, u64, usize) -> BoxFuture<'static, Result<Vec<Entry<u64>>, LogError>>
        + Send
        + Sync
        + 'static,
{
    let log = Scripted(MemoryLog::new(10), Arc::new(read));
    let channel = ScriptedChannel::after("lobby", log, (), 0);
    let queue = OutQueue::default();
    let start = channel.start(None, LATEST).now_or_never().unwrap().unwrap();
    let seat = Seat {
        socket: 1,
        queue: &queue,
        first_time: true,
    };
    channel.enter(seat, &start, |(), _, joined| answer(joined));
    (channel, queue)
}
