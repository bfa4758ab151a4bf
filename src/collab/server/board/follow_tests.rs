//! Tests boards of two nodes that share a log.

use std::sync::atomic::Ordering;

use axum::extract::ws::Message as Frame;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Duration, timeout},
};
use uuid::Uuid;

use super::*;
use crate::{
    bus::{
        Bus, NewEvent,
        test_node::{TestNode, two_nodes},
    },
    collab::{
        message::PeerId,
        protocol::{Message, decode, decode_state_vector},
        server::{document::Refusal, store::Growth, test_client::TestClient},
    },
    session::User,
};
use realtime::server::queue::OutQueue;

/// Ends a test that waits in vain; nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(20);
const LOG: &str = "collab/notes";

/// The board of a document at two nodes.
struct World {
    nodes: [Arc<TestNode>; 2],
    boards: [Arc<Board>; 2],
    /// Aborted with the world.
    tasks: JoinSet<()>,
    _folder: TempDir,
}

impl World {
    /// Opens the boards, without their tasks.
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes = two_nodes(folder.path());
        let boards = [0, 1].map(|node: usize| Arc::new(Board::new(nodes[node].clone(), "notes")));
        for board in &boards {
            board.load().await.unwrap();
        }
        Self {
            nodes,
            boards,
            tasks: JoinSet::new(),
            _folder: folder,
        }
    }

    fn follow(&mut self, at: usize) {
        self.tasks.spawn(self.boards[at].clone().follow());
    }

    /// Runs a board as it is run when it is open.
    fn run(&mut self, at: usize) {
        self.follow(at);
        self.tasks.spawn(self.boards[at].clone().write());
    }

    async fn take(&self, at: usize, update: Vec<u8>) {
        let taken = self.boards[at].take(1, update.into(), false).await;
        taken.unwrap();
    }

    /// Writes what is unsaved, where no task does it.
    async fn write(&self, at: usize) {
        while self.boards[at].write_some().await {}
    }

    async fn append(&self, bytes: impl Into<Bytes>) {
        let event = NewEvent::new(LOG, Uuid::now_v7(), bytes);
        self.nodes[0].append(event).await.unwrap();
    }

    /// Waits until the board of a node has a text that a predicate accepts, and returns it.
    async fn until(&self, at: usize, wanted: impl Fn(&str) -> bool) -> String {
        let board = &self.boards[at];
        let mut applied = board.applied.subscribe();
        let waiting = async {
            loop {
                let text = board.read().await.unwrap();
                if wanted(&text) {
                    return text;
                }
                applied.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, waiting).await.expect("the text arrives")
    }

    async fn reads(&self, at: usize, text: &str) {
        self.until(at, |read| read == text).await;
    }

    async fn saved(&self, at: usize) {
        let written = timeout(PATIENCE, self.boards[at].written()).await;
        written.expect("it is saved");
    }

    /// A client that follows a board, and has received what it is sent first.
    async fn client(&self, at: usize, id: PeerId) -> OutQueue {
        let (queue, user) = (OutQueue::default(), User::new(Uuid::new_v4(), "Ana".into()));
        let welcome = |_| Frame::Text("welcome".into());
        let board = &self.boards[at];
        board.roster().join(id, user, queue.clone(), welcome);
        board.roster().send_initial_state(id);
        queue.take().await;
        queue
    }
}

