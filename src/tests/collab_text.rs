//! Tests the shared text over real sockets, with Yjs clients (binary only) and ours beside them.

use std::time::Duration;

use futures::SinkExt;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message as Frame};
use wirewise::collab::protocol::{GONE, Message};
use yrs::{ClientID, Text, Transact};

use crate::{
    process::Process,
    support::{PATIENCE, Remote, Server, small_socket},
    yjs_client::{TestClient, awareness},
};

#[path = "collab_writers.rs"]
mod writers;

#[tokio::test]
async fn everybody_receives_what_anybody_types_and_nobody_receives_an_echo() {
    let server = Server::start().await;
    let mut ana = TestClient::connect(&server, "notes", 1).await;
    let mut ben = TestClient::connect(&server, "notes", 2).await;
    let mut cleo = TestClient::ours(&server, "notes", 3).await;
    ana.insert(0, "Grüße 🦀").await;
    ben.reads("Grüße 🦀").await;
    cleo.reads("Grüße 🦀").await;
    // Ana's own edit, which the others have, is not among what she receives before the answer.
    ana.receives_no_echo().await;
    cleo.insert(8, "!").await;
    ana.reads("Grüße 🦀!").await;
    ben.reads("Grüße 🦀!").await;
    cleo.receives_no_echo().await;
    // Another document has another text.
    let mut other = TestClient::connect(&server, "elsewhere", 4).await;
    other.until("step 2").await;
    assert_eq!(other.string(), "");
}

#[tokio::test]
async fn a_yjs_client_is_sent_no_text_and_is_a_guest_of_its_own() {
    let server = Server::start().await;
    let mut ana = TestClient::connect(&server, "notes", 1).await;
    for text in [
        "{\"type\":\"ping\",\"at\":1}",
        "{\"type\":\"move\",\"x\":0.5,\"y\":0.5}",
        "no JSON",
    ] {
        ana.socket.send_text(text).await;
    }
    ana.insert(0, "typed").await;
    let mut ben = TestClient::ours(&server, "notes", 2).await;
    ben.reads("typed").await;
    assert_eq!(ben.texts[0]["peers"], json!([]), "it has no pointer");
    ana.ask().await;
    ana.until("step 2").await;
    assert_eq!(ana.texts, [] as [Value; 0]);
}

#[tokio::test]
async fn saved_covers_what_was_sent_and_survives_a_restart() {
    let server = Server::start().await;
    let mut ana = TestClient::ours(&server, "notes", 1).await;
    ana.until("step 1").await;
    ana.insert(0, "kept").await;
    let mut ben = TestClient::connect(&server, "notes", 2).await;
    ben.reads("kept").await;
    ben.insert(4, " by both").await;
    ana.reads("kept by both").await;
    // The answer to the step 1, and the edit.
    let saved = ana.saved(2).await;
    assert_eq!(saved.get(&ClientID::new(1)), 4);
    let page = server
        .get("/collab/notes")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        page.contains("kept by both"),
        "the page shows it without a script"
    );
    let server = server.restart().await;
    let mut cleo = TestClient::ours(&server, "notes", 3).await;
    cleo.reads("kept by both").await;
    assert_eq!(cleo.saved(0).await.get(&ClientID::new(2)), 8);
}

#[tokio::test]
async fn a_deletion_is_reported_as_saved_though_no_state_vector_moves() {
    let server = Server::start().await;
    let mut ana = TestClient::ours(&server, "notes", 1).await;
    ana.until("step 1").await;
    ana.insert(0, "kept and removed").await;
    ana.saved(2).await;
    let mut transaction = ana.doc.transact_mut();
    ana.text.remove_range(&mut transaction, 4, 12);
    let update = transaction.encode_update_v1();
    drop(transaction);
    ana.send(Message::Update(&update)).await;
    ana.saved(3).await;
    // The same update again changes nothing, and counts as saved.
    ana.send(Message::Update(&update)).await;
    ana.saved(4).await;
    let server = server.restart().await;
    TestClient::connect(&server, "notes", 2)
        .await
        .reads("kept")
        .await;
}

