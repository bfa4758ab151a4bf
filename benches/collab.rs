//! Measures what two hundred pointers cost the server, and how long a keystroke takes to the other clients (`make
//! bench-collab`), beside the same load on the npm package `@y/websocket-server` in the same run.
//!
//! `make bench-writers` measures what a keystroke costs where few or many people wrote before (`collab/writers.rs`).
//!
//! The clients are in this process, and the server is in a process of its own. Its CPU time is the count of the kernel
//! (`/proc/PID/stat`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be taken ends with the reason"
)]

#[path = "../src/tests/process.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod process;
#[path = "shared/processor.rs"]
mod processor;
#[path = "collab/writers.rs"]
mod writers;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt, stream::SplitSink};
use process::Process;
use processor::cpu;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle, time::interval};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};
use wirewise::collab::protocol::{self, Message};
use yrs::{
    ClientID, Doc, OffsetKind, Options, ReadTxn, StateVector, Text, Transact, Update,
    updates::decoder::Decode,
};

const SPAN: Duration = Duration::from_secs(10);
/// The time until all clients are connected and the first exchange is over.
const SETTLE: Duration = Duration::from_secs(2);

const POINTERS: usize = 200;
const MOVES_A_SECOND: u64 = 30;

const TYPISTS: usize = 10;
const KEYS_A_SECOND: u64 = 20;
const DOCUMENT_BYTES: usize = 100_000;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The argument that runs only the comparison of few and many writers.
const WRITERS: &str = "writers";

#[tokio::main]
async fn main() -> ExitCode {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ours = Process::start(folder.path(), &[]);
    if std::env::args().any(|argument| argument == WRITERS) {
        return writers::compare(&ours).await;
    }
    pointers(&ours).await;
    println!();
    let address = format!("ws://{}/api/collab/typing", ours.addr);
    typing("wirewise", &address, ours.id()).await;
    drop(ours);
    let npm = NpmServer::start();
    let address = format!("ws://{}/typing", npm.addr);
    typing("@y/websocket-server", &address, npm.child.id()).await;
    ExitCode::SUCCESS
}

/// A socket of a new guest that speaks our subprotocol.
async fn connect_ours(server: &Process, document: &str) -> Socket {
    let guest = reqwest::Client::new().post(format!("http://{}/api/session/guest", server.addr));
    let guest: Value = guest.send().await.unwrap().json().await.unwrap();
    let mut request = format!("ws://{}/api/collab/{document}", server.addr)
        .into_client_request()
        .unwrap();
    let bearer = format!("Bearer {}", guest["token"].as_str().unwrap());
    let headers = request.headers_mut();
    headers.insert("authorization", bearer.parse().unwrap());
    headers.insert(
        "sec-websocket-protocol",
        "wirewise.collab.v1".parse().unwrap(),
    );
    connect_async(request).await.unwrap().0
}

async fn pointers(server: &Process) {
    let mut readers = vec![];
    let mut writers = vec![];
    for _ in 0..POINTERS {
        let (sink, mut stream) = connect_ours(server, "pointers").await.split();
        let counted = Arc::new(Mutex::new(0_u64));
        let counter = counted.clone();
        let reading = tokio::spawn(async move {
            while let Some(Ok(frame)) = stream.next().await {
                if frame
                    .to_text()
                    .is_ok_and(|text| text.starts_with("{\"type\":\"moved\""))
                {
                    *counter.lock().unwrap() += 1;
                }
            }
        });
        readers.push((reading, counted));
        writers.push(tokio::spawn(send_moves(sink)));
    }
    tokio::time::sleep(SETTLE).await;
    let before = (cpu(server.id()), counts(&readers));
    let began = Instant::now();
    tokio::time::sleep(SPAN).await;
    let seconds = began.elapsed().as_secs_f64();
    let used = cpu(server.id()) - before.0;
    let frames = counts(&readers).into_iter().zip(before.1);
    let most = frames
        .map(|(after, before)| after - before)
        .max()
        .unwrap_or_default();
    println!(
        "{POINTERS} pointers, {MOVES_A_SECOND} moves a second each: {:.2} of a core (goal: under 0.5), at most {:.1} frames a second to each peer (a tick of 33 ms: 30.3)",
        used.as_secs_f64() / seconds,
        most as f64 / seconds
    );
    writers.iter().for_each(JoinHandle::abort);
    readers.iter().for_each(|(reading, _)| reading.abort());
}

async fn send_moves(mut sink: SplitSink<Socket, Frame>) {
    let mut every = interval(Duration::from_millis(1_000 / MOVES_A_SECOND));
    for step in 0_u32.. {
        every.tick().await;
        let position = f64::from(step % 1_000) / 1_000.0;
        let moved = json!({"type": "move", "x": position, "y": 1.0 - position}).to_string();
        if sink.send(Frame::Text(moved.into())).await.is_err() {
            return;
        }
    }
}

