//! Tests pointers over real sockets.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::{
    support::{Server, Socket},
    yjs_client::OURS,
};

/// Opens a board as a new guest and reads its `welcome`.
pub async fn enter(server: &Server, document: &str) -> (Socket, Value) {
    let guest = server.guest().await;
    let mut socket = server
        .socket(
            &format!("/api/collab/{document}"),
            &[OURS, ("authorization", &guest.bearer())],
        )
        .await;
    let welcome = socket.next_of("welcome").await;
    (socket, welcome)
}

#[tokio::test]
async fn pointers_are_sent_to_everybody_and_removed_when_their_socket_closes() {
    let server = Server::start().await;
    let (mut one, first) = enter(&server, "welcome").await;
    let (mut two, second) = enter(&server, "welcome").await;
    assert_eq!(
        (&first["peers"], &first["tick_ms"]),
        (&json!([]), &33.into())
    );
    assert_eq!(second["peers"][0]["id"], first["you"]);
    assert_eq!(one.next_of("joined").await["peer"]["id"], second["you"]);
    two.send(&json!({"type":"move","x":0.25,"y":1})).await;
    assert_eq!(
        one.next_of("moved").await["moves"],
        json!([[second["you"], 0.25, 1.0]])
    );
    let (_, third) = enter(&server, "welcome").await;
    let seen = third["peers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|peer| peer["id"] == second["you"])
        .unwrap();
    assert_eq!(
        (&seen["x"], &seen["y"]),
        (&0.25.into(), &1.0.into()),
        "a newcomer sees where everybody is"
    );
    two.send(&json!({"type":"hide"})).await;
    assert_eq!(one.next_of("hidden").await["id"], second["you"]);
    drop(two);
    loop {
        if one.next_of("left").await["id"] == second["you"] {
            break;
        }
    }
}

#[tokio::test]
async fn boards_do_not_mix() {
    let server = Server::start().await;
    let (mut here, _) = enter(&server, "here").await;
    let (mut there, _) = enter(&server, "there").await;
    there.send(&json!({"type":"move","x":0.5,"y":0.5})).await;
    there.next_of("moved").await;
    here.send(&json!({"type":"ping","at":1})).await;
    let mut received = vec![];
    while received.last() != Some(&json!("pong")) {
        received.push(here.next_json().await["type"].clone());
    }
    assert_eq!(
        received,
        ["saved", "pong"],
        "and nothing of the other board"
    );
}

#[tokio::test]
async fn names_out_of_bounds_are_4004_and_4404_for_yjs_clients() {
    let server = Server::start().await;
    let guest = server.guest().await;
    for name in ["Bad", "a%20b", "x".repeat(65).as_str(), "%F0%9F%A6%80"] {
        let path = format!("/api/collab/{name}");
        let bearer = guest.bearer();
        let closed = server
            .socket(&path, &[OURS, ("authorization", &bearer)])
            .await
            .closed()
            .await;
        assert_eq!(closed.0, 4004, "{name}");
        let closed = server.socket(&path, &[]).await.closed().await;
        assert_eq!(closed.0, 4404, "{name}");
    }
}

#[tokio::test]
async fn an_unknown_subprotocol_is_echoed_and_closed_with_4010() {
    let server = Server::start().await;
    for path in ["/api/collab/welcome", "/api/chat/socket"] {
        let mut socket = server
            .socket(path, &[("sec-websocket-protocol", "wirewise.chat.v9")])
            .await;
        assert_eq!(socket.closed().await.0, 4010, "{path}");
    }
}

#[tokio::test]
async fn bad_input_is_answered_and_the_socket_stays_open() {
    let server = Server::start().await;
    let (mut socket, _) = enter(&server, "welcome").await;
    for (message, code) in [
        (json!({"type":"move","x":1.5,"y":0}), "invalid_field"),
        (json!({"type":"move","x":-0.1,"y":0}), "invalid_field"),
        (json!({"type":"move","x":1e300,"y":0}), "invalid_field"),
        (json!({"type":"move","x":"left","y":0}), "invalid_field"),
        (json!({"type":"move"}), "invalid_field"),
        (json!({"type":"fly"}), "unknown_type"),
    ] {
        socket.send(&message).await;
        assert_eq!(socket.next_of("error").await["code"], code, "{message}");
    }
    socket.send(&json!({"type":"move","x":0,"y":0})).await;
    socket.next_of("moved").await;
}

#[tokio::test]
async fn a_thousand_moves_are_not_counted_against_the_rate_and_come_conflated() {
    let server = Server::start().await;
    let (mut one, _) = enter(&server, "welcome").await;
    let (mut two, _) = enter(&server, "welcome").await;
    for number in 0..1_000 {
        two.send(&json!({"type":"move","x":f64::from(number) / 1_000.0,"y":0.5}))
            .await;
    }
    two.send(&json!({"type":"move","x":1,"y":1})).await;
    let mut frames = 0;
    loop {
        let moved = one.next_of("moved").await;
        frames += 1;
        assert_eq!(moved["moves"].as_array().unwrap().len(), 1);
        if moved["moves"][0][1] == 1.0 {
            break;
        }
    }
    assert!(frames < 500, "{frames} frames for 1,000 moves");
}

#[tokio::test]
async fn a_sign_out_closes_the_socket_with_the_code_that_its_client_obeys() {
    let server = Server::start().await;
    for (offer, code) in [(Some(OURS), 4001), (None, 4401)] {
        let guest = server.guest().await;
        let bearer = guest.bearer();
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(offer);
        let mut socket = server.socket("/api/collab/welcome", &headers).await;
        // Binary for a Yjs client, text for ours: in both cases the socket is open.
        assert!(socket.0.next().await.unwrap().is_ok());
        let signed_out = server
            .post("/api/session/sign_out", &[])
            .header("authorization", &bearer)
            .send()
            .await
            .unwrap();
        assert_eq!(signed_out.status(), 200);
        assert_eq!(socket.closed().await, (code, "signed_out".into()));
    }
}
