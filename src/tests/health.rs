//! Tests what `/readyz` reports of a server in trouble, and that a server that cannot go on shuts down.

use std::{net::SocketAddr, process::Command};

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::timeout;
use wirewise::{
    server::ShutdownReason,
    ticker::{message::FeedStatus, server::feeds::News},
};

use crate::{
    process::binary,
    support::{PATIENCE, Server, free_address},
};

async fn ready(server: &Server) -> (u16, Value) {
    let answer = server.get("/readyz").send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until `/readyz` answers with this status.
async fn wait_for_status(server: &Server, status: u16) -> Value {
    let waiting = async {
        loop {
            let (found, answer) = ready(server).await;
            if found == status {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it changes")
}

#[tokio::test]
async fn a_server_that_is_well_is_ready_and_has_no_reasons() {
    let server = Server::start().await;
    assert_eq!(
        ready(&server).await,
        (200, json!({"ready": true, "reasons": []}))
    );
}

#[tokio::test]
async fn a_stale_feed_is_reported_and_the_server_stays_ready() {
    let server = Server::start().await;
    let stale = News::Status {
        status: FeedStatus::Stale,
        since: 7,
    };
    server.state.features.ticker.publish(stale);
    let (status, answer) = ready(&server).await;
    assert_eq!((status, &answer["ready"]), (200, &json!(true)));
    assert!(
        answer["reasons"][0]
            .as_str()
            .unwrap()
            .contains("stale since 7"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_storage_that_refuses_makes_the_server_unready_until_it_accepts_a_write_again() {
    let server = Server::start().await;
    let other = Connection::open(server.folder.path().join("data/wirewise.db")).unwrap();
    // A lock that another process holds makes every write fail, as a full disk does.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let put = server.state.bus.put_latest("test", "x".into());
    assert!(put.await.is_err());
    let (status, answer) = ready(&server).await;
    assert_eq!((status, &answer["ready"]), (503, &json!(false)));
    assert!(
        answer["reasons"][0]
            .as_str()
            .unwrap()
            .contains("database is locked"),
        "{answer}"
    );
    // Once a load balancer has removed the server there are no other writes; its own probe detects that the storage
    // works again.
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(wait_for_status(&server, 200).await["reasons"], json!([]));
}

#[tokio::test]
async fn a_task_that_keeps_failing_makes_the_server_unready_and_one_that_failed_once_does_not() {
    let server = Server::start().await;
    let background = &server.state.background;
    let mut runs = 0;
    background.run("once", move || {
        runs += 1;
        async move { assert!(runs > 1, "on purpose") }
    });
    while background.failing().is_empty() {
        tokio::task::yield_now().await;
    }
    let (status, answer) = ready(&server).await;
    assert_eq!((status, &answer["ready"]), (200, &json!(true)));
    assert!(
        answer["reasons"][0].as_str().unwrap().contains("\"once\""),
        "{answer}"
    );
    background.run("always", || async { panic!("on purpose") });
    let answer = wait_for_status(&server, 503).await;
    assert!(
        answer["reasons"][0]
            .as_str()
            .unwrap()
            .contains("\"always\""),
        "{answer}"
    );
    let text = server.metrics_listener().text("/metrics").await;
    assert!(
        text.contains("wirewise_task_panics{task=\"always\"}"),
        "{text}"
    );
}

/// What `wirewise health` says of the server at this address, and whether it found it ready.
fn health_check(addr: SocketAddr) -> (bool, String) {
    let mut command = Command::new(binary());
    let output = command.args(["health", "--addr", &addr.to_string()]);
    let output = output.output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(words).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_command_fails_with_the_reason_where_the_server_is_not_ready() {
    let server = Server::start().await;
    let (ready, words) = health_check(server.addr);
    assert!(ready && words.contains("is ready"), "{words}");
    // A server in a container listens on all addresses.
    let mut everywhere = server.addr;
    everywhere.set_ip([0, 0, 0, 0].into());
    let mut command = Command::new(binary());
    let command = command.env("LEPTOS_SITE_ADDR", everywhere.to_string());
    assert!(command.arg("health").status().unwrap().success());
    let other = Connection::open(server.folder.path().join("data/wirewise.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(
        server
            .state
            .bus
            .put_latest("test", "x".into())
            .await
            .is_err()
    );
    let (ready, words) = health_check(server.addr);
    assert!(!ready && words.contains("database is locked"), "{words}");
    // Another server answers there, or none.
    let (ready, words) = health_check(server.metrics_listener().addr);
    assert!(!ready && words.contains("404"), "{words}");
    let addr = free_address();
    let (ready, words) = health_check(addr);
    assert!(!ready && words.contains(&addr.to_string()), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
}

#[tokio::test]
async fn a_server_that_cannot_go_on_shuts_down_and_returns_the_reason() {
    let server = Server::start().await;
    let broken = async { panic!("on purpose") };
    server.state.background.essential("accept loop", broken);
    let reason = timeout(PATIENCE, server.ended)
        .await
        .expect("it shuts down")
        .unwrap();
    let ShutdownReason::Broken(sentence) = reason else {
        panic!("{reason:?}")
    };
    assert!(sentence.contains("accept loop"), "{sentence}");
}

#[tokio::test]
async fn a_draining_server_is_not_ready() {
    let mut server = Server::start().await;
    let state = server.state.clone();
    let router = wirewise::server::router(state.clone());
    server.shut_down();
    timeout(PATIENCE, state.realtime.drain().started())
        .await
        .unwrap();
    let request = axum::http::Request::get("/readyz");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
    assert_eq!(answer.status(), 503);
    let bytes = axum::body::to_bytes(answer.into_body(), 1_024)
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        answer,
        json!({"ready": false, "reasons": ["The server is leaving."]})
    );
}