#[tokio::test]
async fn kill_9_a_second_after_the_last_keystroke_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let mut ana = TestClient::connect(&Remote::new(process.addr), "notes", 1).await;
    let typed: String = ('a'..='z').collect();
    for (at, letter) in typed.chars().enumerate() {
        ana.insert(at as u32, &letter.to_string()).await;
    }
    // The answer shows that the edits are applied. They are promised to be durable a second after that.
    ana.ask().await;
    ana.until("step 2").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    process.kill();
    let process = Process::start(folder.path(), &[]);
    let mut ben = TestClient::connect(&Remote::new(process.addr), "notes", 2).await;
    ben.reads(&typed).await;
}

#[tokio::test]
async fn an_update_that_builds_on_a_lost_one_is_requested_again() {
    let server = Server::start().await;
    let mut ana = TestClient::connect(&server, "notes", 1).await;
    ana.until("step 2").await;
    // One edit is never sent, and the next one builds on it.
    let mut transaction = ana.doc.transact_mut();
    ana.text.insert(&mut transaction, 0, "lost ");
    drop(transaction);
    ana.insert(5, "and found").await;
    let mut ben = TestClient::connect(&server, "notes", 2).await;
    // Her answers to the server's questions bring both edits.
    let (_, ()) = tokio::join!(
        async { while ana.next().await != Some("step 1") {} },
        ben.reads("lost and found")
    );
}

#[tokio::test]
async fn a_read_only_socket_receives_and_is_denied_in_its_own_protocol() {
    let server = Server::start().await;
    let mut writer = TestClient::connect(&server, "notes", 1).await;
    let mut ours = TestClient::ours(&server, "notes?readonly=1", 2).await;
    let mut yjs = TestClient::connect(&server, "notes?readonly=1", 3).await;
    writer.insert(0, "to be read").await;
    ours.reads("to be read").await;
    yjs.reads("to be read").await;
    // An empty update is not an edit: a stock client answers every question.
    ours.send(Message::SyncStep2(&[0, 0])).await;
    ours.insert(0, "not ").await;
    while !ours.texts.iter().any(|text| text["code"] == "read_only") {
        ours.next().await;
    }
    assert_eq!(
        ours.texts
            .iter()
            .filter(|text| text["type"] == "error")
            .count(),
        1
    );
    yjs.insert(0, "nor ").await;
    yjs.until("denied").await;
    assert!(yjs.denied[0].contains("only reads"), "{:?}", yjs.denied);
    writer.insert(10, ".").await;
    let mut newcomer = TestClient::connect(&server, "notes", 4).await;
    newcomer.reads("to be read.").await;
}

