//! Tests shared texts, pointers and carets at two nodes that share a NATS server.

use serde_json::{Value, json};
use wirewise::{
    bus::Health,
    collab::protocol::{GONE, Message},
};
use yrs::{ClientID, Text, Transact};

use crate::{
    collab::enter,
    nodes::{Nats, next_where, until},
    support::{Server, Socket},
    yjs_client::{TestClient, awareness},
};

/// Reads at both until the texts are complete, and checks that they are one.
async fn converge(ana: &mut TestClient, ben: &mut TestClient, length: usize) {
    for client in [&mut *ana, &mut *ben] {
        while client.string().len() < length {
            client.next().await;
        }
    }
    assert_eq!(ana.string(), ben.string());
}

/// How many updates of a client of ours are reported as saved.
fn saved_updates(client: &TestClient) -> u64 {
    let saved = client.texts.iter().rev();
    let mut saved = saved.filter(|text| text["type"] == "saved");
    saved
        .next()
        .map_or(0, |saved| saved["updates"].as_u64().unwrap())
}

/// Waits until an exchange of state vectors has ended, after which edits leave one by one.
async fn ready(node: &Server, id: u64) -> TestClient {
    let mut client = TestClient::ours(node, "notes", id).await;
    client.until("step 1").await;
    client
}

async fn of_peer(socket: &mut Socket, kind: &str, id: &Value) -> Value {
    let is_of = |event: &Value| event["id"] == *id || event["peer"]["id"] == *id;
    next_where(socket, kind, is_of).await
}

async fn becomes(node: &Server, wanted: impl Fn(&Health) -> bool) {
    node.state.bus.health().wait_for(wanted).await.unwrap();
}

#[tokio::test]
async fn a_text_typed_at_two_nodes_at_once_is_one_text_and_saved() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let (mut ana, mut ben) = (ready(&one, 1).await, ready(&two, 2).await);
    ana.insert(0, "Grüße ").await;
    ben.reads("Grüße ").await;
    for letter in ["a", "b", "c", "d", "e"] {
        ana.insert(0, letter).await;
        ben.insert(0, letter).await;
    }
    converge(&mut ana, &mut ben, "Grüße ".len() + 10).await;
    // The answer to the step 1, and the edits.
    ana.saved(7).await;
    ben.saved(6).await;
    // Each hears that everything is saved, also what the other wrote.
    for client in [&mut ana, &mut ben] {
        while [1, 2].map(|id| client.durable.get(&ClientID::new(id))) != [11, 5] {
            client.next().await;
        }
    }
    // A deletion moves no state vector, and reaches the other node all the same.
    let mut transaction = ana.doc.transact_mut();
    ana.text.remove_range(&mut transaction, 0, 15);
    let update = transaction.encode_update_v1();
    drop(transaction);
    ana.send(Message::Update(&update)).await;
    ben.reads(&ana.string()).await;
    ana.saved(8).await;
}

#[tokio::test]
async fn a_late_node_has_everything_and_a_client_that_changes_the_node_lacks_nothing() {
    let nats = Nats::start().await;
    let one = nats.node().await;
    let (mut ana, mut ben) = (ready(&one, 1).await, ready(&one, 2).await);
    ana.insert(0, "before").await;
    ana.saved(2).await;
    let two = nats.node().await;
    let mut cleo = TestClient::connect(&two, "notes", 3).await;
    cleo.reads("before").await;
    let page = two.text("/collab/notes").await;
    assert!(
        page.contains("before"),
        "the page shows it without a script"
    );
    // Ana is cut, types on, and comes back to the other node.
    ana.socket.0.close(None).await.unwrap();
    let mut transaction = ana.doc.transact_mut();
    ana.text.insert(&mut transaction, 6, ", offline");
    drop(transaction);
    ben.reads("before").await;
    ben.insert(0, "once ").await;
    ana.connect_again(&two, "notes").await;
    ana.reads("once before, offline").await;
    ben.reads("once before, offline").await;
    cleo.reads("once before, offline").await;
}

#[tokio::test]
async fn a_reader_at_another_node_only_reads() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let mut ana = ready(&one, 1).await;
    let mut reader = TestClient::connect(&two, "notes?readonly=1", 2).await;
    ana.insert(0, "to be read").await;
    reader.reads("to be read").await;
    reader.insert(0, "not ").await;
    reader.until("denied").await;
    ana.insert(10, ".").await;
    let mut late = TestClient::connect(&two, "notes", 3).await;
    late.reads("to be read.").await;
}

#[tokio::test]
async fn pointers_and_peers_of_another_node_come_move_hide_and_leave() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let (mut ana, of_ana) = enter(&one, "notes").await;
    ana.send(&json!({"type":"move","x":0.25,"y":0.5})).await;
    ana.next_of("moved").await;
    let (mut ben, of_ben) = enter(&two, "notes").await;
    let (ana_id, ben_id) = (&of_ana["you"], &of_ben["you"]);
    assert_ne!(ana_id, ben_id);
    assert_eq!(
        of_peer(&mut ana, "joined", ben_id).await["peer"]["id"],
        *ben_id
    );
    // The node of Ben has opened the board just now and asks who is there. The answer comes before or after his welcome.
    let mut peers = of_ben["peers"].as_array().unwrap().iter();
    let seen = match peers.find(|peer| peer["id"] == *ana_id) {
        Some(seen) => seen.clone(),
        None => of_peer(&mut ben, "joined", ana_id).await["peer"].clone(),
    };
    assert_eq!((&seen["x"], &seen["y"]), (&0.25.into(), &0.5.into()));
    ben.send(&json!({"type":"move","x":0.75,"y":1})).await;
    let moved = ana.next_of("moved").await;
    assert_eq!(moved["moves"], json!([[ben_id, 0.75, 1.0]]));
    let (_cleo, of_cleo) = enter(&one, "notes").await;
    let peers = of_cleo["peers"].as_array().unwrap();
    let mut seen = peers.iter().filter(|peer| peer["id"] == *ben_id);
    assert_eq!(seen.next().unwrap()["x"], 0.75);
    ben.send(&json!({"type":"hide"})).await;
    of_peer(&mut ana, "hidden", ben_id).await;
    drop(ben);
    of_peer(&mut ana, "left", ben_id).await;
}

