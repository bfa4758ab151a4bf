//! What `/readyz` says of a server in trouble, and that a server that cannot go on leaves.

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::timeout;
use wirewise::{
    server::ShutdownReason,
    ticker::{message::FeedStatus, server::feeds::News},
};

use crate::support::{PATIENCE, Server};

async fn ready(server: &Server) -> (u16, Value) {
    let answer = server.get("/readyz").send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until the answer has this status.
async fn becomes(server: &Server, status: u16) -> Value {
    let becomes = async {
        loop {
            let (found, answer) = ready(server).await;
            if found == status {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, becomes).await.expect("it changes")
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
async fn a_stale_feed_is_a_reason_and_no_reason_to_go_away() {
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
async fn a_storage_that_refuses_makes_the_server_unready_until_it_takes_a_write_again() {
    let server = Server::start().await;
    let other = Connection::open(server.folder.path().join("data/wirewise.db")).unwrap();
    // A lock that another process holds fails every write, as a full disk does.
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
    // Nobody writes any more once a load balancer has taken the server out: it finds out by itself.
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(becomes(&server, 200).await["reasons"], json!([]));
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
    let answer = becomes(&server, 503).await;
    assert!(
        answer["reasons"][0]
            .as_str()
            .unwrap()
            .contains("\"always\""),
        "{answer}"
    );
    let text = server
        .get("/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        text.contains("wirewise_task_panics{task=\"always\"}"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_go_on_leaves_and_says_why() {
    let server = Server::start().await;
    let broken = async { panic!("on purpose") };
    server.state.background.essential("accept loop", broken);
    let left = timeout(PATIENCE, server.ended)
        .await
        .expect("it leaves")
        .unwrap();
    let ShutdownReason::Broken(sentence) = left else {
        panic!("{left:?}")
    };
    assert!(sentence.contains("accept loop"), "{sentence}");
}

#[tokio::test]
async fn while_it_leaves_a_server_is_not_ready() {
    let mut server = Server::start().await;
    let state = server.state.clone();
    let router = wirewise::server::router(state.clone());
    server.leave();
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
