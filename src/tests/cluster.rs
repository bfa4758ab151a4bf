//! Tests the chat and the sessions at two nodes that share a NATS server.

use serde_json::{Value, json};
use uuid::Uuid;
use wirewise::{bus::Health, settings::BusKind};

use crate::{
    chat::{join, send_message},
    nodes::{Nats, next_where, until},
    support::{Guest, Remote, Server},
};

fn ids(users: &Value) -> Vec<&str> {
    let users = users.as_array().unwrap().iter();
    users.map(|user| user["id"].as_str().unwrap()).collect()
}

async fn members_in_list(node: &Remote, guest: &Guest, room: &str) -> u64 {
    let rooms = node.json("/api/chat/rooms", Some(guest)).await;
    let rooms = rooms.as_array().unwrap().iter();
    let mut found = rooms.filter(|summary| summary["room"] == room);
    found
        .next()
        .map_or(0, |room| room["members"].as_u64().unwrap())
}

#[tokio::test]
async fn a_message_reaches_the_members_at_all_nodes_and_a_client_resumes_at_another() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    // A session is valid at both nodes, whichever issued it.
    let (ada, bob) = (one.guest().await, one.guest().await);
    let (mut at_one, mut at_two) = (one.chat(&ada).await, two.chat(&bob).await);
    join(&mut at_one, "lobby", None).await;
    let joined = join(&mut at_two, "lobby", None).await;
    let ack = send_message(&mut at_one, "lobby", "hello").await;
    let message = at_two.next_of("message").await;
    assert_eq!(
        (&message["text"], &message["offset"]),
        (&"hello".into(), &ack["offset"])
    );
    // Bob loses the connection, and comes back to the other node.
    drop(at_two);
    send_message(&mut at_one, "lobby", "while Bob was away").await;
    let mut at_one_too = one.chat(&bob).await;
    let after = json!({"epoch": joined["epoch"], "offset": message["offset"]});
    let joined = join(&mut at_one_too, "lobby", Some(after)).await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"]),
        (&true.into(), &1.into())
    );
    let missed = at_one_too.next_of("message").await;
    assert_eq!(missed["text"], "while Bob was away");
}

#[tokio::test]
async fn the_same_message_sent_at_two_nodes_is_stored_once() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let ada = one.guest().await;
    let (mut at_one, mut at_two) = (one.chat(&ada).await, two.chat(&ada).await);
    join(&mut at_one, "lobby", None).await;
    join(&mut at_two, "lobby", None).await;
    let send = json!({"type":"send","id":Uuid::new_v4(),"room":"lobby","text":"once"});
    at_one.send(&send).await;
    at_two.send(&send).await;
    let (first, second) = (at_one.next_of("ack").await, at_two.next_of("ack").await);
    assert_eq!(first, second);
    let page = two.json("/api/chat/rooms/lobby/messages", Some(&ada)).await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn people_at_two_nodes_see_each_other_come_type_read_and_leave() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let (ada, bob) = (one.guest().await, two.guest().await);
    let mut at_one = one.chat(&ada).await;
    join(&mut at_one, "lobby", None).await;
    // The room is not open at the other node, which knows all the same who is there.
    let listed = async || members_in_list(&two, &bob, "lobby").await;
    until(listed, |members| *members == 1).await;
    let mut at_two = two.chat(&bob).await;
    let joined = join(&mut at_two, "lobby", None).await;
    let mut members = ids(&joined["members"]);
    members.sort_unstable();
    let mut expected = [&*ada.id, &*bob.id];
    expected.sort_unstable();
    assert_eq!(members, expected);
    let came = at_one.next_of("user_joined").await;
    assert_eq!(came["user"]["id"], bob.id);

    at_two.send(&json!({"type":"typing","room":"lobby"})).await;
    assert_eq!(at_one.next_of("typing").await["user_id"], bob.id);
    let ack = send_message(&mut at_one, "lobby", "hello").await;
    at_two.next_of("message").await;
    let offset = &ack["offset"];
    at_two
        .send(&json!({"type":"read","room":"lobby","offset":offset}))
        .await;
    let read = at_one.next_of("read").await;
    assert_eq!(
        (&read["user_id"], &read["offset"]),
        (&bob.id.clone().into(), offset)
    );

    at_two.send(&json!({"type":"leave","room":"lobby"})).await;
    let left = at_one.next_of("user_left").await;
    assert_eq!(left["user_id"], bob.id);
}

#[tokio::test]
async fn a_person_with_tabs_at_two_nodes_is_one_and_leaves_with_the_last() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let (ada, bob, eve) = (one.guest().await, two.guest().await, one.guest().await);
    let mut watching = one.chat(&ada).await;
    join(&mut watching, "lobby", None).await;
    let (mut here, mut there) = (one.chat(&bob).await, two.chat(&bob).await);
    let mut leaver = one.chat(&eve).await;
    join(&mut here, "lobby", None).await;
    join(&mut leaver, "lobby", None).await;
    join(&mut there, "lobby", None).await;
    let listed = async || members_in_list(&two, &ada, "lobby").await;
    until(listed, |members| *members == 3).await;
    let leave = json!({"type":"leave","room":"lobby"});
    here.send(&leave).await;
    // Bob's tab here would be gone by the time that Eve is: she leaves after him.
    here.send(&json!({"type":"typing","room":"lobby"})).await;
    here.next_of("error").await;
    leaver.send(&leave).await;
    assert_eq!(watching.next_of("user_left").await["user_id"], eve.id);
    there.send(&leave).await;
    assert_eq!(watching.next_of("user_left").await["user_id"], bob.id);
}

