//! What NATS alone can do, in its own protocol: as many messages as it takes, to subscribers that only read.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
    time::{interval, sleep},
};

use super::{
    figures::{Spent, micros_each},
    nodes::System,
};

const SUBSCRIBERS: usize = 10;
/// Messages in each write to NATS.
const AT_ONCE: usize = 200;
/// Between two writes of messages that NATS stores.
const STORED_EVERY: Duration = Duration::from_millis(10);
/// What is sent last has to be stored and sent on.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Microseconds of CPU time of NATS, unless the name says otherwise.
pub struct Flood {
    /// A volatile message to each subscriber.
    pub sent: f64,
    pub sent_a_second: f64,
    /// A message that a stream stores, and what each of its readers adds.
    pub stored: f64,
    pub read: f64,
}

/// Opens a connection that writes. What the server says is of no interest, but it must not fill the connection. Its pings end
/// a connection after minutes, which is longer than this one lives.
pub async fn connect(port: u16) -> OwnedWriteHalf {
    let nats = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut read, mut write) = nats.into_split();
    let hello = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    write.write_all(hello).await.unwrap();
    tokio::spawn(async move {
        let mut ignored = vec![0; 64 * 1_024];
        while read.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
    });
    write
}

/// The nodes do not hear any of it.
pub async fn measure(system: &System, bytes: usize, span: Duration) -> Flood {
    let port = system.nats_port();
    let payload = "x".repeat(bytes);
    let mut nats = connect(port).await;
    let mut subscribers = vec![];
    for _ in 0..SUBSCRIBERS {
        let mut subscriber = connect(port).await;
        subscriber.write_all(b"SUB flood.sent 1\r\n").await.unwrap();
        subscribers.push(subscriber);
    }
    let messages = format!("PUB flood.sent {bytes}\r\n{payload}\r\n").repeat(AT_ONCE);
    let (before, since) = (system.spent().await, Instant::now());
    while since.elapsed() < span {
        nats.write_all(messages.as_bytes()).await.unwrap();
    }
    let sent = system.spent().await.since(&before);

    let stream = json!({"name":"FLOOD","subjects":["flood.stored"],"storage":"file","retention":"limits","num_replicas":1});
    request(&mut nats, "STREAM.CREATE.FLOOD", &stream.to_string()).await;
    sleep(ENDS_WITHIN).await;
    // With a subject for the acknowledgement, so that NATS makes one.
    let messages = format!("PUB flood.stored flood.ack {bytes}\r\n{payload}\r\n").repeat(AT_ONCE);
    let stored = store(system, &mut nats, &messages, span).await;
    for (number, subscriber) in subscribers.iter_mut().enumerate() {
        let subscribe = format!("SUB flood.to.{number} 2\r\n");
        subscriber.write_all(subscribe.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let consumer = json!({"stream_name":"FLOOD","config":{"deliver_subject":format!("flood.to.{number}"),"deliver_policy":"new","ack_policy":"none","replay_policy":"instant"}});
        request(&mut nats, "CONSUMER.CREATE.FLOOD", &consumer.to_string()).await;
    }
    sleep(ENDS_WITHIN).await;
    let read = store(system, &mut nats, &messages, span).await;
    let out = read.messages_out as f64 / read.messages_in as f64;
    assert!(
        out > 0.9 * SUBSCRIBERS as f64,
        "only {out} readers got everything"
    );
    request(&mut nats, "STREAM.DELETE.FLOOD", "").await;
    let each = |spent: &Spent| micros_each(spent.nats, spent.messages_in as usize);
    Flood {
        sent: micros_each(sent.nats, sent.messages_out as usize),
        sent_a_second: sent.messages_out as f64 / sent.seconds,
        stored: each(&stored),
        read: (each(&read) - each(&stored)) / SUBSCRIBERS as f64,
    }
}

/// Publishes at a rate that NATS can store, and waits until it has done so.
async fn store(
    system: &System,
    nats: &mut OwnedWriteHalf,
    messages: &str,
    span: Duration,
) -> Spent {
    let mut every = interval(STORED_EVERY);
    let (before, since) = (system.spent().await, Instant::now());
    while since.elapsed() < span {
        every.tick().await;
        nats.write_all(messages.as_bytes()).await.unwrap();
    }
    sleep(ENDS_WITHIN).await;
    system.spent().await.since(&before)
}

async fn request(nats: &mut OwnedWriteHalf, what: &str, body: &str) {
    let message = format!(
        "PUB $JS.API.{what} flood.answer {}\r\n{body}\r\n",
        body.len()
    );
    nats.write_all(message.as_bytes()).await.unwrap();
}