#[tokio::test]
async fn an_unreadable_frame_closes_only_its_own_socket_with_1008() {
    // Makes yrs panic twice, which would abort the process.
    const HOSTILE: &str = "0104fcfeb288b8f2800b00010107636f6e74656e749bffffffff0f84fcfeb288b8f2800b03066f2061626364c4fcfeb288b8f2800b03fcfeb288b8f2800b040a68656c6c6f2061626364c4fcfeb288b8f2800b03fcfeb288b8f2800b0a0a68656c6c6f206162636401fcfeb288b8f2800b010004";
    let hostile: Vec<u8> = (0..HOSTILE.len() / 2)
        .map(|at| u8::from_str_radix(&HOSTILE[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let server = Server::start().await;
    let mut ana = TestClient::connect(&server, "notes", 1).await;
    ana.insert(0, "unharmed").await;
    for (what, frame) in [
        ("a truncated varint", vec![0, 2, 0x80]),
        ("a length beyond the frame", vec![0, 2, 9, 1, 2]),
        (
            "a length of 2^53 - 1",
            vec![0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
        ("an unknown type", vec![7, 1]),
        ("a second message that is cut", vec![0, 0, 1, 0, 0, 2, 5]),
        (
            "a state vector that is none",
            vec![0, 0, 4, 0xff, 0xff, 0xff, 0x7a],
        ),
        (
            "half a gigabyte in eight bytes",
            Message::Update(&[0xff, 0xff, 0xff, 0x7a, 1, 1, 0, 0]).encode(),
        ),
        ("the hostile update", Message::Update(&hostile).encode()),
        (
            "awareness that is cut",
            Message::Awareness(&[3, 1]).encode(),
        ),
    ] {
        let mut eve = TestClient::connect(&server, "notes", 9).await;
        eve.send_frame(frame).await;
        assert_eq!(eve.closed().await, 1008, "{what}");
    }
    ana.insert(8, ", still").await;
    TestClient::connect(&server, "notes", 2)
        .await
        .reads("unharmed, still")
        .await;
}

#[tokio::test]
async fn an_update_of_10_mb_is_not_read() {
    let server = Server::start().await;
    let mut eve = TestClient::connect(&server, "notes", 9).await;
    // The connection may be closed while the message is still being sent.
    let _ = eve
        .socket
        .0
        .send(Frame::Binary(vec![0; 10_000_000].into()))
        .await;
    let ended = eve.ended().await;
    assert!(matches!(ended, Some(1009) | None), "{ended:?}");
    TestClient::connect(&server, "notes", 2)
        .await
        .until("step 2")
        .await;
}

#[tokio::test]
async fn hostile_lengths_cost_the_server_no_memory() {
    const MOST: u64 = 16 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let remote = Remote::new(process.addr);
    let hostile = [
        // Half a gigabyte of clients, of blocks, of values, of deleted ranges; a frame that is mostly missing.
        Message::Update(&[0xff, 0xff, 0xff, 0x7a, 1, 1, 0, 0]).encode(),
        Message::Update(&[1, 0xff, 0xff, 0xff, 0x7a, 1, 0, 0]).encode(),
        Message::Update(&[1, 1, 1, 0, 8, 1, 1, b'a', 0xff, 0xff, 0xff, 0x7a]).encode(),
        Message::Update(&[0, 1, 1, 0xff, 0xff, 0xff, 0x7a]).encode(),
        Message::SyncStep1(&[0xff, 0xff, 0xff, 0x7a]).encode(),
        Message::Awareness(&[0xff, 0xff, 0xff, 0x7a]).encode(),
        vec![0, 2, 0xff, 0xff, 0xff, 0x7a],
    ];
    let send_all = async || {
        for frame in &hostile {
            let mut eve = TestClient::connect(&remote, "notes", 9).await;
            eve.send_frame(frame.clone()).await;
            assert_eq!(eve.closed().await, 1008, "{frame:?}");
        }
    };
    send_all().await;
    let before = process.resident();
    for _ in 0..20 {
        send_all().await;
    }
    let grown = process.resident().saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more after 140 of them");
}

#[tokio::test]
async fn a_full_document_refuses_updates_and_goes_on() {
    let server = Server::start().await;
    let mut ana = TestClient::ours(&server, "large", 1).await;
    ana.until("step 1").await;
    let megabytes = "x".repeat(3 * 1024 * 1024);
    for _ in 0..3 {
        ana.insert(0, &megabytes).await;
    }
    while !ana.texts.iter().any(|text| text["code"] == "invalid_field") {
        ana.next().await;
    }
    // The whole accepted text is sent past the queue, which holds a sixth of it.
    let mut ben = TestClient::connect(&server, "large", 2).await;
    ben.until("step 2").await;
    assert_eq!(ben.string().len(), 2 * megabytes.len());
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_reset() {
    let server = Server::start().await;
    let tcp = small_socket(server.addr).await;
    let stalled = server.socket_over(tcp, "/api/collab/notes", &[]).await;
    let mut ana = TestClient::ours(&server, "notes", 1).await;
    ana.until("step 1").await;
    // The stalled client's queue overruns: no update waits for a reader.
    for _ in 0..24 {
        ana.insert(0, &"x".repeat(256 * 1024)).await;
    }
    // A reset discards what the kernels hold and is visible at once. After a plain close, all of that would arrive
    // first.
    let MaybeTlsStream::Plain(tcp) = stalled.0.get_ref() else {
        panic!("no TLS on loopback");
    };
    let reset = async {
        while tcp.take_error().unwrap().is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    // Ana keeps reading, or her own queue would overrun.
    let reading = async { while ana.next().await != Some("never") {} };
    tokio::select! {
        reset = timeout(PATIENCE, reset) => reset.unwrap(),
        () = reading => unreachable!(),
    }
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_4100_and_has_everything_after_the_next_exchange() {
    let server = Server::start().await;
    let mut ana = TestClient::ours(&server, "notes", 1).await;
    ana.until("step 1").await;
    let ben = TestClient::connect(&server, "notes", 2).await;
    // Ben does not read: what the kernels do not hold fills his queue and overruns it.
    let part = "x".repeat(256 * 1024);
    for _ in 0..24 {
        ana.insert(0, &part).await;
    }
    ana.saved(25).await;
    // A client that still does not read after 5 s is reset.
    let ended = ben.ended().await;
    assert!(matches!(ended, Some(4100) | None), "{ended:?}");
    let mut again = TestClient::connect(&server, "notes", 2).await;
    again.reads(&part.repeat(24)).await;
}

#[tokio::test]
async fn a_long_log_becomes_a_snapshot_and_reads_the_same() {
    let server = Server::start().await;
    let mut ana = TestClient::ours(&server, "notes", 1).await;
    ana.until("step 1").await;
    for _ in 0..600 {
        ana.insert(0, "x").await;
    }
    ana.saved(601).await;
    let bus = &server.state.bus;
    while bus.snapshot("collab/notes").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    ana.insert(0, "y").await;
    ana.saved(602).await;
    let server = server.restart().await;
    let text = format!("y{}", "x".repeat(600));
    TestClient::connect(&server, "notes", 2)
        .await
        .reads(&text)
        .await;
}

#[tokio::test]
async fn carets_are_sent_to_all_and_removed_with_their_socket() {
    let server = Server::start().await;
    let mut ana = TestClient::connect(&server, "notes", 1).await;
    let mut ben = TestClient::ours(&server, "notes", 2).await;
    ana.send(Message::Awareness(&awareness(
        1,
        1,
        "{\"user\":{\"name\":\"Ana\"}}",
    )))
    .await;
    ben.sees(1, "{\"user\":{\"name\":\"Ana\"}}").await;
    // A stock client that receives nothing for 30 s disconnects. If it is alone, it receives its own states.
    ana.sees(1, "{\"user\":{\"name\":\"Ana\"}}").await;
    // A later client receives the states, and may ask for them again.
    let mut cleo = TestClient::connect(&server, "notes", 3).await;
    cleo.sees(1, "{\"user\":{\"name\":\"Ana\"}}").await;
    cleo.states.clear();
    cleo.send(Message::QueryAwareness).await;
    cleo.sees(1, "{\"user\":{\"name\":\"Ana\"}}").await;
    // Cleo's echo, as y-websocket sends it, does not make Cleo the owner of Ana's caret.
    cleo.send(Message::Awareness(&awareness(
        1,
        1,
        "{\"user\":{\"name\":\"Ana\"}}",
    )))
    .await;
    drop(cleo);
    drop(ana);
    ben.sees(1, GONE).await;
    let left = ben
        .states
        .iter()
        .filter(|state| state.state == GONE)
        .count();
    assert_eq!(left, 1, "{:?}", ben.states);
}

#[tokio::test]
async fn a_socket_that_claims_too_much_gets_an_error() {
    let server = Server::start().await;
    let mut ana = TestClient::ours(&server, "notes", 1).await;
    ana.send(Message::Awareness(&awareness(1, 1, &"x".repeat(5_000))))
        .await;
    for client in 0..9 {
        ana.send(Message::Awareness(&awareness(client, 1, "{}")))
            .await;
    }
    let errors = |texts: &[Value]| {
        let errors = texts.iter().filter(|text| text["type"] == "error");
        errors
            .map(|error| error["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    while errors(&ana.texts).len() < 2 {
        ana.next().await;
    }
    let messages = errors(&ana.texts);
    assert!(
        messages[0].contains("4096 bytes") && messages[1].contains("at most 8"),
        "{messages:?}"
    );
}
