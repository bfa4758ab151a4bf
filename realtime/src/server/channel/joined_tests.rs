use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures::FutureExt;
use uuid::Uuid;

use super::{
    super::{
        Appended, Head, MemoryLog,
        memory_log::MemoryFollower,
        tests::{Wall, take},
    },
    *,
};
use crate::{
    channel::{ChannelEvent, Entry},
    message::ErrorCode,
    position::Epoch,
};

/// A log in memory that is unavailable when a test says so.
#[derive(Clone)]
struct Storage {
    log: MemoryLog<u64>,
    is_away: Arc<AtomicBool>,
}

impl Storage {
    fn check(&self) -> Result<(), LogError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(LogError::Unavailable("on purpose".into())),
            false => Ok(()),
        }
    }
}

impl Log for Storage {
    type Message = u64;
    type Follower = MemoryFollower<u64>;

    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    async fn head(&self) -> Result<Head, LogError> {
        self.log.head().await
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry<u64>>, LogError> {
        self.check()?;
        // Pages of two messages.
        self.log.read(after, limit.min(2)).await
    }

    async fn count(&self, after: u64, upto: u64) -> Result<u64, LogError> {
        self.log.count(after, upto).await
    }

    async fn before_latest(&self, head: u64, count: usize) -> Result<u64, LogError> {
        self.log.before_latest(head, count).await
    }

    async fn append(&self, id: SpelledId, message: u64) -> Result<Appended, LogError> {
        self.check()?;
        self.log.append(id, message).await
    }

    fn follow(&self, after: u64) -> MemoryFollower<u64> {
        self.log.follow(after)
    }
}

type TestChannel = Channel<Wall, Storage>;

/// All channels, which exist from the beginning.
#[derive(Default)]
struct Server {
    channels: Mutex<HashMap<String, Arc<TestChannel>>>,
    is_away: Arc<AtomicBool>,
    left: AtomicUsize,
}

impl Server {
    fn channel(&self, name: &str) -> Arc<TestChannel> {
        let mut channels = self.channels.lock().unwrap();
        let channel = channels.entry(name.to_owned()).or_insert_with(|| {
            let (log, is_away) = (MemoryLog::new(1_000), self.is_away.clone());
            let channel = Channel::after(name, Storage { log, is_away }, (), 0);
            tokio::spawn(channel.follow());
            channel
        });
        channel.clone()
    }

    async fn fill(&self, name: &str, count: u64) {
        for number in 0..count {
            let channel = self.channel(name);
            let sent = channel.send(Uuid::new_v4().into(), number).await;
            assert!(sent.is_ok());
        }
    }
}

struct Handler(Arc<Server>);

impl ChannelHandler for Handler {
    type Contract = Wall;
    type Log = Storage;
    type State = ();

    const MOST_CHANNELS: usize = 2;
    const LATEST: usize = 5;

    async fn open(&self, name: &str) -> Result<Arc<TestChannel>, SocketError> {
        Ok(self.0.channel(name))
    }

    async fn enter(
        &self,
        channel: &Arc<TestChannel>,
        seat: Seat<'_>,
        start: &Start,
    ) -> Result<Entered, SocketError> {
        // Once, the channel is closed before the socket enters it.
        if channel.name() == "closing" && self.0.left.swap(1, Ordering::Relaxed) == 0 {
            assert!(channel.close_if(|()| true));
            self.0.channels.lock().unwrap().clear();
        }
        Ok(channel.enter(seat, start, |(), _, joined| {
            vec![ChannelEvent::Joined {
                channel: channel.name().into(),
                joined,
                members: vec![],
            }]
        }))
    }

