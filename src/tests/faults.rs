//! Tests the faults: a client breaks its own connection on purpose, and reads its handshake.

use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;
use wirewise::ticker::{message::Quote, server::feeds::News};

use crate::{
    process::Process,
    support::{Events, Guest, PATIENCE, Remote, Server, Socket},
};

const TICKER: &str = "/api/ticker/events?symbols=ACME";

async fn server() -> Server {
    Server::with(|settings| settings.allow_faults = true).await
}

/// A price stream of this guest, and its `hello`, which names the connection.
async fn watch(server: &Server, guest: &Guest, after: Option<&str>) -> (Events, Value) {
    let bearer = guest.bearer();
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(after.map(|after| ("last-event-id", after)));
    let mut events = server.stream(TICKER, &headers).await;
    let hello = events.expect("hello").await.data;
    if hello["recovered"] == false {
        events.expect("snapshot").await;
    }
    (events, hello)
}

/// Publishes one price of the watched symbol.
fn trade(server: &Server, price: f64) {
    let quote = Quote {
        symbol: "ACME".into(),
        price,
        change: 0.0,
        change_percent: 0.0,
        volume: 1.0,
        at: 0,
    };
    server
        .state
        .features
        .ticker
        .publish(News::Prices(vec![quote]));
}

async fn ask(
    server: &Server,
    guest: Option<&Guest>,
    fault: &str,
    connection: &Value,
) -> (u16, Value) {
    let connection = connection.as_str().unwrap_or_default();
    let request = server.post(
        &format!("/api/faults/{fault}"),
        &[("connection", connection)],
    );
    let request = match guest {
        Some(guest) => request.header("authorization", guest.bearer()),
        None => request,
    };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A member of the lobby: the socket, the name of its connection, and its `joined`.
async fn join(server: &Server, guest: &Guest, after: Option<Value>) -> (Socket, Value, Value) {
    let bearer = guest.bearer();
    let headers = [
        ("authorization", bearer.as_str()),
        ("sec-websocket-protocol", "wirewise.chat.v1"),
    ];
    let mut socket = server.socket("/api/chat/socket", &headers).await;
    let welcome = socket.next_of("welcome").await;
    let mut join = json!({"type": "join", "room": "lobby"});
    if let Some(after) = after {
        join["after"] = after;
    }
    socket.send(&join).await;
    let joined = socket.next_of("joined").await;
    (socket, welcome["connection"].clone(), joined)
}

#[tokio::test]
async fn without_the_flag_there_are_no_faults() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let (_events, hello) = watch(&server, &guest, None).await;
    assert_eq!(
        ask(&server, Some(&guest), "drop", &hello["connection"])
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn only_the_owner_may_break_a_connection_and_every_refusal_says_why() {
    let server = server().await;
    let (ada, eve) = (server.guest().await, server.guest().await);
    let (mut events, hello) = watch(&server, &ada, None).await;
    let connection = &hello["connection"];
    assert_eq!(ask(&server, None, "drop", connection).await.0, 401);
    assert_eq!(ask(&server, Some(&eve), "drop", connection).await.0, 403);
    assert_eq!(
        ask(&server, Some(&ada), "drop", &json!("0123456789abcdef"))
            .await
            .0,
        404
    );
    let (status, refusal) = ask(&server, Some(&ada), "explode", connection).await;
    assert_eq!(status, 404);
    assert!(
        refusal["error"].as_str().unwrap().contains("duplicate_id"),
        "{refusal}"
    );
    let unnamed = server
        .post("/api/faults/drop", &[])
        .header("authorization", ada.bearer());
    let unnamed = unnamed.send().await.unwrap();
    assert_eq!(unnamed.status(), 422);
    assert_eq!(
        unnamed.json::<Value>().await.unwrap()["field"],
        "connection"
    );
    // A stream without a session has no owner.
    let mut anonymous = server.stream(TICKER, &[]).await;
    let hello = anonymous.expect("hello").await.data;
    assert_eq!(
        ask(&server, Some(&eve), "drop", &hello["connection"])
            .await
            .0,
        403
    );
    // None of these requests has touched the stream.
    trade(&server, 101.0);
    events.expect("price").await;
}

#[tokio::test]
async fn a_drop_resets_a_stream_and_the_client_continues_where_it_was() {
    let server = server().await;
    let guest = server.guest().await;
    let (mut events, hello) = watch(&server, &guest, None).await;
    trade(&server, 101.0);
    let seen = events.expect("price").await;
    assert_eq!(
        ask(&server, Some(&guest), "drop", &hello["connection"])
            .await
            .0,
        200
    );
    // The stream ends in an error, without a `drain`.
    let rest = events.rest().await;
    assert!(rest.iter().all(|event| event.name != "drain"));
    trade(&server, 102.0);
    trade(&server, 103.0);
    let (_events, hello) = watch(&server, &guest, seen.id.as_deref()).await;
    assert_eq!(hello["recovered"], true);
    let (status, _) = ask(&server, Some(&guest), "drop", &json!("gone")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_stalled_stream_stays_open_and_sends_nothing() {
    let server = Server::with(|settings| {
        settings.allow_faults = true;
        settings.heartbeat_ms = 100;
    })
    .await;
    let guest = server.guest().await;
    let (mut events, hello) = watch(&server, &guest, None).await;
    events.expect("heartbeat").await;
    assert_eq!(
        ask(&server, Some(&guest), "stall", &hello["connection"])
            .await
            .0,
        200
    );
    // Events that were under way may still arrive; after them ten heartbeats are missed.
    let ten_heartbeats = std::time::Duration::from_secs(1);
    let silent = async {
        while timeout(ten_heartbeats, events.next())
            .await
            .is_ok_and(|event| event.is_some())
        {}
        timeout(ten_heartbeats, events.next()).await.is_err()
    };
    assert!(
        timeout(PATIENCE, silent).await.unwrap(),
        "silent, and not ended"
    );
}

#[tokio::test]
async fn a_duplicate_is_the_last_event_again_under_the_same_id() {
    let server = server().await;
    let guest = server.guest().await;
    let (mut events, hello) = watch(&server, &guest, None).await;
    trade(&server, 101.0);
    let first = events.expect("price").await;
    assert_eq!(
        ask(&server, Some(&guest), "duplicate_id", &hello["connection"])
            .await
            .0,
        200
    );
    let again = events.expect("price").await;
    assert_eq!((again.id, again.data), (first.id, first.data));
}

#[tokio::test]
async fn an_expired_history_refuses_the_next_resume_and_only_that() {
    let server = server().await;
    let (ada, eve) = (server.guest().await, server.guest().await);
    let (mut events, hello) = watch(&server, &ada, None).await;
    trade(&server, 101.0);
    let seen = events.expect("price").await.id;
    assert_eq!(
        ask(&server, Some(&ada), "expire_history", &hello["connection"])
            .await
            .0,
        200
    );
    let recovered =
        async |guest| watch(&server, guest, seen.as_deref()).await.1["recovered"].clone();
    assert_eq!(recovered(&eve).await, true, "others keep theirs");
    assert_eq!(recovered(&ada).await, false);
    assert_eq!(recovered(&ada).await, true);
}

#[tokio::test]
async fn a_room_is_dropped_duplicated_and_expired_as_well() {
    let server = server().await;
    let guest = server.guest().await;
    let (mut socket, connection, joined) = join(&server, &guest, None).await;
    let id = Uuid::new_v4();
    socket
        .send(&json!({"type": "send", "id": id, "room": "lobby", "text": "Hello"}))
        .await;
    let message = socket.next_of("message").await;
    assert_eq!(
        ask(&server, Some(&guest), "duplicate_id", &connection)
            .await
            .0,
        200
    );
    assert_eq!(socket.next_of("message").await, message);
    assert_eq!(
        ask(&server, Some(&guest), "expire_history", &connection)
            .await
            .0,
        200
    );
    assert_eq!(ask(&server, Some(&guest), "drop", &connection).await.0, 200);
    let after = json!({"epoch": joined["epoch"], "offset": message["offset"]});
    let (_socket, _, joined) = join(&server, &guest, Some(after.clone())).await;
    assert_eq!(joined["recovered"], false);
    let (_socket, _, joined) = join(&server, &guest, Some(after)).await;
    assert_eq!(joined["recovered"], true);
}

#[tokio::test]
async fn the_handshake_is_shown_to_its_owner_with_its_secrets_blanked() {
    // The flag is not set, because reading a handshake is not a fault.
    let server = Server::start().await;
    let (ada, eve) = (server.guest().await, server.guest().await);
    let (_events, hello) = watch(&server, &ada, Some("k3-7")).await;
    let path = format!("/api/connections/{}", hello["connection"].as_str().unwrap());
    let asked = async |guest: &Guest| {
        let request = server.get(&path).header("authorization", guest.bearer());
        request.send().await.unwrap()
    };
    assert_eq!(asked(&eve).await.status(), 403);
    let handshake: Value = asked(&ada).await.json().await.unwrap();
    let (request, response) = (
        handshake["request"].as_str().unwrap(),
        handshake["response"].as_str().unwrap(),
    );
    assert!(
        request.starts_with("GET /api/ticker/events?symbols=ACME HTTP/1.1\n"),
        "{request}"
    );
    assert!(
        request.contains("last-event-id: k3-7\n") && request.contains("authorization: (blanked)\n"),
        "{request}"
    );
    assert!(!request.contains(&ada.token));
    assert!(
        response.starts_with("HTTP/1.1 200 OK\n")
            && response.contains("content-type: text/event-stream\n"),
        "{response}"
    );
    // The headers that the outer layers add are included.
    assert!(
        response.contains("access-control-allow-origin: *\n")
            && response.contains("x-content-type-options: nosniff\n"),
        "{response}"
    );
    let (_socket, connection, _) = join(&server, &ada, None).await;
    let path = format!("/api/connections/{}", connection.as_str().unwrap());
    let handshake = server.json(&path, Some(&ada)).await;
    let response = handshake["response"].as_str().unwrap();
    assert!(
        response.starts_with("HTTP/1.1 101 Switching Protocols\n")
            && response.contains("sec-websocket-protocol: wirewise.chat.v1\n"),
        "{response}"
    );
}

#[tokio::test]
async fn a_restart_drains_the_connections_and_run_returns_restart() {
    let server = server().await;
    let guest = server.guest().await;
    let (mut events, hello) = watch(&server, &guest, None).await;
    assert_eq!(
        ask(
            &server,
            Some(&guest),
            "server_restart",
            &hello["connection"]
        )
        .await
        .0,
        200
    );
    events.expect("drain").await;
    let reason = timeout(PATIENCE, server.ended).await.unwrap().unwrap();
    assert_eq!(reason, wirewise::server::ShutdownReason::Restart);
}

#[tokio::test]
async fn a_restarted_process_keeps_its_process_id_its_port_and_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &["--allow-faults", "--drain-ms", "500"]);
    let remote = Remote::new(server.addr);
    let guest = remote.guest().await;
    let mut events = remote.stream(TICKER, &[]).await;
    let epoch = events.expect("hello").await.data["epoch"].clone();
    let asked = remote.post("/api/faults/server_restart", &[]);
    let asked = asked
        .header("authorization", guest.bearer())
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    assert_eq!(events.rest().await.last().unwrap().name, "drain");
    let back = async {
        loop {
            if remote
                .get("/readyz")
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, back).await.expect("it is back");
    let mut events = remote.stream(TICKER, &[]).await;
    assert_ne!(events.expect("hello").await.data["epoch"], epoch);
    // The secret is kept, so the session holds.
    assert!(remote.json("/api/jobs", Some(&guest)).await.is_array());
    // The system has chosen the port of the metrics, and the new process has the same.
    Remote::new(server.metrics_addr()).text("/metrics").await;
    drop(events);
    assert!(server.terminate().success());
}