#[tokio::test]
async fn the_people_of_a_drained_node_leave_at_once() {
    let nats = Nats::start().await;
    let (one, mut two) = (nats.node().await, nats.node().await);
    let (ada, bob) = (one.guest().await, two.guest().await);
    let (mut at_one, mut at_two) = (one.chat(&ada).await, two.chat(&bob).await);
    join(&mut at_one, "lobby", None).await;
    join(&mut at_two, "lobby", None).await;
    at_one.next_of("user_joined").await;
    two.shut_down();
    let left = at_one.next_of("user_left").await;
    assert_eq!(left["user_id"], bob.id);
}

#[tokio::test]
async fn a_node_that_starts_learns_who_is_where() {
    let nats = Nats::start().await;
    let one = nats.node().await;
    let ada = one.guest().await;
    let mut at_one = one.chat(&ada).await;
    join(&mut at_one, "lobby", None).await;
    let two = nats.node().await;
    let listed = async || members_in_list(&two, &ada, "lobby").await;
    until(listed, |members| *members == 1).await;
}

#[tokio::test]
async fn a_sign_out_and_a_new_name_count_at_all_nodes() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let ada = one.guest().await;
    let mut socket = two.chat(&ada).await;
    let form = [("name", "Countess")];
    let renamed = one
        .post("/api/session/sign_in", &form)
        .bearer_auth(&ada.token);
    assert!(renamed.send().await.unwrap().status().is_success());
    assert_eq!(socket.closed().await, (4001, "expired".into()));
    let bearer = ada.bearer();
    let mut socket = two
        .socket("/api/chat/socket", &[("authorization", &bearer)])
        .await;
    let welcome = socket.next_of("welcome").await;
    assert_eq!(welcome["user"]["name"], "Countess");
    let out = one
        .post("/api/session/sign_out", &[])
        .bearer_auth(&ada.token);
    assert!(out.send().await.unwrap().status().is_success());
    assert_eq!(socket.closed().await, (4001, "signed_out".into()));
    let refused = two.get("/api/chat/rooms").bearer_auth(&ada.token);
    assert_eq!(refused.send().await.unwrap().status(), 401);
    // A node that was away when it happened knows it too.
    let three = nats.node().await;
    let refused = three.get("/api/chat/rooms").bearer_auth(&ada.token);
    assert_eq!(refused.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_ticket_works_once_in_the_cluster() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let ada = one.guest().await;
    let issue = async || {
        let request = one.post("/api/session/ticket", &[]).bearer_auth(&ada.token);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        format!(
            "/api/chat/rooms?ticket={}",
            answer["ticket"].as_str().unwrap()
        )
    };
    let status = async |node: &Server, path: &str| {
        let answer = node.get(path).send().await.unwrap();
        answer.status().as_u16()
    };
    let path = issue().await;
    assert_eq!(status(&two, &path).await, 200);
    assert_eq!(status(&one, &path).await, 401);
    assert_eq!(status(&two, &path).await, 401);
    // At once at both nodes: one of them wins.
    let path = issue().await;
    let mut both = [status(&one, &path), status(&two, &path)].map(Box::pin);
    let [first, second] = &mut both;
    let mut both = <[u16; 2]>::from(tokio::join!(first, second));
    both.sort_unstable();
    assert_eq!(both, [200, 401]);
    assert_eq!(status(&one, "/api/chat/rooms?ticket=made-up").await, 401);
    // A token is no ticket, and a ticket is no token.
    let path = format!("/api/chat/rooms?ticket={}", ada.token);
    assert_eq!(status(&one, &path).await, 401);
    let path = issue().await;
    let ticket = path.split_once('=').unwrap().1;
    let bearer = two.get("/api/chat/rooms").bearer_auth(ticket);
    assert_eq!(bearer.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn while_nats_is_away_a_message_is_refused_as_unavailable_and_taken_afterwards() {
    let mut nats = Nats::start().await;
    let one = nats.node().await;
    let ada = one.guest().await;
    let mut socket = one.chat(&ada).await;
    join(&mut socket, "lobby", None).await;
    nats.server.kill();
    let mut health = one.state.bus.health();
    let away = |health: &Health| matches!(health, Health::Away { .. });
    health.wait_for(away).await.unwrap();
    let send = json!({"type":"send","id":Uuid::new_v4(),"room":"lobby","text":"kept"});
    socket.send(&send).await;
    let refused = socket.next_of("error").await;
    assert_eq!(refused["code"], "unavailable");
    assert!(refused["retry_after_ms"].as_u64().unwrap() > 0);
    // At first it is a remark: the node is ready for readers.
    let ready = one.json("/readyz", None).await;
    assert_eq!(ready["ready"], true);
    assert!(
        ready["reasons"].to_string().contains("bus is away"),
        "{ready}"
    );
    nats.server.go_on();
    let well = |health: &Health| *health == Health::Well;
    health.wait_for(well).await.unwrap();
    socket.send(&send).await;
    let answer = next_where(&mut socket, "ack", |ack| ack["id"] == send["id"]).await;
    assert_eq!(answer["room"], "lobby");
}

#[tokio::test]
async fn without_a_secret_a_node_does_not_start() {
    let nats = Nats::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site/pkg")).unwrap();
    let mut settings = wirewise::settings::Settings::defaults();
    settings.site_root = folder.path().join("site");
    settings.data_dir = folder.path().join("data");
    settings.bus.bus = BusKind::Nats(nats.server.url());
    let opened = wirewise::server::AppState::open(settings).await;
    let sentence = opened.err().unwrap().to_string();
    assert!(sentence.contains("--secret"), "{sentence}");
}