fn counts(readers: &[(JoinHandle<()>, Arc<Mutex<u64>>)]) -> Vec<u64> {
    readers
        .iter()
        .map(|(_, count)| *count.lock().unwrap())
        .collect()
}

/// The time at which each key was pressed, by client and clock.
type Pressed = Arc<Mutex<HashMap<(u64, u32), Instant>>>;
type Latencies = Arc<Mutex<Vec<Duration>>>;

async fn typing(name: &str, address: &str, server: u32) {
    let base = document(1_000);
    let text = base.get_or_insert_text("content");
    text.insert(
        &mut base.transact_mut(),
        0,
        &"Text that was there before. ".repeat(DOCUMENT_BYTES / 28),
    );
    let base = base
        .transact()
        .encode_state_as_update_v1(&StateVector::default());

    let (pressed, latencies) = (Pressed::default(), Latencies::default());
    let mut tasks = vec![];
    for typist in 0..TYPISTS as u64 {
        let (mut sink, mut stream) = connect_async(address).await.unwrap().0.split();
        let seed = Message::SyncStep2(&base).encode();
        sink.send(Frame::Binary(seed.into())).await.unwrap();
        let (pressed_keys, measured) = (pressed.clone(), latencies.clone());
        tasks.push(tokio::spawn(async move {
            while let Some(Ok(frame)) = stream.next().await {
                if let Frame::Binary(bytes) = frame {
                    record_latencies(typist, &bytes, &pressed_keys, &measured);
                }
            }
        }));
        tasks.push(tokio::spawn(send_keys(
            typist,
            sink,
            base.clone(),
            pressed.clone(),
        )));
    }
    tokio::time::sleep(SETTLE).await;
    latencies.lock().unwrap().clear();
    let (before, began) = (cpu(server), Instant::now());
    tokio::time::sleep(SPAN).await;
    let used = (cpu(server) - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let mut latencies = std::mem::take(&mut *latencies.lock().unwrap());
    tasks.iter().for_each(JoinHandle::abort);
    latencies.sort_unstable();
    let part = |part: f64| {
        latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0
    };
    println!(
        "{TYPISTS} typists, {KEYS_A_SECOND} keys a second each, {DOCUMENT_BYTES} bytes of text, {name}: key to peer p50 {:.2} ms, p99 {:.2} ms (goal: 50), {:.2} of a core, {} deliveries",
        part(0.5),
        part(0.99),
        used,
        latencies.len()
    );
}

async fn send_keys(
    typist: u64,
    mut sink: SplitSink<Socket, Frame>,
    base: Vec<u8>,
    pressed: Pressed,
) {
    let client = client_of(typist);
    let document = document(client);
    let text = document.get_or_insert_text("content");
    let base = Update::decode_v1(&base).unwrap();
    document.transact_mut().apply_update(base).unwrap();
    // The clients do not type in the same instant.
    tokio::time::sleep(Duration::from_millis(5 * typist)).await;
    let mut every = interval(Duration::from_millis(1_000 / KEYS_A_SECOND));
    for key in 0_u32.. {
        every.tick().await;
        let mut transaction = document.transact_mut();
        text.insert(&mut transaction, 5_000 * client as u32 + key, "k");
        let update = transaction.encode_update_v1();
        drop(transaction);
        pressed
            .lock()
            .unwrap()
            .insert((client, key), Instant::now());
        let frame = Message::Update(&update).encode();
        if sink.send(Frame::Binary(frame.into())).await.is_err() {
            return;
        }
    }
}

fn record_latencies(typist: u64, frame: &[u8], pressed: &Pressed, latencies: &Latencies) {
    let now = Instant::now();
    for message in protocol::decode(frame).flatten() {
        let Message::Update(update) = message else {
            continue;
        };
        let first = Update::decode_v1(update).unwrap().state_vector_lower();
        // An echo is not a delivery: the npm server sends one.
        let others = first
            .iter()
            .filter(|(client, _)| client.get() != client_of(typist));
        for (client, clock) in others {
            if let Some(pressed) = pressed.lock().unwrap().get(&(client.get(), *clock)) {
                latencies.lock().unwrap().push(now - *pressed);
            }
        }
    }
}

fn client_of(typist: u64) -> u64 {
    1 + typist
}

fn document(client: u64) -> Doc {
    Doc::with_options(Options {
        offset_kind: OffsetKind::Utf16,
        ..Options::with_client_id(ClientID::new(client))
    })
}

/// The server of the npm package. It is killed when dropped.
struct NpmServer {
    child: Child,
    addr: SocketAddr,
}

impl NpmServer {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let server = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("node_modules/@y/websocket-server/src/server.js");
        let child = Command::new("node")
            .arg(server)
            .env("HOST", "127.0.0.1")
            .env("PORT", addr.port().to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("node is installed");
        let npm = Self { child, addr };
        while std::net::TcpStream::connect(addr).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        npm
    }
}

impl Drop for NpmServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
