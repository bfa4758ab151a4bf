//! Announcements of people, as another node sends them, in the protocol of NATS itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::tcp::OwnedWriteHalf,
    time::{interval, sleep},
};
use uuid::Uuid;

use super::flood::connect;

const SUBJECT: &str = "wirewise.volatile.chat/announcements";

/// A node that only announces.
pub struct Announcer {
    node: Uuid,
    nats: OwnedWriteHalf,
}

impl Announcer {
    pub async fn connect(port: u16) -> Self {
        Self {
            node: Uuid::new_v4(),
            nats: connect(port).await,
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
