//! A crowd at a cluster: many clients at all nodes each get every message once, in order.

use std::{net::SocketAddr, sync::Arc};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Duration, Instant, timeout},
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::socket::{Socket, connect, guest};

const CLIENTS: usize = 2_000;
const PERSONS: usize = 100;
const MESSAGES: usize = 100;
const ROOM: &str = "crowd";
/// Connections that are opened at once.
const AT_ONCE: usize = 50;
/// Far longer than it takes.
const WITHIN: Duration = Duration::from_secs(120);

/// Returns what is wrong.
pub async fn run(address: SocketAddr) -> Vec<String> {
    let (results, mut received) = mpsc::unbounded_channel();
    let (joined, mut joining) = mpsc::unbounded_channel();
    let opening = Arc::new(Semaphore::new(AT_ONCE));
    let sent = watch::Sender::new(Instant::now());
    // Persons with many tabs: of thousands of persons each would hear of every other one.
    let mut tokens = vec![];
    for _ in 0..PERSONS {
        tokens.push(guest(address).await);
    }
    for number in 0..CLIENTS {
        let token = tokens[number % PERSONS].clone();
        let (results, joined, opening) = (results.clone(), joined.clone(), opening.clone());
        let sent = sent.subscribe();
        let client = async move {
            let permit = opening.acquire_owned().await;
            let mut socket = join(address, &token).await;
            drop(permit);
            let _ = joined.send(());
            listen(&mut socket, &sent).await
        };
        tokio::spawn(async move {
            let _ = results.send(timeout(WITHIN, client).await);
        });
    }
    drop((results, joined));
    // A client that fails meanwhile drops its sender.
    for _ in 0..CLIENTS {
        if joining.recv().await.is_none() {
            break;
        }
    }
    let mut writer = join(address, &tokens[0]).await;
    for number in 0..MESSAGES {
        sent.send_replace(Instant::now());
        let send = json!({"type":"send","id":Uuid::now_v7(),"room":ROOM,"text":number.to_string()});
        writer.send(text(&send)).await.unwrap();
        next(&mut writer, "ack").await;
    }
    let (mut got_all, mut slowest) = (0, Duration::ZERO);
    let mut violations = vec![];
    while let Some(result) = received.recv().await {
        match result {
            Ok((numbers, delay)) if numbers.iter().copied().eq(0..MESSAGES) => {
                got_all += 1;
                slowest = slowest.max(delay);
            }
            Ok((numbers, _)) => violations.push(format!("a client of the crowd got {numbers:?}")),
            Err(_) => violations.push("a client of the crowd did not get every message".into()),
        }
    }
    if got_all + violations.len() < CLIENTS {
        violations.push("a client of the crowd failed".into());
    }
    println!(
        "crowd: {got_all} of {CLIENTS} clients got all {MESSAGES} messages in order; the last client got the last message after {slowest:?}"
    );
    violations
}

async fn join(address: SocketAddr, token: &str) -> Socket {
    let mut socket = connect(address, token).await.expect("it connects");
    let join = json!({"type":"join","room":ROOM,"after":null});
    socket.send(text(&join)).await.unwrap();
    next(&mut socket, "joined").await;
    socket
}

/// The numbers that a client got, and how long the last one took.
async fn listen(socket: &mut Socket, sent: &watch::Receiver<Instant>) -> (Vec<usize>, Duration) {
    let mut numbers = vec![];
    while numbers.len() < MESSAGES {
        let message = next(socket, "message").await;
        let number = message["text"].as_str().unwrap_or_default();
        numbers.push(number.parse().unwrap_or(usize::MAX));
    }
    (numbers, sent.borrow().elapsed())
}

async fn next(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let message = socket.next().await.expect("it is open").unwrap();
        if let Message::Text(text) = message {
            let event: Value = serde_json::from_str(&text).unwrap();
            assert_ne!(event["type"], "error", "{event}");
            if event["type"] == kind {
                return event;
            }
        }
    }
}

fn text(command: &Value) -> Message {
    Message::Text(command.to_string().into())
}
