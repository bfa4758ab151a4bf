//! Tests that where the messages of one log or key are removed, readers and servers lose nothing of the others.

use async_nats::jetstream::consumer::{Consumer, push};
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::*;

/// A reader that has begun before the first message of a stream, and has not got one yet.
async fn reader(cluster: &Cluster, stream: &str) -> (Link, Consumer<push::OrderedConfig>) {
    let link = Link::open(&cluster.options().address).await.unwrap();
    let reader = streams::read_after(&link.client, &link.jetstream, stream, 0).await;
    (link, reader.unwrap())
}

/// The subjects of the messages that a reader gets, up to the message with a sequence.
async fn subjects(reader: Consumer<push::OrderedConfig>, end: u64) -> Vec<String> {
    let mut messages = reader.messages().await.unwrap();
    let mut subjects = vec![];
    loop {
        let message = timeout(TEST_TIMEOUT, messages.next()).await.unwrap();
        let message = message.unwrap().unwrap();
        subjects.push(message.subject.to_string());
        if message.info().unwrap().stream_sequence >= end {
            return subjects;
        }
    }
}

fn count(subjects: &[String], subject: &str) -> usize {
    subjects.iter().filter(|found| *found == subject).count()
}

#[tokio::test]
async fn a_reader_that_is_behind_gets_all_of_a_log_while_another_one_is_compacted() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    let (link, reader) = reader(&cluster, streams::LOG).await;
    for number in 0..5 {
        append(&node, "hello").await;
        let edit = NewEvent::new("collab/text", Uuid::now_v7(), number.to_string());
        node.append(edit).await.unwrap();
    }
    let head = node.head("collab/text").await.unwrap().head;
    node.compact("collab/text", head, "all".into(), head)
        .await
        .unwrap();
    let end = streams::ends(&link.jetstream).await.unwrap().log;
    let subjects = subjects(reader, end).await;
    assert_eq!(count(&subjects, &record::log_subject(LOG)), 5);
    // The snapshot, and no event before it.
    assert_eq!(count(&subjects, &record::log_subject("collab/text")), 1);
}

#[tokio::test]
async fn a_reader_that_is_behind_gets_all_of_a_log_while_another_one_is_forgotten() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    let (link, reader) = reader(&cluster, streams::LOG).await;
    append(&node, "hello").await;
    let old = NewEvent::new("chat/old", Uuid::now_v7(), "old".to_owned());
    node.append(old).await.unwrap();
    assert_eq!(node.forget("chat/old", u64::MAX).await, Ok(2));
    let end = streams::ends(&link.jetstream).await.unwrap().log;
    let subjects = subjects(reader, end).await;
    assert_eq!(count(&subjects, &record::log_subject(LOG)), 1);
    assert_eq!(count(&subjects, &record::log_subject("chat/old")), 1);
}

#[tokio::test]
async fn a_reader_that_is_behind_gets_all_values_while_the_removal_of_one_is_cleared() {
    let cluster = Cluster::start().await;
    let opened = Nats::open(&cluster.data_dir("one"), cluster.options()).await;
    let node = opened.unwrap();
    let (link, reader) = reader(&cluster, streams::LATEST).await;
    for (key, value) in [("held", "1"), ("gone", "1"), ("gone", ""), ("last", "1")] {
        node.put_latest(key, value.into()).await.unwrap();
    }
    let shared = &node.shared;
    shared.clear_removals_before(u64::MAX).await.unwrap();
    let end = streams::ends(&link.jetstream).await.unwrap().latest;
    let subjects = subjects(reader, end).await;
    assert_eq!(
        subjects,
        ["held", "last"].map(record::latest_subject).to_vec()
    );
}

/// What a server holds of the log: how many messages, and the sequences of the first and the last.
async fn held(server: &NatsServer) -> Option<[u64; 3]> {
    let port = server.monitoring_port;
    let url = format!("http://127.0.0.1:{port}/jsz?accounts=true&streams=true");
    let all: serde_json::Value = reqwest::get(url).await.ok()?.json().await.ok()?;
    let held = all["account_details"][0]["stream_detail"].as_array()?;
    let log = held.iter().find(|stream| stream["name"] == streams::LOG)?;
    let state = |name: &str| log["state"][name].as_u64();
    Some([state("messages")?, state("first_seq")?, state("last_seq")?])
}

/// Waits until a server holds that much of the log.
async fn holds(server: &NatsServer, expected: [u64; 3]) {
    let mut last = None;
    let holds = async {
        while last != Some(expected) {
            sleep(Duration::from_millis(50)).await;
            last = held(server).await;
        }
    };
    let in_time = timeout(TEST_TIMEOUT, holds).await;
    assert!(in_time.is_ok(), "{last:?}, not {expected:?}");
}

/// Appends an event to a log, again and again until the servers have a leader for the stream.
async fn stored(node: &SharedBus, log: &str) {
    let event = NewEvent::new(log, Uuid::now_v7(), "event".to_owned());
    let storing = async {
        while node.append(event.clone()).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TEST_TIMEOUT, storing).await.unwrap();
}

#[tokio::test]
async fn a_server_of_a_cluster_that_starts_again_holds_what_the_others_hold() {
    let folder = tempfile::tempdir().unwrap();
    let stores = folder.path().join("nats");
    let starting = tokio::task::spawn_blocking(move || NatsServer::cluster(&stores, 3));
    let mut servers = starting.await.unwrap();
    let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
    let options = Options {
        address: Address {
            servers: urls.join(","),
            credentials: None,
        },
        replicas: 3,
        synced: true,
        storage: embedded::Options::default(),
    };
    let data = folder.path().join("node");
    fs::create_dir_all(&data).unwrap();
    let opening = async {
        loop {
            // The servers have to elect a leader first.
            match Nats::open(&data, options.clone()).await {
                Ok(opened) => return opened,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let node: SharedBus = Arc::new(timeout(TEST_TIMEOUT, opening).await.unwrap());
    for _ in 0..5 {
        stored(&node, LOG).await;
        stored(&node, "collab/text").await;
    }
    let head = node.head("collab/text").await.unwrap().head;
    let compacting = node.compact("collab/text", head, "all".into(), head);
    compacting.await.unwrap();
    // What follows says that the removals count: a server that starts takes from its own log what it knows to count.
    for _ in 0..3 {
        stored(&node, LOG).await;
    }
    // The messages of the lobby, and the snapshot.
    for server in &servers {
        holds(server, [9, 1, 14]).await;
    }
    let mut server = servers.remove(0);
    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        server.go_on();
        server
    });
    let server = server.await.unwrap();
    stored(&node, LOG).await;
    holds(&server, [10, 1, 15]).await;
    node.close().await;
}