    fn leave(&self, channel: &Arc<TestChannel>, socket: u64) {
        channel.leave(socket);
        self.0.left.fetch_add(1, Ordering::Relaxed);
    }
}

fn socket() -> (JoinedChannels<Handler>, OutQueue, Arc<Server>) {
    let (server, queue) = (Arc::new(Server::default()), OutQueue::default());
    let joined = JoinedChannels::new(Handler(server.clone()), queue.clone());
    (joined, queue, server)
}

/// The events of a queue as `channel:type`, with the offset of a message.
fn words(queue: &OutQueue) -> Vec<String> {
    let (events, _) = take(queue);
    let word = |event: serde_json::Value| {
        let (channel, kind) = (event["channel"].as_str(), event["type"].as_str());
        let (channel, kind) = (channel.unwrap(), kind.unwrap());
        match kind {
            "message" => format!("{channel}:{}", event["offset"]),
            "joined" => format!(
                "{channel}:joined {} {}",
                event["recovered"], event["replayed"]
            ),
            _ => format!("{channel}:{kind}"),
        }
    };
    events.into_iter().map(word).collect()
}

fn id() -> SpelledId {
    Uuid::new_v4().into()
}

fn position(server: &Server, name: &str, offset: u64) -> Option<Position> {
    Some(Position::new(server.channel(name).log().epoch(), offset))
}

#[tokio::test]
async fn channels_that_are_behind_take_turns() {
    let (mut joined, queue, server) = socket();
    for name in ["a", "b"] {
        server.fill(name, 5).await;
        let after = position(&server, name, 0);
        joined.join(name, after).await.unwrap();
    }
    assert_eq!(words(&queue), ["a:joined true 5", "b:joined true 5"]);
    for page in [
        ["a:1", "a:2"].as_slice(),
        &["b:1", "b:2"],
        &["a:3", "a:4"],
        &["b:3", "b:4"],
        &["a:5"],
        &["b:5"],
    ] {
        assert!(joined.has_backlog());
        joined.fill().await;
        assert_eq!(words(&queue), page);
    }
    assert!(!joined.has_backlog());
    server.fill("a", 1).await;
    assert_eq!(words(&queue), ["a:6"]);
}

#[tokio::test]
async fn a_channel_that_was_left_has_no_turn() {
    let (mut joined, queue, server) = socket();
    server.fill("a", 5).await;
    joined.join("a", None).await.unwrap();
    joined.leave("a");
    assert!(!joined.has_backlog());
    assert_eq!(words(&queue), ["a:joined false 5"]);
    server.fill("a", 1).await;
    assert!(words(&queue).is_empty());
    // Joined again while it is behind, it has one turn.
    for _ in 0..2 {
        joined.join("a", None).await.unwrap();
    }
    assert_eq!(joined.behind.len(), 1);
}

#[tokio::test]
async fn a_member_whose_missed_messages_were_dropped_begins_anew() {
    let (mut joined, queue, server) = socket();
    server.fill("a", 9).await;
    joined.join("a", position(&server, "a", 2)).await.unwrap();
    joined.fill().await;
    assert_eq!(words(&queue), ["a:joined true 7", "a:3", "a:4"]);
    server.channel("a").log().log.truncate(7);
    joined.fill().await;
    assert_eq!(words(&queue), ["a:joined false 2"]);
    joined.fill().await;
    assert_eq!(words(&queue), ["a:8", "a:9"]);
    assert!(!joined.has_backlog());
}

#[tokio::test]
async fn a_socket_whose_missed_messages_cannot_be_read_is_closed() {
    let (mut joined, queue, server) = socket();
    server.fill("a", 9).await;
    joined.join("a", None).await.unwrap();
    server.is_away.store(true, Ordering::Relaxed);
    joined.fill().await;
    assert_eq!(take(&queue).1, Some(4100));
}

#[tokio::test]
async fn a_refused_message_is_not_overtaken() {
    let (mut joined, queue, server) = socket();
    joined.join("a", None).await.unwrap();
    joined.join("b", None).await.unwrap();
    let (first, second) = (id(), id());
    server.is_away.store(true, Ordering::Relaxed);
    let refused = joined.send("a", &first, || Ok(1)).await.unwrap_err();
    assert_eq!(
        (&refused.code, refused.retry_after_ms),
        (&ErrorCode::Unavailable, Some(1_000))
    );
    assert_eq!(refused.re, Some(first.to_string()));
    assert_eq!(refused.context["channel"], "a");
    server.is_away.store(false, Ordering::Relaxed);
    take(&queue);
    let later = joined.send("a", &second, || Ok(2)).await.unwrap_err();
    assert_eq!(later.code, ErrorCode::Unavailable);
    assert!(
        later
            .message
            .starts_with(&format!("Message {first} was refused"))
    );
    // What the application refuses before is in the same order.
    let mut rate = SocketError::new(ErrorCode::RateLimited, "Too fast.");
    rate.retry_after_ms = Some(50);
    let later = joined.refuse("a", &second, rate.clone());
    assert!(
        later
            .message
            .starts_with(&format!("Message {first} was refused"))
    );
    assert_eq!(joined.refuse("a", &first, rate).message, "Too fast.");
    joined.send("b", &id(), || Ok(3)).await.unwrap();
    joined.send("a", &first, || Ok(1)).await.unwrap();
    joined.send("a", &second, || Ok(2)).await.unwrap();
    assert_eq!(
        words(&queue),
        ["b:1", "b:ack", "a:1", "a:ack", "a:2", "a:ack"]
    );
}

#[tokio::test]
async fn a_message_that_is_refused_for_good_holds_up_no_other() {
    let (mut joined, _queue, _server) = socket();
    joined.join("a", None).await.unwrap();
    let invalid = || Err(SocketError::new(ErrorCode::InvalidField, "No."));
    let refused = joined.send("a", &id(), invalid).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidField);
    joined.send("a", &id(), || Ok(1)).await.unwrap();
    // A message to a channel that is not joined neither.
    let elsewhere = id();
    let refused = joined.send("b", &elsewhere, || Ok(1)).await.unwrap_err();
    assert_eq!(
        (&refused.code, &*refused.message),
        (&NOT_JOINED, "Join \"b\" first.")
    );
    assert_eq!(refused.context["channel"], "b");
    let rate = SocketError::new(ErrorCode::RateLimited, "Too fast.");
    joined.refuse("b", &elsewhere, rate);
    joined.join("b", None).await.unwrap();
    joined.send("b", &id(), || Ok(1)).await.unwrap();
}