#[tokio::test]
async fn a_page_of_a_node_that_has_not_opened_the_board_shows_who_is_there() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    // Nobody has written in this document.
    let (mut ana, of_ana) = enter(&one, "notes").await;
    ana.send(&json!({"type":"move","x":0.25,"y":0.5})).await;
    ana.next_of("moved").await;
    let collab = &two.state.features.collab;
    let peers = async || json!(collab.first_board("notes").await.unwrap().peers);
    // The subscription of the other node may not have reached NATS yet.
    let shown = until(peers, |peers| *peers != json!([])).await;
    assert_eq!(shown.as_array().unwrap().len(), 1);
    let seen = [&shown[0]["id"], &shown[0]["x"], &shown[0]["y"]];
    assert_eq!(seen, [&of_ana["you"], &0.25.into(), &0.5.into()]);
}

#[tokio::test]
async fn carets_of_another_node_come_and_leave() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let mut ana = TestClient::connect(&one, "notes", 1).await;
    let mut ben = TestClient::ours(&two, "notes", 2).await;
    let state = "{\"user\":{\"name\":\"Ana\"}}";
    ana.send(Message::Awareness(&awareness(1, 1, state))).await;
    ben.sees(1, state).await;
    ana.send(Message::Awareness(&awareness(1, 2, "{}"))).await;
    ben.sees(1, "{}").await;
    // A later client is sent it with everything else.
    let mut cleo = TestClient::connect(&two, "notes", 3).await;
    cleo.sees(1, "{}").await;
    drop(ana);
    ben.sees(1, GONE).await;
    cleo.sees(1, GONE).await;
}

#[tokio::test]
async fn the_pointers_and_carets_of_a_drained_node_leave_at_once() {
    let nats = Nats::start().await;
    let (one, mut two) = (nats.node().await, nats.node().await);
    let mut ana = TestClient::ours(&one, "notes", 1).await;
    let (_ben, of_ben) = enter(&two, "notes").await;
    let mut cleo = TestClient::connect(&two, "notes", 3).await;
    cleo.send(Message::Awareness(&awareness(3, 1, "{}"))).await;
    ana.sees(3, "{}").await;
    two.shut_down();
    ana.sees(3, GONE).await;
    let left = json!({"type": "left", "id": of_ben["you"]});
    while !ana.texts.contains(&left) {
        ana.next().await;
    }
}

#[tokio::test]
async fn without_nats_nodes_go_on_for_their_people_and_merge_when_it_is_back() {
    let mut nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let (mut ana, mut ben) = (ready(&one, 1).await, ready(&two, 2).await);
    ana.insert(0, "both ").await;
    ben.reads("both ").await;
    ana.saved(2).await;
    ben.saved(1).await;
    nats.server.kill();
    for node in [&one, &two] {
        becomes(node, |health| matches!(health, Health::Away { .. })).await;
    }
    let mut beside = [ready(&one, 3).await, ready(&two, 4).await];
    ana.insert(5, "ana ").await;
    ben.insert(5, "ben ").await;
    beside[0].reads("both ana ").await;
    beside[1].reads("both ben ").await;
    ana.receives_no_echo().await;
    ben.receives_no_echo().await;
    assert_eq!((saved_updates(&ana), saved_updates(&ben)), (2, 1));
    nats.server.go_on();
    converge(&mut ana, &mut ben, "both ana ben ".len()).await;
    let [mut at_one, mut at_two] = beside;
    converge(&mut at_one, &mut at_two, "both ana ben ".len()).await;
    assert_eq!(ana.string(), at_two.string());
    ana.saved(3).await;
    ben.saved(2).await;
    let three = nats.node().await;
    let mut late = TestClient::connect(&three, "notes", 5).await;
    late.reads(&ana.string()).await;
}

#[tokio::test]
async fn a_log_that_one_node_compacts_stays_open_at_the_other() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let (mut ana, mut ben) = (ready(&one, 1).await, ready(&two, 2).await);
    for _ in 0..300 {
        ana.insert(0, "a").await;
        ben.insert(0, "b").await;
    }
    converge(&mut ana, &mut ben, 600).await;
    ana.saved(301).await;
    ben.saved(301).await;
    // Both nodes have counted what both wrote. The next write of either is followed by the snapshot.
    let bus = &one.state.bus;
    let mut writes = 301;
    while bus.snapshot("collab/notes").await.unwrap().is_none() {
        ana.insert(0, "a").await;
        writes += 1;
        ana.saved(writes).await;
    }
    ben.insert(0, "behind the snapshot").await;
    let length = 600 + (writes - 301) as usize + "behind the snapshot".len();
    converge(&mut ana, &mut ben, length).await;
    ben.saved(302).await;
    let three = nats.node().await;
    let mut late = TestClient::connect(&three, "notes", 3).await;
    late.reads(&ana.string()).await;
}
