//! Tests what two nodes tell each other about their boards.

use std::sync::atomic::Ordering;

use axum::extract::ws::Message as Frame;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Duration, timeout},
};
use uuid::Uuid;

use super::{super::Visit, *};
use crate::{
    background::Supervisor,
    bus::test_node::{TestNode, two_nodes},
    collab::message::PeerId,
    session::User,
};
use realtime::server::{Drain, queue::OutQueue};

/// Ends a test that waits in vain; nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    nodes: [Arc<TestNode>; 2],
    collabs: [Collab; 2],
    drains: [Drain; 2],
    /// Aborted with the world.
    _tasks: JoinSet<()>,
    _folder: TempDir,
}

/// A client of ours on a board.
struct Client {
    visit: Visit,
    id: PeerId,
    queue: OutQueue,
    /// Events that were received and not asked for yet.
    events: Vec<Value>,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes = two_nodes(folder.path());
        let collab = |node: &Arc<TestNode>| Collab::new(node.clone(), Supervisor::default());
        let collabs = [collab(&nodes[0]), collab(&nodes[1])];
        let drains = [Drain::default(), Drain::default()];
        let mut tasks = JoinSet::new();
        for (collab, drain) in collabs.iter().zip(&drains) {
            tasks.spawn(collab.clone().run(drain.clone()));
            tasks.spawn(collab.clone().follow_nodes());
        }
        Self {
            nodes,
            collabs,
            drains,
            _tasks: tasks,
            _folder: folder,
        }
    }

    async fn join(&self, at: usize) -> Client {
        let visit = self.collabs[at].visit("notes").await.unwrap();
        let (id, queue) = (visit.next_peer(), OutQueue::default());
        let user = User::new(Uuid::new_v4(), "Ana".into());
        let welcome = |others: Vec<_>| {
            let welcome = serde_json::json!({"type": "welcome", "peers": others});
            Frame::Text(welcome.to_string().into())
        };
        visit.change(|roster| roster.join(id, user, queue.clone(), welcome));
        Client {
            visit,
            id,
            queue,
            events: vec![],
        }
    }
}

impl Client {
    /// The next event of a type; those before it are dropped.
    async fn next(&mut self, kind: &str) -> Value {
        loop {
            let event = self.any().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// Waits until a peer was there when this client came, or came after it. Returns the peer.
    async fn sees(&mut self, id: PeerId) -> Value {
        loop {
            let event = self.any().await;
            let there = event["peers"].as_array().into_iter().flatten();
            let mut peers = there.chain([&event["peer"]]);
            if let Some(peer) = peers.find(|peer| peer["id"] == id) {
                return peer.clone();
            }
        }
    }

    async fn any(&mut self) -> Value {
        if self.events.is_empty() {
            let taken = timeout(PATIENCE, self.queue.take()).await;
            for message in taken.expect("an event comes").messages {
                let event = serde_json::from_str(message.to_text().unwrap());
                self.events.push(event.unwrap());
            }
        }
        self.events.remove(0)
    }

    fn move_to(&self, x: f32) {
        if self.visit.change(|roster| roster.move_to(self.id, x, 0.5)) {
            self.visit.moved();
        }
    }

    fn leave(self) {
        let newest = self.visit.newest_peer();
        self.visit.change(|roster| roster.leave(self.id, newest));
    }
}

#[tokio::test]
async fn two_nodes_show_each_others_peers_and_a_late_one_sees_everybody() {
    let world = World::start();
    let mut ana = world.join(0).await;
    ana.move_to(0.25);
    ana.next("moved").await;
    // The other node opens the board only now.
    let mut ben = world.join(1).await;
    assert!(ana.id != ben.id);
    assert_eq!(ben.sees(ana.id).await["x"], 0.25);
    ana.sees(ben.id).await;
    ben.move_to(0.75);
    assert_eq!(ana.next("moved").await["moves"][0][0], ben.id);
    let first = world.collabs[0].first_board("notes").await.unwrap();
    assert_eq!(first.peers.len(), 2, "the page shows both without a script");
    let mut cleo = world.join(0).await;
    let welcome = cleo.next("welcome").await;
    assert_eq!(welcome["peers"].as_array().unwrap().len(), 2);
    let id = ben.id;
    ben.leave();
    assert_eq!(ana.next("left").await["id"], id);
}

#[tokio::test]
async fn a_node_that_drains_takes_its_peers_along_at_once() {
    let world = World::start();
    let (mut ana, ben) = (world.join(0).await, world.join(1).await);
    ana.sees(ben.id).await;
    world.drains[1].start();
    assert_eq!(ana.next("left").await["id"], ben.id);
}

#[tokio::test]
async fn a_node_that_departs_takes_its_peers_along_until_it_is_heard_again() {
    let world = World::start();
    let (mut ana, ben) = (world.join(0).await, world.join(1).await);
    ana.sees(ben.id).await;
    world.nodes[1].is_mute.store(true, Ordering::Relaxed);
    world.nodes[0].departures.send(Uuid::from_u128(2)).unwrap();
    assert_eq!(ana.next("left").await["id"], ben.id);
    world.nodes[1].is_mute.store(false, Ordering::Relaxed);
    ben.visit.board().announce_everybody();
    assert_eq!(ana.next("joined").await["peer"]["id"], ben.id);
}
