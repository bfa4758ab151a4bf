//! Tests a board: what is written, what is loaded again, and what is refused.

use axum::extract::ws::Message as Frame;

use super::*;
use crate::{
    bus::embedded::Embedded,
    collab::{
        protocol::{Message, decode},
        server::{document::Refusal, test_client::TestClient},
    },
};
use realtime::server::queue::OutQueue;

#[tokio::test]
async fn a_broken_document_is_loaded_again_with_the_unsaved_updates() {
    let folder = tempfile::tempdir().unwrap();
    let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
    let board = Arc::new(Board::new(bus.clone(), "notes"));
    let ana = TestClient::new(1);
    board
        .take(1, ana.insert(0, "on disk").into(), false)
        .await
        .unwrap();
    while board.write_some().await {}
    assert!(board.is_written());
    // This update stays unsaved, because no writer runs in this test.
    board
        .take(1, ana.insert(7, " and not").into(), false)
        .await
        .unwrap();
    let broken = board
        .text
        .lock()
        .await
        .with_document(|_| Err::<(), _>(Refusal::Harmful));
    assert!(matches!(broken, Err(TakeError::Refused(Refusal::Harmful))));
    assert_eq!(board.read().await.unwrap(), "on disk and not");
    board
        .take(1, ana.insert(0, "all ").into(), false)
        .await
        .unwrap();
    while board.write_some().await {}
    assert!(board.is_written());
    let again = Arc::new(Board::new(bus, "notes"));
    assert_eq!(again.read().await.unwrap(), "all on disk and not");
}

#[tokio::test]
async fn a_writer_begins_with_what_an_earlier_one_left_unsaved() {
    let folder = tempfile::tempdir().unwrap();
    let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
    let board = Arc::new(Board::new(bus, "notes"));
    let update = TestClient::new(1).insert(0, "unsaved").into();
    board.take(1, update, false).await.unwrap();
    // The notification was received by a writer that then panicked.
    board.changed.notified().await;
    let writer = tokio::spawn(board.clone().write());
    let written = tokio::time::timeout(Duration::from_secs(20), board.written()).await;
    assert!(written.is_ok(), "it waits for another change");
    writer.abort();
}

#[tokio::test]
async fn an_update_without_room_is_refused_and_requested_once_the_storage_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
    let board = Arc::new(Board::new(bus.clone(), "notes"));
    let queue = OutQueue::default();
    board.roster().join_yjs(1, queue.clone());
    board.roster().send_initial_state(1);
    queue.take().await;
    // Nothing is written, because no writer runs in this test.
    let ana = TestClient::new(1);
    let megabyte = "x".repeat(1024 * 1024);
    let mut refused = 0;
    for _ in 0..20 {
        // The text stays short; the unsaved list holds its history.
        let update = ana.insert(0, &megabyte).into();
        let applied = board.take(1, update, false).await;
        if matches!(applied, Err(TakeError::Behind)) {
            board.roster().refused(1);
            refused += 1;
        }
        let update = ana.remove(0, megabyte.len() as u32).into();
        board.take(1, update, false).await.unwrap();
    }
    assert_eq!(refused, 5);
    let waiting: usize = board
        .text
        .lock()
        .await
        .unsaved
        .updates()
        .iter()
        .map(Bytes::len)
        .sum();
    assert!(waiting <= 16 * 1024 * 1024, "{waiting}");
    let last = ana.insert(0, "all is here");
    let applied = board.take(1, last.into(), false).await.unwrap();
    assert!(applied.incomplete, "it builds on what was refused");

    // The storage is available again.
    while board.write_some().await {}
    let sent = queue.take().await.messages;
    let questions = sent.iter().filter_map(|message| match message {
        Frame::Binary(frame) => match decode(frame).next() {
            Some(Ok(Message::SyncStep1(vector))) => Some(vector.to_vec()),
            _ => None,
        },
        _ => None,
    });
    let questions: Vec<_> = questions.collect();
    assert_eq!(questions.len(), 1, "one question for all that was refused");
    let answer = ana.difference(&questions[0]);
    board.take(1, answer.into(), true).await.unwrap();
    while board.write_some().await {}
    let again = Arc::new(Board::new(bus, "notes"));
    assert_eq!(again.read().await.unwrap(), "all is here");
}
