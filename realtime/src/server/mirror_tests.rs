use std::sync::atomic::AtomicBool;

use futures::stream;
use serde_json::json;
use tokio::sync::{broadcast, mpsc};

use super::*;
use crate::{event_parser::ParsedEvent, server::topic::Opened};

/// The sum of the numbers so far, and how many they were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    sum: u64,
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Number {
    Add { number: u64 },
    Now(Sum),
}

impl Mirrored for Sum {
    type Event = Number;
    type Key = u64;

    fn apply(&mut self, event: Number) -> Option<u64> {
        let key = self.key(&event)?;
        match event {
            Number::Add { number } => {
                self.sum += number;
                self.count += 1;
            }
            Number::Now(sum) => *self = sum,
        }
        Some(key)
    }

    fn key(&self, event: &Number) -> Option<u64> {
        match event {
            // As a symbol that is not listed.
            Number::Add { number: 13 } => None,
            Number::Add { number } => Some(number % 2),
            Number::Now(_) => None,
        }
    }
}

/// Nodes in one process. A node may be cut off, and messages may be lost.
#[derive(Clone)]
struct Wires {
    published: broadcast::Sender<Bytes>,
    asked: Arc<Mutex<Option<mpsc::UnboundedSender<CarriedQuestion>>>>,
    /// While it is set, what is published is lost.
    loses: Arc<AtomicBool>,
}

impl Wires {
    fn new() -> Self {
        Self {
            published: broadcast::Sender::new(1_000),
            asked: Arc::default(),
            loses: Arc::default(),
        }
    }

    fn lose(&self, loses: bool) {
        self.loses.store(loses, Ordering::Relaxed);
    }
}

impl Carrier for Wires {
    fn publish(&self, message: Bytes) {
        if !self.loses.load(Ordering::Relaxed) {
            let _ = self.published.send(message);
        }
    }

