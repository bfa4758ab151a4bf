//! Announcements of people, as another node sends them, in the protocol of NATS itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
    time::{interval, sleep},
};
use uuid::Uuid;

const SUBJECT: &str = "wirewise.volatile.chat/announcements";

/// A node that only announces.
pub struct Announcer {
    node: Uuid,
    nats: OwnedWriteHalf,
}

impl Announcer {
    pub async fn connect(port: u16) -> Self {
        let nats = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut read, mut nats) = nats.into_split();
        nats.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")
            .await
            .unwrap();
        // What the server says is of no interest, but it must not fill the connection. Its pings end a connection after
        // minutes, which is longer than this one lives.
        tokio::spawn(async move {
            let mut ignored = [0; 4_096];
            while read.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
        });
        Self {
            node: Uuid::new_v4(),
            nats,
        }
    }

    /// Announces that people are in a room. The same numbers are the same people.
    pub async fn here(&mut self, room: &str, people: std::ops::Range<u32>) -> usize {
        let users: Vec<Value> = people.map(person).collect();
        let announcement = json!({"type":"here","node":self.node,"room":room,"users":users});
        let mut payload = self.node.as_bytes().to_vec();
        payload.extend(announcement.to_string().bytes());
        let head = format!("PUB {SUBJECT} {}\r\n", payload.len());
        let message = [head.as_bytes(), &payload, b"\r\n"].concat();
        self.nats.write_all(&message).await.unwrap();
        payload.len()
    }

    /// Announces so many people at a time in each of so many rooms, in turn, at a rate, until the span is over. Returns how
    /// many announcements it were.
    pub async fn renew(&mut self, rooms: u32, people: u32, a_second: u32, span: Duration) -> usize {
        let mut every = interval(Duration::from_secs(1) / a_second);
        let (since, mut count) = (Instant::now(), 0);
        while since.elapsed() < span {
            every.tick().await;
            let room = count % rooms;
            self.here(
                &format!("others-{room}"),
                room * people..(room + 1) * people,
            )
            .await;
            count += 1;
        }
        sleep(Duration::from_millis(200)).await;
        count as usize
    }
}

/// A user with a name of usual length.
fn person(number: u32) -> Value {
    let id = Uuid::from_u128(u128::from(number) << 64 | 1);
    json!({"id":id,"name":"Quiet Raven","color":"#00695c"})
}

const FLOOD: &str = "flood";
/// Messages in each write to NATS.
const AT_ONCE: usize = 200;

/// Publishes as fast as NATS takes it, to so many subscribers that only read, and no node.
pub async fn flood(port: u16, subscribers: usize, bytes: usize, span: Duration) {
    let mut reading = vec![];
    for _ in 0..subscribers {
        let mut nats = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let hello = format!("CONNECT {{\"verbose\":false}}\r\nSUB {FLOOD} 1\r\n");
        nats.write_all(hello.as_bytes()).await.unwrap();
        reading.push(tokio::spawn(async move {
            let mut ignored = vec![0; 64 * 1_024];
            while nats.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
        }));
    }
    let mut announcer = Announcer::connect(port).await;
    let message = format!("PUB {FLOOD} {bytes}\r\n{}\r\n", "x".repeat(bytes));
    let messages = message.repeat(AT_ONCE);
    let since = Instant::now();
    while since.elapsed() < span {
        announcer.nats.write_all(messages.as_bytes()).await.unwrap();
    }
    reading.iter().for_each(|reading| reading.abort());
}
