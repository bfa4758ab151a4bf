//! Readers that stop reading: what they cost, and what they get when they read again.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    process::Process,
    support::{PATIENCE, Remote, Server, parse},
};

const EVENTS: &str = "/api/ticker/events";
/// A minute of a thousand prices a second.
const MINUTE: u64 = 60_000;

/// A stream whose client asks and then does not read. Its own receive buffer is small, or the kernel would read for it.
async fn stalled(addr: std::net::SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut tcp = socket.connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    tcp
}

/// Reads a stream from now on until so many prices were published.
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
    // Ten prices a millisecond: the minute is over sooner. A small ring, so that it is full when the count begins.
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--tick-ms", "1", "--history", "2000"]);
    let server = Remote::new(process.addr);
    wait_for_prices(&server, 4_000).await;
    let before = process.resident();
    let mut readers = vec![];
    for reader in 0..READERS {
        // Some of them come back first and have a long replay ahead.
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

/// A position that is 900 prices old by the time it is used, more or less.
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
    // Enough to fill every buffer on the way many times over; the server's tasks run in between.
    let mut published = 0;
    while published < MINUTE {
        server.step(20);
        published = server.state.ticker.first_prices().position.offset;
        tokio::task::yield_now().await;
    }
    let head = server.state.ticker.first_prices();
    let newest = |symbol: &str| {
        head.quotes
            .iter()
            .find(|quote| quote.symbol == symbol)
            .unwrap()
            .price
    };
    let (mut bytes, mut text) = (vec![], String::new());
    let mut offsets: Vec<u64> = vec![];
    let mut held = std::collections::HashMap::new();
    while offsets.last() != Some(&head.position.offset) {
        let mut chunk = [0; 16 * 1_024];
        let length = timeout(PATIENCE, tcp.read(&mut chunk))
            .await
            .unwrap()
            .unwrap();
        assert!(length > 0, "the stream goes on");
        bytes.extend_from_slice(&chunk[..length]);
        text.push_str(&String::from_utf8_lossy(&chunk[..length]));
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
    for (symbol, price) in &held {
        assert_eq!(*price, newest(symbol), "{symbol}");
    }
    assert_eq!(held.len(), 24);
    // What the kernel and the connection held, and then one price a symbol: 60,000 prices have some 9 MB.
    println!("{} bytes of {} prices were read", bytes.len(), published);
    assert!(bytes.len() < 512 * 1_024, "{} bytes", bytes.len());
}
