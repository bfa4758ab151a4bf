//! Tests readers that stop reading: what they cost, and what they receive when they read again.

use std::collections::HashMap;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::timeout,
};
use wirewise::ticker::message::Quote;

use crate::{
    process::Process,
    support::{PATIENCE, Remote, Server, parse, small_socket},
};

const EVENTS: &str = "/api/ticker/events";
/// A minute of a thousand prices a second.
const MINUTE: u64 = 60_000;

/// A stream whose client sends a request and then does not read.
async fn stalled(addr: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut tcp = small_socket(addr).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    tcp
}

/// Reads a stream until so many more prices are published.
async fn wait_for_prices(server: &Remote, prices: u64) {
    let mut events = server.stream(EVENTS, &[]).await;
    let mut first = None;
    loop {
        let event = events.next().await.unwrap();
        if event.id.is_some() && event.offset() >= *first.get_or_insert(event.offset()) + prices {
            return;
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_that_stops_for_a_minute_of_a_thousand_prices_a_second_costs_at_most_64_kib() {
    const READERS: u64 = 200;
    // At ten prices a millisecond the minute is over sooner. The ring is small, so that it is full when the measurement
    // begins.
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--tick-ms", "1", "--history", "2000"]);
    let server = Remote::new(process.addr);
    wait_for_prices(&server, 4_000).await;
    let before = process.resident();
    let mut readers = vec![];
    for reader in 0..READERS {
        // Half of them resume from an old position and have a long replay ahead.
        let path = match reader % 2 {
            0 => EVENTS.to_owned(),
            _ => format!("{EVENTS}?last_event_id={}", resumable(&server).await),
        };
        readers.push(stalled(server.addr, &path).await);
    }
    wait_for_prices(&server, MINUTE).await;
    let cost = process.resident().saturating_sub(before) / READERS;
    println!("a stalled reader costs {} KiB", cost / 1_024);
    assert!(cost <= 64 * 1_024, "{cost} bytes a reader");
}

/// A position that is about 900 prices old by the time it is used.
async fn resumable(server: &Remote) -> String {
    let mut events = server.stream(EVENTS, &[]).await;
    events.expect("hello").await;
    let snapshot = events.expect("snapshot").await;
    let id = snapshot.id.clone().unwrap();
    let (epoch, _) = id.split_once('-').unwrap();
    format!("{epoch}-{}", snapshot.offset().saturating_sub(900))
}

#[tokio::test]
async fn a_reader_that_wakes_reads_little_old_news_and_then_the_newest_prices() {
    let server = Server::start().await;
    let mut tcp = stalled(server.addr, EVENTS).await;
    let newest = publish_a_minute(&server).await;
    let read = newest
        .read(async || {
            let mut chunk = BytesMut::with_capacity(16 * 1_024);
            tcp.read_buf(&mut chunk).await.unwrap();
            chunk.freeze()
        })
        .await;
    // The bytes that the kernel and the connection held, and then one price for each symbol. All 60,000 prices would be
    // some 9 MB.
    assert!(read < 128 * 1_024, "{read} bytes");
}

#[test]
fn over_http_2_it_reads_as_little() {
    let runtime = Runtime::new().unwrap();
    // The reader has a runtime of its own, which stands still whenever nothing waits for the reader.
    let reader = Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start());
    let (_sender, mut data) = reader.block_on(async {
        let tcp = TokioIo::new(small_socket(server.addr).await);
        // The reader's windows have room for all data: only the server holds data back.
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 26)
            .initial_connection_window_size(1 << 26)
            .handshake(tcp)
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::get(format!("http://{}{EVENTS}", server.addr));
        let request = request.body(Body::empty()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        // The sender is kept, because dropping it would end the connection.
        (sender, Body::new(response.into_body()).into_data_stream())
    });
    let newest = runtime.block_on(publish_a_minute(&server));
    let read = reader.block_on(newest.read(async || data.next().await.unwrap().unwrap()));
    assert!(read < 128 * 1_024, "{read} bytes");
}

/// Publishes enough prices to fill every buffer on the way many times over. The tasks of the server run in between.
async fn publish_a_minute(server: &Server) -> Newest {
    let mut published = 0;
    while published < MINUTE {
        server.step(20);
        published = server.state.features.ticker.first_prices().position.offset;
        tokio::task::yield_now().await;
    }
    let head = server.state.features.ticker.first_prices();
    let price = |quote: Quote| (quote.symbol, quote.price);
    Newest {
        offset: head.position.offset,
        prices: head.quotes.into_iter().map(price).collect(),
    }
}

/// The state that a reader must have in the end.
struct Newest {
    offset: u64,
    prices: HashMap<String, f64>,
}

impl Newest {
    /// Reads up to the newest price. Returns how many bytes that took.
    async fn read(self, mut next: impl AsyncFnMut() -> Bytes) -> usize {
        let (mut bytes, mut text) = (0, String::new());
        let mut offsets: Vec<u64> = vec![];
        let mut held = HashMap::new();
        while offsets.last() != Some(&self.offset) {
            let chunk = timeout(PATIENCE, next()).await.unwrap();
            assert!(!chunk.is_empty(), "the stream goes on");
            bytes += chunk.len();
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                if let Some(event) = parse(&block).filter(|event| event.name == "price") {
                    offsets.push(event.offset());
                    let symbol = event.data["symbol"].as_str().unwrap().to_owned();
                    held.insert(symbol, event.data["price"].as_f64().unwrap());
                }
            }
        }
        assert!(
            offsets.is_sorted_by(|before, after| before < after),
            "ascending, none twice"
        );
        assert_eq!(held, self.prices);
        assert_eq!(held.len(), 24);
        println!("{bytes} bytes were read");
        bytes
    }
}