    fn subscribe(&self) -> BoxStream<'static, Bytes> {
        let messages = self.published.subscribe();
        stream::unfold(messages, async |mut messages| {
            loop {
                match messages.recv().await {
                    Ok(message) => return Some((message, messages)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    fn ask(&self, question: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let asked = self.asked.lock().unwrap().clone();
        Box::pin(async move {
            let question = CarriedQuestion {
                question,
                answer: Box::new(|bytes| drop(answer.send(bytes))),
            };
            asked?.send(question).ok()?;
            answered.await.ok()
        })
    }

    fn questions(&self) -> BoxStream<'static, CarriedQuestion> {
        let (sender, questions) = mpsc::unbounded_channel();
        *self.asked.lock().unwrap() = Some(sender);
        stream::unfold(questions, async |mut questions| {
            Some((questions.recv().await?, questions))
        })
        .boxed()
    }
}

struct Node {
    topic: Topic<Sum, u64>,
    mirror: Arc<Mirror<Sum>>,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    fn new(wires: &Wires) -> Self {
        let topic = Topic::new(Sum::default(), Delivery::EveryEvent, 100);
        Self {
            mirror: Arc::new(Mirror::new(topic.clone(), wires.clone())),
            topic,
            running: None,
        }
    }

    async fn own(&mut self, term: u64) {
        self.stop().await;
        let mirror = self.mirror.clone();
        self.running = Some(tokio::spawn(async move { mirror.own(term).await }));
        self.mirror.known().await;
        // It has begun its epoch, and reads its topic, before another task runs.
        tokio::task::yield_now().await;
    }

    async fn follow(&mut self) {
        self.stop().await;
        let mirror = self.mirror.clone();
        self.running = Some(tokio::spawn(async move { mirror.follow().await }));
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    fn add(&self, number: u64) {
        self.topic.publish_all(|state| {
            let event = Number::Add { number };
            state.apply(event.clone()).map(|key| (key, event))
        });
    }

    fn state(&self) -> (Sum, Position) {
        self.topic.read(|state, position| (state.clone(), position))
    }

    fn open(&self, after: Option<&Position>) -> Opened<u64> {
        let snapshot = |state: &Sum, _: &dyn Fn(&u64) -> bool| vec![Number::Now(state.clone())];
        self.topic.open(after, Selection::all(), snapshot)
    }

    /// Waits until this node is where the other one is.
    async fn reaches(&self, other: &Self) {
        for _ in 0..1_000 {
            if self.state() == other.state() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.state(), other.state());
    }
}

/// An owner under the first term, and a mirror that has heard of it.
async fn owned_and_followed() -> (Wires, Node, Node) {
    let wires = Wires::new();
    let (mut owner, mut mirror) = (Node::new(&wires), Node::new(&wires));
    owner.own(1).await;
    mirror.follow().await;
    mirror.mirror.known().await;
    (wires, owner, mirror)
}

fn events(bytes: &[u8]) -> Vec<ParsedEvent> {
    let mut parser = EventParser::default();
    parser.feed(bytes);
    std::iter::from_fn(|| parser.next_event()).collect()
}

fn taken(opened: &mut Opened<u64>) -> Vec<ParsedEvent> {
    match opened.reader.take(usize::MAX) {
        Pending::Events(bytes) => events(&bytes),
        Pending::Nothing => vec![],
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_resumes_at_a_mirror_with_the_bytes_that_the_owner_would_send() {
    let wires = Wires::new();
    let (mut owner, mut mirror) = (Node::new(&wires), Node::new(&wires));
    owner.own(1).await;
    (1..=3).for_each(|number| owner.add(number));
    mirror.follow().await;
    mirror.reaches(&owner).await;
    let (_, seen) = owner.state();
    (4..=9).for_each(|number| owner.add(number));
    mirror.reaches(&owner).await;
    let (mut here, mut there) = (owner.open(Some(&seen)), mirror.open(Some(&seen)));
    assert_eq!((here.recovered, there.recovered), (Some(6), Some(6)));
    assert_eq!(taken(&mut here), taken(&mut there));
    // What was published before the mirror came can be resumed there too.
    let first = Position::new(seen.epoch, 1);
    assert_eq!(mirror.open(Some(&first)).recovered, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_more_than_a_mirror_is_waited_for() {
    let (wires, owner, mirror) = owned_and_followed().await;
    owner.add(1);
    mirror.reaches(&owner).await;
    // The event comes by itself, only later.
    owner.add(2);
    let (_, seen) = owner.state();
    assert_eq!(mirror.open(Some(&seen)).recovered, None);
    mirror.mirror.reach(Some(&seen)).await;
    assert_eq!(mirror.open(Some(&seen)).recovered, Some(0));
    // It never comes, and is asked for.
    wires.lose(true);
    owner.add(3);
    tokio::task::yield_now().await;
    let (_, seen) = owner.state();
    mirror.mirror.reach(Some(&seen)).await;
    assert_eq!(mirror.open(Some(&seen)).recovered, Some(0));
    // A position of another epoch, or one that nobody has handed out, holds up nobody for long.
    let began = Instant::now();
    mirror
        .mirror
        .reach(Some(&Position::new(Epoch::random(), 9)))
        .await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    mirror
        .mirror
        .reach(Some(&Position::new(seen.epoch, 9)))
        .await;
    assert_eq!(began.elapsed(), COMES_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_missed_something_shows_no_hole_and_asks_for_it() {
    let (wires, owner, mirror) = owned_and_followed().await;
    owner.add(1);
    mirror.reaches(&owner).await;
    let mut client = mirror.open(None);
    wires.lose(true);
    owner.add(2);
    tokio::task::yield_now().await;
    wires.lose(false);
    owner.add(3);
    mirror.reaches(&owner).await;
    let ids: Vec<_> = taken(&mut client)
        .into_iter()
        .map(|event| event.data)
        .collect();
    let added = |number: u64| json!({"type": "add", "number": number}).to_string();
    assert_eq!(ids.len(), 2);
    for (data, number) in ids.iter().zip([2, 3]) {
        let sent: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(sent.to_string(), added(number));
    }
    // The last event before a silence is missed: the owner's beat tells it.
    wires.lose(true);
    owner.add(4);
    tokio::task::yield_now().await;
    wires.lose(false);
    mirror.reaches(&owner).await;
    assert_eq!(taken(&mut client).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_missed_more_than_is_held_begins_anew_and_so_do_its_clients() {
    let (wires, owner, mirror) = owned_and_followed().await;
    owner.add(1);
    mirror.reaches(&owner).await;
    let mut client = mirror.open(None);
    wires.lose(true);
    (0..200).for_each(|_| owner.add(2));
    tokio::task::yield_now().await;
    wires.lose(false);
    mirror.reaches(&owner).await;
    assert_eq!(client.reader.take(usize::MAX), Pending::Lagged);
    assert_eq!(mirror.open(Some(&client.reader.written())).recovered, None);
}

#[tokio::test(start_paused = true)]
async fn a_new_owner_is_a_new_epoch_and_the_old_one_reaches_nobody() {
    let wires = Wires::new();
    let (mut first, mut second, mut third) =
        (Node::new(&wires), Node::new(&wires), Node::new(&wires));
    first.own(1).await;
    first.add(1);
    second.follow().await;
    third.follow().await;
    second.reaches(&first).await;
    third.reaches(&first).await;
    let mut client = third.open(None);
    let seen = client.reader.written();
    // The first one was cut off and still thinks that it owns the topic.
    second.own(5).await;
    second.add(10);
    third.reaches(&second).await;
    assert_eq!(client.reader.take(usize::MAX), Pending::Lagged);
    assert_eq!(third.open(Some(&seen)).recovered, None);
    first.add(2);
    tokio::time::sleep(2 * BEAT_EVERY).await;
    let (state, position) = third.state();
    assert_eq!((state.sum, position), (11, second.state().1));
    // It learns that it is not the owner, and follows.
    first.follow().await;
    first.reaches(&second).await;
    assert_ne!(first.state().1.epoch, seen.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_lower_term_counts_when_the_owner_of_the_higher_one_is_silent() {
    let wires = Wires::new();
    let (mut first, mut second, mut third) =
        (Node::new(&wires), Node::new(&wires), Node::new(&wires));
    first.own(9).await;
    third.follow().await;
    third.reaches(&first).await;
    first.stop().await;
    second.own(2).await;
    second.add(1);
    third.reaches(&second).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_is_the_end_at_every_node() {
    let wires = Wires::new();
    let (mut owner, mut mirror, mut late) =
        (Node::new(&wires), Node::new(&wires), Node::new(&wires));
    owner.own(1).await;
    mirror.follow().await;
    mirror.mirror.known().await;
    owner.add(1);
    owner.topic.end();
    mirror.reaches(&owner).await;
    for _ in 0..1_000 {
        if mirror.topic.end_position().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(mirror.topic.end_position(), owner.topic.end_position());
    late.follow().await;
    late.mirror.known().await;
    assert_eq!(late.topic.end_position(), owner.topic.end_position());
    assert_eq!(late.state(), owner.state());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_fit_the_state_has_the_whole_state_asked_for() {
    let (_wires, owner, mirror) = owned_and_followed().await;
    // The mirror's own function does not know this number.
    let event = Number::Add { number: 13 };
    owner.topic.publish_all(|state| {
        state.sum += 13;
        [(1, event)]
    });
    mirror.reaches(&owner).await;
    assert_eq!(mirror.state().0.sum, 13);
    let before = Position::new(owner.state().1.epoch, 0);
    assert_eq!(
        mirror.open(Some(&before)).recovered,
        None,
        "its event is not held"
    );
}

#[test]
fn what_cannot_be_read_is_ignored() {
    let mirror = Node::new(&Wires::new()).mirror;
    for message in [
        "",
        "no header",
        "{}\n",
        "{\"term\":1,\"epoch\":\"e\",\"after\":0,\"head\":1,\"ended\":false,\"state\":null}\nid: e-1\n",
        "{\"term\":1,\"epoch\":\"e\",\"after\":0,\"head\":1,\"ended\":false,\"state\":null}\nid: x\nevent: a\ndata: {}\n\n",
    ] {
        let received = mirror.received(&Bytes::copy_from_slice(message.as_bytes()));
        assert_eq!(received, Received::Ignored, "{message}");
    }
}
