//! Measures acknowledged messages per second, with one fsync for each and with many in one commit (`make bench-chat`).
//!
//! Both are measured at the bus, on the same disk and with the same writes (message, index by id): the only difference
//! is how many writes a commit may contain. The ids are in the order of time, as the chat page creates them; a second
//! figure has random ids, and a third omits the search index, which a thread of its own writes. Then messages are sent
//! through real sockets to a server process of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be taken ends with the reason"
)]

#[path = "../src/tests/process.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod process;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use process::Process;
use realtime::server::channel::Log;
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use uuid::Uuid;
use wirewise::{
    bus::{
        SharedBus,
        embedded::{Commits, Embedded, Options},
    },
    chat::{
        message::Posted,
        server::log::{RoomLog, SEARCHABLE},
    },
    session::User,
};

/// The duration of each measurement, and of its warm-up.
const SPAN: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
const TEXT: &str = "A message as people write them: a sentence or two, nothing long.";
/// Rooms that the senders at the sockets share, so that a message has about ten readers at most.
const ROOMS: usize = 10;

/// The result of a measurement.
struct Rate {
    a_second: f64,
    a_commit: f64,
}

#[tokio::main]
async fn main() {
    // The data folder is beside the build, not in /tmp, which often is not on a disk.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(target).unwrap();
    println!("{:<44}{:>16}{:>18}", "", "messages/s", "messages/commit");
    let searched = Options {
        searchable: Some(SEARCHABLE),
        ..Options::default()
    };
    let one_each = Options {
        group: 1,
        ..searched
    };
    let single = at_the_bus(target, one_each, 100, Uuid::now_v7).await;
    print("bus, one fsync each, 100 senders", &single);
    let mut grouped = vec![];
    for senders in [1, 10, 100] {
        let rate = at_the_bus(target, searched, senders, Uuid::now_v7).await;
        print(&format!("bus, {senders} senders"), &rate);
        grouped.push(rate);
    }
    let random = at_the_bus(target, searched, 100, Uuid::new_v4).await;
    print("bus, 100 senders, random ids", &random);
    let unsearched = at_the_bus(target, Options::default(), 100, Uuid::now_v7).await;
    print("bus, 100 senders, without the search index", &unsearched);
    for senders in [1, 10, 100] {
        let rate = through_sockets(target, senders).await;
        print(&format!("sockets, {senders} senders"), &rate);
    }
    let most = &grouped[2];
    println!(
        "100 senders at the bus: {:.0} messages a commit (goal: at least 30), {:.1} times one fsync each (goal: at least 12)",
        most.a_commit,
        most.a_second / single.a_second
    );
}

fn print(what: &str, rate: &Rate) {
    println!("{what:<44}{:>16.0}{:>18.1}", rate.a_second, rate.a_commit);
}

async fn at_the_bus(target: &Path, options: Options, senders: usize, id: fn() -> Uuid) -> Rate {
    let folder = tempfile::tempdir_in(target).unwrap();
    let embedded = Arc::new(Embedded::with(folder.path(), options).unwrap());
    let bus: SharedBus = embedded.clone();
    let acknowledged = Arc::<AtomicU64>::default();
    let tasks: Vec<_> = (0..senders)
        .map(|_| {
            let (log, acknowledged) = (RoomLog::new(bus.clone(), "lobby"), acknowledged.clone());
            let user = User::new(Uuid::new_v4(), "Sender".into());
            tokio::spawn(async move {
                loop {
                    let (from, text) = (user.clone(), TEXT.to_owned());
                    let posted = Posted { from, text };
                    log.append(id().into(), posted).await.unwrap();
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let rate = measure(&acknowledged, async || embedded.commits()).await;
    for task in tasks {
        task.abort();
        // The task must end before the bus is closed under it.
        let _ = task.await;
    }
    bus.close().await;
    rate
}

async fn through_sockets(target: &Path, senders: usize) -> Rate {
    let folder = tempfile::tempdir_in(target).unwrap();
    let process = Process::start(folder.path(), &["--messages-per-second", "1000000"]);
    let (addr, metrics_addr) = (process.addr, process.metrics_addr());
    let acknowledged = Arc::<AtomicU64>::default();
    let tasks: Vec<_> = (0..senders)
        .map(|number| {
            let room = format!("room-{}", number % ROOMS);
            tokio::spawn(send(addr, room, acknowledged.clone()))
        })
        .collect();
    let rate = measure(&acknowledged, async || scrape(metrics_addr).await).await;
    tasks.iter().for_each(|task| task.abort());
    rate
}

/// One sender, which sends the next message when the previous one is acknowledged.
async fn send(addr: std::net::SocketAddr, room: String, acknowledged: Arc<AtomicU64>) {
    let http = reqwest::Client::new();
    let guest = http.post(format!("http://{addr}/api/session/guest"));
    let guest: Value = guest.send().await.unwrap().json().await.unwrap();
    let token = guest["token"].as_str().unwrap();
    let mut request = format!("ws://{addr}/api/chat/socket")
        .into_client_request()
        .unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = connect_async(request).await.unwrap();
    let mut command = json!({"type":"join","room":room});
    loop {
        socket
            .send(Message::Text(command.to_string().into()))
            .await
            .unwrap();
        loop {
            let message = socket.next().await.unwrap().unwrap();
            // Messages of others are read but not parsed, because this measures the server.
            let text = message.to_text().unwrap_or_default();
            if text.starts_with(r#"{"type":"ack""#) {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if text.starts_with(r#"{"type":"joined""#) {
                break;
            }
        }
        command = json!({"type":"send","id":Uuid::now_v7(),"room":room,"text":TEXT});
    }
}

async fn measure(acknowledged: &AtomicU64, commits: impl AsyncFn() -> Commits) -> Rate {
    tokio::time::sleep(WARM_UP).await;
    let (count, done, since) = (
        acknowledged.load(Ordering::Relaxed),
        commits().await,
        Instant::now(),
    );
    tokio::time::sleep(SPAN).await;
    let (now, elapsed) = (acknowledged.load(Ordering::Relaxed), since.elapsed());
    let after = commits().await;
    Rate {
        a_second: (now - count) as f64 / elapsed.as_secs_f64(),
        a_commit: (after.writes - done.writes) as f64 / (after.commits - done.commits) as f64,
    }
}

/// The commits and writes that the server counted.
async fn scrape(metrics_addr: std::net::SocketAddr) -> Commits {
    let text = reqwest::get(format!("http://{metrics_addr}/metrics"))
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    let counter = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    };
    Commits {
        commits: counter("wirewise_bus_commits "),
        writes: counter("wirewise_bus_writes "),
    }
}