#[tokio::test]
async fn a_socket_is_in_a_bounded_number_of_channels() {
    let (mut joined, _queue, _server) = socket();
    for name in ["a", "b"] {
        joined.join(name, None).await.unwrap();
    }
    let refused = joined.join("c", None).await.unwrap_err();
    assert_eq!(
        (&refused.code, &refused.context["channel"]),
        (&TOO_MANY_CHANNELS, &"c".into())
    );
    joined.join("a", None).await.unwrap();
    joined.leave("a");
    joined.join("c", None).await.unwrap();
}

#[tokio::test]
async fn an_expired_history_is_not_recovered_once() {
    let (mut joined, queue, server) = socket();
    server.fill("a", 9).await;
    joined.expire();
    for _ in 0..2 {
        joined.join("a", position(&server, "a", 9)).await.unwrap();
    }
    assert_eq!(words(&queue), ["a:joined false 5", "a:joined true 0"]);
}

#[tokio::test]
async fn a_channel_that_was_closed_meanwhile_is_opened_again() {
    let (mut joined, queue, server) = socket();
    joined.join("closing", None).await.unwrap();
    server.fill("closing", 1).await;
    assert_eq!(words(&queue), ["closing:joined false 0", "closing:1"]);
}

#[tokio::test]
async fn a_socket_that_ends_leaves_its_channels() {
    let (mut joined, _queue, server) = socket();
    for name in ["a", "b"] {
        joined.join(name, None).await.unwrap();
    }
    drop(joined);
    assert_eq!(server.left.load(Ordering::Relaxed), 2);
    assert!(server.channel("a").close_if(|()| true));
}

#[tokio::test(start_paused = true)]
async fn a_join_waits_for_the_answers_before_it() {
    let (mut joined, queue, _server) = socket();
    let large = "x".repeat(500_000);
    queue.push_json(&large);
    assert!(joined.join("a", None).now_or_never().is_none());
    take(&queue);
    assert!(joined.join("a", None).now_or_never().is_some());
}