/// The updates in a queue, and the `saved` events.
async fn received(queue: &OutQueue) -> (Vec<Vec<u8>>, Vec<serde_json::Value>) {
    let (mut updates, mut saved) = (vec![], vec![]);
    for message in queue.take().await.messages {
        match message {
            Frame::Binary(frame) => match decode(&frame).next() {
                Some(Ok(Message::Update(update))) => updates.push(update.to_vec()),
                other => panic!("{other:?}"),
            },
            Frame::Text(text) => saved.push(serde_json::from_str(&text).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    (updates, saved)
}

#[tokio::test]
async fn what_is_typed_at_two_nodes_at_once_becomes_one_text_at_both() {
    let mut world = World::open().await;
    world.run(0);
    world.run(1);
    let (ana, ben) = (TestClient::new(1), TestClient::new(2));
    for letter in ["a", "b", "c", "d"] {
        let (from_ana, from_ben) = (ana.insert(0, letter), ben.insert(0, letter));
        tokio::join!(world.take(0, from_ana), world.take(1, from_ben));
    }
    let has_all = |text: &str| text.len() == 8;
    let one = world.until(0, has_all).await;
    assert_eq!(world.until(1, has_all).await, one);
    // Nobody writes what came from the log: one event for each write, and none for what was followed.
    world.saved(0).await;
    world.saved(1).await;
    let events = world.nodes[0].read(LOG, 0, 100).await.unwrap().events;
    let updates: usize = events
        .iter()
        .map(|event| decode(&event.bytes).count())
        .sum();
    assert_eq!(updates, 8);
}

#[tokio::test]
async fn clients_at_another_node_are_sent_the_update_and_that_it_is_saved() {
    let mut world = World::open().await;
    world.follow(1);
    let (ana, queue) = (TestClient::new(1), world.client(1, 7).await);
    world.take(0, ana.insert(0, "hello")).await;
    world.write(0).await;
    world.reads(1, "hello").await;
    let (updates, saved) = received(&queue).await;
    let ben = TestClient::new(2);
    updates.iter().for_each(|update| ben.apply(update));
    assert_eq!(ben.string(), "hello");
    assert_eq!(
        (&saved[0]["type"], &saved[0]["updates"]),
        (&"saved".into(), &0.into())
    );
    let vector = BASE64_STANDARD.decode(saved[0]["state_vector"].as_str().unwrap());
    let clocks = decode_state_vector(&vector.unwrap());
    assert_eq!(clocks, Ok(Clocks::from([(1, 5)])));
    // The client has moved here from the other node and repeats itself: known, and saved.
    let again = world.boards[1].take(7, ana.whole().into(), true).await;
    assert_eq!(again.unwrap(), Applied::default());
    assert_eq!(received(&queue).await.1[0]["updates"], 1);
}

#[tokio::test]
async fn a_node_that_is_cut_goes_on_and_merges_when_it_is_back() {
    let mut world = World::open().await;
    world.run(0);
    world.run(1);
    world.nodes[1].is_away.store(true, Ordering::Relaxed);
    let (ana, ben) = (TestClient::new(1), TestClient::new(2));
    let queue = world.client(1, 7).await;
    world.take(1, ben.insert(0, "cut")).await;
    assert_eq!(received(&queue).await.1, [] as [serde_json::Value; 0]);
    world.take(0, ana.insert(0, "well")).await;
    world
        .until(1, |text| text.contains("well") && text.contains("cut"))
        .await;
    assert!(!world.boards[1].is_written());
    assert_eq!(world.boards[0].read().await.unwrap(), "well");
    world.nodes[1].is_away.store(false, Ordering::Relaxed);
    world.saved(1).await;
    let merged = world.boards[1].read().await.unwrap();
    world.reads(0, &merged).await;
}

#[tokio::test]
async fn a_follower_that_a_snapshot_has_overtaken_goes_on_from_there() {
    let mut world = World::open().await;
    let (ana, ben) = (TestClient::new(1), TestClient::new(2));
    let queue = world.client(1, 7).await;
    world.follow(0);
    for letter in ["c", "b", "a"] {
        world.take(0, ana.insert(0, letter)).await;
        world.write(0).await;
    }
    world.take(1, ben.insert(0, "unsaved ")).await;
    let head = world.nodes[0].head(LOG).await.unwrap().head;
    let compacted = world.nodes[0].compact(LOG, head, ana.whole().into(), head);
    compacted.await.unwrap();
    world.follow(1);
    world
        .until(1, |text| text.contains("abc") && text.contains("unsaved "))
        .await;
    world.take(0, ana.insert(3, "d")).await;
    world.write(0).await;
    world.until(1, |text| text.contains("abcd")).await;
    // The clients were sent what the snapshot brought, and that it is saved.
    let (updates, saved) = received(&queue).await;
    let cleo = TestClient::new(3);
    updates.iter().for_each(|update| cleo.apply(update));
    assert_eq!(cleo.string(), world.boards[1].read().await.unwrap());
    let clocks = saved
        .iter()
        .map(|saved| saved["state_vector"].as_str().unwrap());
    let clocks = clocks.map(|vector| decode_state_vector(&BASE64_STANDARD.decode(vector).unwrap()));
    let clocks: Vec<_> = clocks.map(Result::unwrap).collect();
    assert_eq!(clocks, [Clocks::from([(1, 3)]), Clocks::from([(1, 4)])]);
}

#[tokio::test]
async fn a_document_that_is_loaded_again_keeps_nothing_from_its_clients() {
    let mut world = World::open().await;
    let (ana, queue) = (TestClient::new(1), world.client(1, 7).await);
    world.take(0, ana.insert(0, "not yet followed")).await;
    world.write(0).await;
    let broken = world.boards[1]
        .text
        .lock()
        .await
        .with_document(|_| Err::<(), _>(Refusal::Harmful));
    assert!(broken.is_err());
    world.reads(1, "not yet followed").await;
    world.follow(1);
    world.take(0, ana.insert(16, " and followed")).await;
    world.write(0).await;
    world.reads(1, "not yet followed and followed").await;
    let (updates, _) = received(&queue).await;
    let ben = TestClient::new(2);
    updates.iter().for_each(|update| ben.apply(update));
    assert_eq!(ben.string(), "not yet followed and followed");
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_does_not_end_a_board_and_is_not_compacted_away() {
    let mut world = World::open().await;
    world.follow(0);
    world.follow(1);
    world.append("of a newer version").await;
    world.append(Message::Update(&[1, 2, 3]).encode()).await;
    let ana = TestClient::new(1);
    world.take(0, ana.insert(0, "goes on")).await;
    world.write(0).await;
    world.reads(1, "goes on").await;
    let board = &world.boards[1];
    let mut text = board.text.lock().await;
    assert!(text.is_partial && !board.may_compact(&mut text).await);
}

#[tokio::test]
async fn an_event_that_builds_on_what_is_missing_is_followed_by_another_load_once() {
    let mut world = World::open().await;
    world.follow(1);
    let ana = TestClient::new(1);
    let (_lost, second) = (ana.insert(0, "lost"), ana.insert(4, "second"));
    world.append(Message::Update(&second).encode()).await;
    let ben = TestClient::new(2);
    world
        .append(Message::Update(&ben.insert(0, "ben")).encode())
        .await;
    world.reads(1, "ben").await;
    assert!(world.boards[1].text.lock().await.is_partial);
    world
        .append(Message::Update(&ana.insert(0, "third")).encode())
        .await;
    world
        .append(Message::Update(&ben.insert(3, "!")).encode())
        .await;
    world.reads(1, "ben!").await;
}

#[tokio::test]
async fn a_node_compacts_what_both_wrote_and_the_other_counts_anew() {
    let mut world = World::open().await;
    world.run(0);
    world.follow(1);
    let (ana, ben) = (TestClient::new(1), TestClient::new(2));
    for _ in 0..300 {
        world.take(1, ben.insert(0, "b")).await;
    }
    world.write(1).await;
    assert_eq!(world.nodes[0].snapshot(LOG).await.unwrap(), None);
    world.until(0, |text| text.len() == 300).await;
    for _ in 0..300 {
        world.take(0, ana.insert(0, "a")).await;
    }
    world.saved(0).await;
    let compacted = async {
        loop {
            if let Some(snapshot) = world.nodes[0].snapshot(LOG).await.unwrap() {
                return snapshot;
            }
            tokio::task::yield_now().await;
        }
    };
    let snapshot = timeout(PATIENCE, compacted).await.expect("it is compacted");
    let head = world.nodes[0].head(LOG).await.unwrap();
    assert_eq!((head.floor, head.head), (snapshot.offset, snapshot.offset));
    world.until(1, |text| text.len() == 600).await;
    world.take(1, ben.insert(0, "b")).await;
    world.write(1).await;
    let again = world.nodes[0].snapshot(LOG).await.unwrap().unwrap();
    assert_eq!(again.offset, snapshot.offset, "the other node has done it");
    assert_eq!(world.boards[1].text.lock().await.growth, Growth::default());
    let late = Arc::new(Board::new(world.nodes[0].clone(), "notes"));
    world.until(0, |text| text.len() == 601).await;
    assert_eq!(
        late.read().await.unwrap(),
        world.boards[0].read().await.unwrap()
    );
}

#[tokio::test]
async fn a_snapshot_holds_neither_less_than_the_log_nor_more() {
    let mut world = World::open().await;
    world.follow(0);
    let ana = TestClient::new(1);
    world.take(0, ana.insert(0, "saved")).await;
    world.write(0).await;
    world.reads(0, "saved").await;
    let may_compact = async |at: usize| {
        let board = &world.boards[at];
        let mut text = board.text.lock().await;
        board.may_compact(&mut text).await
    };
    let head = world.nodes[0].head(LOG).await.unwrap().head;
    assert!(world.boards[0].follows_to(head).await && may_compact(0).await);
    assert!(!may_compact(1).await, "it has not followed");
    world.take(0, ana.insert(0, "un")).await;
    assert!(!may_compact(0).await, "it has unsaved updates");
}
