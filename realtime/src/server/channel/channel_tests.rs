use std::{future::poll_fn, pin::Pin, task::Poll};

use futures::{FutureExt, future::BoxFuture};
use proptest::prelude::*;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::{
    channel::{ChannelCommand, ChannelEvent},
    contract::SocketContract,
    position::Epoch,
};

pub(super) type Event = ChannelEvent<u64>;

/// Messages are numbers.
#[derive(Clone, PartialEq)]
pub(super) struct Wall;

impl SocketContract for Wall {
    const NAME: &'static str = "wall";
    const ROUTE: &'static str = "/api/wall";
    const SUBPROTOCOL: &'static str = "wall.v1";
    type Welcome = ();
    type Command = ChannelCommand<u64>;
    type Event = Event;
}

/// The offsets that were delivered.
#[derive(Default)]
pub(super) struct Delivered(Vec<u64>);

impl ChannelState<u64> for Delivered {
    fn delivered(&mut self, entry: &Entry<u64>) {
        self.0.push(entry.offset);
    }
}

/// A log whose reads return what was there one poll earlier, so that a test can let something happen meanwhile.
#[derive(Clone)]
pub(super) struct Late(pub(super) MemoryLog<u64>);

async fn one_poll_later() {
    let mut polled = false;
    poll_fn(|_| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl Log for Late {
    type Message = u64;
    type Follower = super::memory_log::MemoryFollower<u64>;

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    async fn head(&self) -> Result<Head, LogError> {
        self.0.head().await
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry<u64>>, LogError> {
        let page = self.0.read(after, limit).await;
        one_poll_later().await;
        page
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

    fn follow(&self, after: u64) -> Self::Follower {
        self.0.follow(after)
    }
}

pub(super) type TestChannel = Channel<Wall, Late, Delivered>;

/// How many of the latest messages a newcomer gets.
pub(super) const LATEST: usize = 3;
/// Bytes of a queue: a few messages.
const QUEUE: usize = 2_000;

pub(super) fn open(capacity: usize) -> (Arc<TestChannel>, MemoryLog<u64>) {
    let log = MemoryLog::new(capacity);
    let channel = Channel::after("lobby", Late(log.clone()), Delivered::default(), 0);
    (channel, log)
}

pub(super) fn append(log: &MemoryLog<u64>, number: u64) -> Appended {
    let appended = log.append(Uuid::new_v4().into(), number).now_or_never();
    appended.unwrap().unwrap()
}

pub(super) fn answer(joined: Joined) -> Vec<Event> {
    vec![Event::Joined {
        channel: "lobby".into(),
        joined,
        members: vec![],
    }]
}

/// Takes the events out of a queue.
pub(super) fn take(queue: &OutQueue) -> (Vec<serde_json::Value>, Option<u16>) {
    let (mut events, mut close) = (vec![], None);
    while close.is_none()
        && let Some(batch) = queue.take().now_or_never()
    {
        let texts = batch.messages.iter();
        events.extend(texts.map(|text| serde_json::from_str(text.to_text().unwrap()).unwrap()));
        close = batch.close.map(|close| close.code);
    }
    (events, close)
}

pub(super) fn decoded(queue: &OutQueue) -> (Vec<Event>, Option<u16>) {
    let (events, close) = take(queue);
    let decode = |event| serde_json::from_value(event).unwrap();
    (events.into_iter().map(decode).collect(), close)
}

/// A client with its socket in the channel.
#[derive(Default)]
struct Client {
    queue: Option<OutQueue>,
    position: Option<Position>,
    /// A join whose start was read from the log.
    joining: Option<Start>,
    behind: bool,
    reading: Option<BoxFuture<'static, Result<bool, LogError>>>,
}

struct World {
    channel: Arc<TestChannel>,
    log: MemoryLog<u64>,
    follower: super::memory_log::MemoryFollower<u64>,
    clients: [Client; 3],
}

#[derive(Clone, Debug)]
enum Step {
    Append,
    Deliver { limit: usize },
    Truncate { keep: u64 },
    BeginJoin { client: usize, anew: bool },
    EndJoin { client: usize },
    PollRead { client: usize },
    Take { client: usize },
    Cut { client: usize },
}

impl World {
    fn new() -> Self {
        let (channel, log) = open(1_000);
        Self {
            follower: log.follow(0),
            channel,
            log,
            clients: Default::default(),
        }
    }

    fn head(&self) -> Head {
        self.log.head().now_or_never().unwrap().unwrap()
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append => {
                let number = self.head().head + 1;
                append(&self.log, number);
            }
            Step::Deliver { limit } => match self.follower.next(limit).now_or_never() {
                Some(Ok(entries)) => drop(self.channel.deliver(&entries)),
                Some(Err(LogError::Truncated { floor })) => {
                    self.channel.skip_to(floor);
                    self.follower = self.log.follow(floor);
                }
                Some(Err(error)) => panic!("{error}"),
                None => {}
            },
            Step::Truncate { keep } => self.log.truncate(self.head().head.saturating_sub(keep)),
            Step::BeginJoin { client, anew } => {
                let head = self.head();
                let client = &mut self.clients[client];
                client.queue.get_or_insert_with(|| OutQueue::new(QUEUE));
                let after = client.position.clone().filter(|_| !anew);
                let start = self.channel.start(after.as_ref(), LATEST).now_or_never();
                let start = start.unwrap().unwrap();
                let held = after
                    .as_ref()
                    .is_some_and(|after| (head.floor..=head.head).contains(&after.offset));
                prop_assert_eq!(start.joined.recovered, held);
                client.joining = Some(start);
            }
            Step::EndJoin { client: number } => {
                let client = &mut self.clients[number];
                if let (Some(start), Some(queue)) = (client.joining.take(), &client.queue) {
                    let queue = queue.clone();
                    self.enter(number, &queue, &start);
                }
            }
            Step::PollRead { client: number } => self.poll_read(number),
            Step::Take { client } => self.clients[client].take()?,
            Step::Cut { client: number } => {
                self.channel.leave(number as u64);
                let client = &mut self.clients[number];
                (client.queue, client.joining, client.reading) = (None, None, None);
                client.behind = false;
            }
        }
        Ok(())
    }

    fn enter(&mut self, number: usize, queue: &OutQueue, start: &Start) {
        let socket = number as u64;
        let first_time = true;
        let seat = Seat {
            socket,
            queue,
            first_time,
        };
        let entered = self
            .channel
            .enter(seat, start, |_, _, joined| answer(joined));
        let client = &mut self.clients[number];
        client.behind = entered == Entered::Behind;
        client.reading = None;
    }

    fn poll_read(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(queue) = client.queue.clone().filter(|_| client.behind) else {
            return;
        };
        let mut reading = client.reading.take().unwrap_or_else(|| {
            let channel = self.channel.clone();
            async move { channel.catch_up(number as u64).await }.boxed()
        });
        match Pin::new(&mut reading).now_or_never() {
            None => client.reading = Some(reading),
            Some(Ok(behind)) => client.behind = behind,
            Some(Err(LogError::Truncated { .. })) => {
                let start = self.channel.start(None, LATEST).now_or_never();
                self.enter(number, &queue, &start.unwrap().unwrap());
            }
            Some(Err(error)) => panic!("{error}"),
        }
    }

    fn is_settled(&self) -> bool {
        let head = self.head().head;
        let has_all = |client: &Client| {
            let position = client.position.as_ref();
            !client.behind && position.is_some_and(|position| position.offset == head)
        };
        self.channel.delivered() == head && self.clients.iter().all(has_all)
    }

    /// Lets everything happen that is under way, and lets every client come back that was closed.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let mut rounds = 0;
        while !self.is_settled() && rounds < 200 {
            rounds += 1;
            self.step(Step::Deliver { limit: 100 })?;
            for client in 0..self.clients.len() {
                if self.clients[client].queue.is_none() {
                    let anew = false;
                    self.step(Step::BeginJoin { client, anew })?;
                }
                self.step(Step::EndJoin { client })?;
                self.step(Step::PollRead { client })?;
                self.step(Step::Take { client })?;
            }
        }
        Ok(())
    }
}

impl Client {
    fn take(&mut self) -> Result<(), TestCaseError> {
        let Some(queue) = &self.queue else {
            return Ok(());
        };
        let (events, close) = decoded(queue);
        for event in events {
            match event {
                ChannelEvent::Joined { joined, .. } if joined.recovered => {
                    let position = self.position.as_ref().unwrap();
                    prop_assert_eq!(&position.epoch, &joined.epoch);
                }
                ChannelEvent::Joined { joined, .. } => {
                    let after = joined.head - joined.replayed;
                    self.position = Some(Position::new(joined.epoch, after));
                }
                ChannelEvent::Message { entry, .. } => {
                    let position = self.position.as_mut().unwrap();
                    prop_assert_eq!(entry.offset, position.offset + 1, "a hole or a double");
                    prop_assert_eq!(entry.message, entry.offset);
                    position.offset = entry.offset;
                }
                event => panic!("{event:?}"),
            }
        }
        if close.is_some() {
            prop_assert_eq!(close, Some(CloseCode::TooSlow.code()));
            (self.queue, self.joining, self.reading) = (None, None, None);
            self.behind = false;
        }
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..3_usize;
    prop_oneof![
        6 => Just(Step::Append),
        4 => (1..5_usize).prop_map(|limit| Step::Deliver { limit }),
        1 => (0..6_u64).prop_map(|keep| Step::Truncate { keep }),
        3 => (client(), any::<bool>()).prop_map(|(client, anew)| Step::BeginJoin { client, anew }),
        4 => client().prop_map(|client| Step::EndJoin { client }),
        6 => client().prop_map(|client| Step::PollRead { client }),
        3 => client().prop_map(|client| Step::Take { client }),
        1 => client().prop_map(|client| Step::Cut { client }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_member_misses_a_message_or_gets_one_twice(
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new();
        for step in steps {
            // A client joins again only after it has read what it was sent, as on a new connection.
            if let Step::BeginJoin { client, .. } = step {
                world.step(Step::Cut { client })?;
            }
            world.step(step)?;
        }
        world.settle()?;
        prop_assert!(world.is_settled(), "somebody lacks a message");
        world.channel.change(|delivered, _| {
            prop_assert!(delivered.0.is_sorted_by(|one, next| one < next));
            Ok(())
        })?;
    }
}

pub(super) fn enter(channel: &Arc<TestChannel>, socket: u64, after: u64) -> (OutQueue, Entered) {
    let queue = OutQueue::default();
    let after = Some(Position::new(channel.log().epoch(), after));
    let start = channel.start(after.as_ref(), LATEST).now_or_never();
    let seat = Seat {
        socket,
        queue: &queue,
        first_time: true,
    };
    let start = start.unwrap().unwrap();
    let entered = channel.enter(seat, &start, |_, _, joined| answer(joined));
    (queue, entered)
}

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_once_it_is_queued_for_the_live_members() {
    let (channel, log) = open(10);
    let (queue, entered) = enter(&channel, 1, 0);
    assert_eq!((entered, take(&queue).0.len()), (Entered::Live, 1));
    let id: SpelledId = Uuid::new_v4().into();
    let sending = tokio::spawn({
        let (channel, id) = (channel.clone(), id.clone());
        async move { channel.send(id, 1).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(log.head().await.unwrap().head, 1);
    assert!(!sending.is_finished(), "nobody has delivered it");
    let following = tokio::spawn(channel.follow());
    let appended = sending.await.unwrap().unwrap();
    assert_eq!((appended.offset, appended.new), (1, true));
    assert_eq!(decoded(&queue).0.len(), 1);
    let again = channel.send(id, 1).await.unwrap();
    assert_eq!((again.offset, again.at, again.new), (1, appended.at, false));
    assert_eq!(decoded(&queue).0, []);
    // Without the task the sender is answered all the same, because the message is stored.
    following.abort();
    let began = Instant::now();
    assert_eq!(
        channel.send(Uuid::new_v4().into(), 2).await.unwrap().offset,
        2
    );
    assert_eq!(began.elapsed(), DELIVERY_TIMEOUT);
}

#[tokio::test]
async fn a_channel_without_members_is_closed_for_good() {
    let (channel, _) = open(10);
    let (_queue, _) = enter(&channel, 1, 0);
    assert!(!channel.close_if(|_| true), "it has a member");
    channel.leave(1);
    assert!(!channel.close_if(|_| false), "its state is not saved");
    assert_ne!(enter(&channel, 1, 0).1, Entered::Closed);
    channel.leave(1);
    assert!(channel.close_if(|_| true));
    assert_eq!(enter(&channel, 1, 0).1, Entered::Closed);
    assert!(channel.change(|_, members| members.is_empty()));
}

#[tokio::test]
async fn a_broadcast_reaches_members_that_are_behind() {
    let (channel, log) = open(10);
    append(&log, 1);
    drop(channel.deliver(&log.read(0, 9).await.unwrap()));
    let ((live, _), (behind, entered)) = (enter(&channel, 1, 1), enter(&channel, 2, 0));
    assert_eq!(entered, Entered::Behind);
    channel.change(|_, members| {
        assert_eq!(members.len(), 2);
        members.broadcast(&"news");
    });
    for queue in [live, behind] {
        assert_eq!(take(&queue).0.last().unwrap(), "news");
    }
}

#[tokio::test]
async fn a_live_member_that_has_what_was_dropped_stays() {
    let (channel, log) = open(10);
    let (queue, entered) = enter(&channel, 1, 0);
    assert_eq!(entered, Entered::Live);
    for number in 1..=3 {
        append(&log, number);
    }
    drop(channel.deliver(&log.read(0, 9).await.unwrap()));
    channel.skip_to(3);
    let (events, close) = decoded(&queue);
    assert_eq!((events.len(), close), (4, None));
    channel.skip_to(4);
    assert_eq!(take(&queue).1, Some(CloseCode::TooSlow.code()));
}

/// A log that another server writes to: this one has read nothing of it until it is asked to reach an offset.
#[derive(Clone)]
struct Lagging(MemoryLog<u64>);

impl Log for Lagging {
    type Message = u64;
    type Follower = super::memory_log::MemoryFollower<u64>;

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    async fn head(&self) -> Result<Head, LogError> {
        self.0.head().await
    }

    async fn reach(&self, offset: u64) -> Result<(), LogError> {
        if offset > 5 {
            return Err(LogError::Unavailable("it is too far behind".into()));
        }
        while self.0.head().await?.head < offset {
            append(&self.0, 0);
        }
        Ok(())
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

    fn follow(&self, after: u64) -> Self::Follower {
        self.0.follow(after)
    }
}

#[tokio::test]
async fn a_member_that_comes_with_what_another_server_delivered_is_recovered() {
    let log = Lagging(MemoryLog::new(10));
    let at = |offset| Position::new(log.epoch(), offset);
    let start = Start::of(&log, Some(&at(5)), LATEST).await.unwrap();
    let Joined {
        recovered,
        replayed,
        head,
        ..
    } = start.joined;
    assert_eq!((recovered, replayed, head), (true, 0, 5));
    let refused = Start::of(&log, Some(&at(6)), LATEST).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))));
    let foreign = Position::new(Epoch::random(), 9);
    let start = Start::of(&log, Some(&foreign), LATEST).await.unwrap();
    assert!(!start.joined.recovered);
}
