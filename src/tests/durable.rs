//! Tests that acknowledged messages stay: across restarts, `kill -9`, a storage that is unavailable, and readers that
//! are far behind.

use std::{process::Command, time::Duration};

use futures::{StreamExt, future::join_all};
use realtime::server::channel::Log;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::spawn_blocking, time::timeout};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;
use wirewise::{
    chat::{message::Posted, server::log::RoomLog},
    session::User,
};

use crate::{
    chat::{join, send_message},
    process::{Process, binary},
    support::{Guest, PATIENCE, Remote, Server, Socket, small_socket},
};

fn send(id: Uuid, text: &str) -> Value {
    json!({"type":"send","id":id,"room":"lobby","text":text})
}

/// The texts of a room, oldest first.
async fn texts(server: &Remote, guest: &Guest, room: &str) -> Vec<String> {
    let path = format!("/api/chat/rooms/{room}/messages?limit=200");
    let page = server.json(&path, Some(guest)).await;
    let messages = page["messages"].as_array().unwrap().iter().rev();
    messages
        .map(|message| message["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Stores `count` messages in the lobby, faster than any socket could.
async fn fill(server: &Server, count: usize, text: &str) {
    let log: RoomLog = server.state.features.chat.log("lobby");
    let ada = User::new(Uuid::new_v4(), "Ada".into());
    let posted = || Posted {
        from: ada.clone(),
        text: text.to_owned(),
    };
    let posts = (0..count).map(|_| log.append(Uuid::new_v4().into(), posted()));
    for post in join_all(posts).await {
        post.unwrap();
    }
}

/// Reads `count` messages and checks that their offsets follow `after` without a hole.
async fn expect_messages(socket: &mut Socket, after: u64, count: u64) {
    for offset in after + 1..=after + count {
        assert_eq!(socket.next_of("message").await["offset"], offset);
    }
}

#[tokio::test]
async fn a_restart_loses_nothing_and_ids_still_deduplicate() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    let epoch = join(&mut socket, "lobby", None).await["epoch"].clone();
    let id = Uuid::new_v4();
    socket.send(&send(id, "before")).await;
    let ack = socket.next_of("ack").await;
    join(&mut socket, "made-by-visiting", None).await;
    send_message(&mut socket, "made-by-visiting", "hello").await;

    let server = server.restart().await;
    let mut socket = server.chat(&guest).await;
    let after = json!({"epoch":epoch,"offset":0});
    let joined = join(&mut socket, "lobby", Some(after)).await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"], &joined["epoch"]),
        (&true.into(), &1.into(), &epoch)
    );
    assert_eq!(socket.next_of("message").await["text"], "before");
    socket.send(&send(id, "before")).await;
    assert_eq!(socket.next_of("ack").await, ack);
    send_message(&mut socket, "lobby", "after").await;
    assert_eq!(texts(&server, &guest, "lobby").await, ["before", "after"]);
    let rooms = server.json("/api/chat/rooms", Some(&guest)).await;
    let names: Vec<_> = rooms
        .as_array()
        .unwrap()
        .iter()
        .map(|room| room["room"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["lobby", "made-by-visiting", "random", "rust"]);
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let process = start(&folder).await;
    let server = Remote::new(process.addr);
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    join(&mut socket, "lobby", None).await;
    let sends: Vec<_> = (0..100).map(|_| Uuid::new_v4()).collect();
    for (number, id) in sends.iter().enumerate() {
        socket.send(&send(*id, &number.to_string())).await;
    }
    let mut acknowledged = 0;
    while acknowledged < 30 {
        socket.next_of("ack").await;
        acknowledged += 1;
    }
    process.kill();

    let process = start(&folder).await;
    let server = Remote::new(process.addr);
    let stored = texts(&server, &guest, "lobby").await;
    let expected: Vec<_> = (0..stored.len()).map(|number| number.to_string()).collect();
    assert_eq!(stored, expected, "in order, and none twice");
    assert!(stored.len() >= acknowledged);
    // Sends everything again, as a client does that does not know what was stored.
    let mut socket = server.chat(&guest).await;
    join(&mut socket, "lobby", None).await;
    for (number, id) in sends.iter().enumerate() {
        socket.send(&send(*id, &number.to_string())).await;
        assert_eq!(socket.next_of("ack").await["offset"], number as u64 + 1);
    }
    assert_eq!(texts(&server, &guest, "lobby").await.len(), 100);
}

async fn start(folder: &TempDir) -> Process {
    let folder = folder.path().to_owned();
    let flags = ["--messages-per-second", "1000"];
    spawn_blocking(move || Process::start(&folder, &flags))
        .await
        .unwrap()
}

#[tokio::test]
async fn read_marks_survive_a_restart_and_do_not_go_back() {
    let server = Server::start().await;
    let (ada, bob) = (server.guest().await, server.guest().await);
    let (mut one, mut two) = (server.chat(&ada).await, server.chat(&bob).await);
    join(&mut one, "lobby", None).await;
    join(&mut two, "lobby", None).await;
    for text in ["a", "b", "c"] {
        send_message(&mut one, "lobby", text).await;
    }
    for offset in 1..=2 {
        two.send(&json!({"type":"read","room":"lobby","offset":offset}))
            .await;
        one.next_of("read").await;
    }
    // Restarted at once, within the second in which marks are gathered: the shutdown saves them.
    let server = server.restart().await;
    let mut two = server.chat(&bob).await;
    let joined = join(&mut two, "lobby", None).await;
    assert_eq!(joined["read"], json!([{"user_id":bob.id,"offset":2}]));
    assert_eq!(joined["unread"], 1);
    two.send(&json!({"type":"read","room":"lobby","offset":1}))
        .await;
    let joined = join(&mut two, "lobby", None).await;
    assert_eq!(joined["read"][0]["offset"], 2);
}

#[tokio::test]
async fn a_reader_50_000_messages_behind_catches_up_on_a_slow_connection() {
    const BEHIND: u64 = 50_000;
    let server = Server::start().await;
    fill(&server, BEHIND as usize, &"behind ".repeat(20)).await;
    let (ada, bob) = (server.guest().await, server.guest().await);
    let (mut one, mut two) = (server.chat(&ada).await, server.chat(&bob).await);
    let epoch = join(&mut one, "lobby", None).await["epoch"].clone();
    let after = json!({"epoch":epoch,"offset":0});
    let joined = join(&mut two, "lobby", Some(after)).await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"]),
        (&true.into(), &BEHIND.into())
    );
    // All messages are some 18 MB, and the connection reads a piece, then pauses. With more than 1 MiB in its queue the
    // socket would be closed.
    let slow = async {
        for read in 1..=BEHIND {
            assert_eq!(two.next_of("message").await["offset"], read);
            if read % 500 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let talk = async {
        for number in 0..20 {
            send_message(&mut one, "lobby", &format!("live {number}")).await;
        }
    };
    tokio::join!(slow, talk);
    expect_messages(&mut two, BEHIND, 20).await;
}

#[tokio::test]
async fn a_reader_who_stops_is_closed_with_4100_and_the_resume_brings_what_was_missed() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut stopped = server
        .chat_over(small_socket(server.addr).await, &guest)
        .await;
    let epoch = join(&mut stopped, "lobby", None).await["epoch"].clone();
    // Far more than fits into its queue and all buffers on the way.
    fill(&server, 500, &"x".repeat(4_000)).await;
    fill(&server, 500, &"y".repeat(4_000)).await;
    let (mut seen, mut closed) = (0, None);
    while closed.is_none() {
        match timeout(PATIENCE, stopped.0.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(message["offset"], seen + 1);
                seen += 1;
            }
            Some(Ok(Message::Close(frame))) => closed = Some(u16::from(frame.unwrap().code)),
            other => panic!("messages, then a close: {other:?}"),
        }
    }
    assert_eq!(closed, Some(4100));
    assert!(seen < 1_000);
    let mut back = server.chat(&guest).await;
    let after = json!({"epoch":epoch,"offset":seen});
    let joined = join(&mut back, "lobby", Some(after)).await;
    assert_eq!(joined["recovered"], true);
    expect_messages(&mut back, seen, 1_000 - seen).await;
}

#[tokio::test]
async fn while_the_storage_is_unavailable_sends_are_refused_until_the_first_is_sent_again() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    join(&mut socket, "lobby", None).await;
    send_message(&mut socket, "lobby", "before").await;
    // Another process holds the write lock. To the server this is a disk that refuses writes.
    let other = rusqlite::Connection::open(server.folder.path().join("data/wirewise.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (first, second) = (
        send(Uuid::new_v4(), "first"),
        send(Uuid::new_v4(), "second"),
    );
    socket.send(&first).await;
    let error = socket.next_of("error").await;
    assert_eq!(
        (&error["code"], &error["re"], &error["room"]),
        (&"unavailable".into(), &first["id"], &"lobby".into())
    );
    assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
    // Reads still work.
    assert_eq!(texts(&server, &guest, "lobby").await, ["before"]);
    other.execute_batch("ROLLBACK").unwrap();
    socket.send(&second).await;
    let error = socket.next_of("error").await;
    assert_eq!(
        (&error["code"], &error["re"]),
        (&"unavailable".into(), &second["id"])
    );
    for send in [&first, &second] {
        socket.send(send).await;
        assert_eq!(socket.next_of("ack").await["id"], send["id"]);
    }
    assert_eq!(
        texts(&server, &guest, "lobby").await,
        ["before", "first", "second"]
    );
}

#[tokio::test]
async fn messages_older_than_the_retention_are_gone_and_a_resume_says_so() {
    let retention = |settings: &mut wirewise::settings::Settings| {
        settings.chat.retention = Some(Duration::from_secs(1));
    };
    let server = Server::with(retention).await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    let epoch = join(&mut socket, "lobby", None).await["epoch"].clone();
    send_message(&mut socket, "lobby", "old").await;
    let gone = async {
        while !texts(&server, &guest, "lobby").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    for (offset, recovered) in [(0, false), (1, true)] {
        let after = json!({"epoch":epoch,"offset":offset});
        let joined = join(&mut socket, "lobby", Some(after)).await;
        assert_eq!(
            (&joined["recovered"], &joined["replayed"]),
            (&recovered.into(), &0.into())
        );
    }
    let ack = send_message(&mut socket, "lobby", "new").await;
    assert_eq!(ack["offset"], 2, "offsets go on");
}

#[tokio::test]
async fn a_backup_is_taken_while_the_server_runs_and_restored_under_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["--data-dir", "data"]).args(arguments);
        let output = command.current_dir(folder.path()).output().unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(words).unwrap())
    };
    let process = start(&folder).await;
    let server = Remote::new(process.addr);
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    let epoch = join(&mut socket, "lobby", None).await["epoch"].clone();
    send_message(&mut socket, "lobby", "in the backup").await;
    assert!(run(&["backup", "copy"]).0);
    send_message(&mut socket, "lobby", "after the backup").await;
    for (arguments, needle) in [
        (["backup", "copy"], "overwrites nothing"),
        (["restore", "copy"], "Another server holds"),
        (["restore", "absent"], "no file"),
    ] {
        let (done, words) = run(&arguments);
        assert!(!done && words.contains(needle), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    assert!(
        spawn_blocking(|| process.terminate())
            .await
            .unwrap()
            .success()
    );
    let (done, words) = run(&["restore", "copy"]);
    assert!(done, "{words}");

    let process = start(&folder).await;
    let server = Remote::new(process.addr);
    assert_eq!(texts(&server, &guest, "lobby").await, ["in the backup"]);
    let mut socket = server.chat(&guest).await;
    // The restored log has an offset 1 too, but under the new epoch: the message that was read before the restore may
    // differ from the stored one.
    let after = json!({"epoch":epoch,"offset":1});
    let joined = join(&mut socket, "lobby", Some(after)).await;
    assert_eq!(joined["recovered"], false);
    assert_ne!(joined["epoch"], epoch);
}

#[tokio::test]
async fn two_servers_do_not_share_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let process = start(&folder).await;
    let server = Remote::new(process.addr);
    let (early, late) = (server.guest().await, server.guest().await);
    sign_out(&server, &early).await;
    let second = Command::new(binary())
        .args(["--addr", "127.0.0.1:0", "--site-root", "site"])
        .args(["--data-dir", "data"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let words = String::from_utf8(second.stderr).unwrap();
    assert!(
        !second.status.success() && words.contains("Another server holds"),
        "{words}"
    );
    // The refused server has damaged nothing: users who signed out before and after its start stay signed out.
    sign_out(&server, &late).await;
    process.kill();
    let process = start(&folder).await;
    let server = Remote::new(process.addr);
    for guest in [early, late] {
        let request = server.get("/api/jobs");
        let answer = request.header("authorization", guest.bearer()).send();
        assert_eq!(answer.await.unwrap().status(), 401);
    }
}

async fn sign_out(server: &Remote, guest: &Guest) {
    let request = server.post("/api/session/sign_out", &[]);
    let answer = request.header("authorization", guest.bearer()).send();
    assert_eq!(answer.await.unwrap().status(), 200);
}
