//! Members of rooms at all nodes, and what they send.
//!
//! The id of a message says when it was due, and which member sent it, so that a receiver needs no table to know how long it
//! took.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::json;
use tokio::{
    sync::{Mutex as Shared, mpsc},
    task::{JoinHandle, JoinSet},
    time::{interval_at, sleep},
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{
    figures::{Percentiles, Spent},
    nodes::System,
    socket::{Socket, connect, guest},
};

pub const ROOMS: usize = 4;
/// Members of each room.
pub const MEMBERS: usize = 60;
/// Members of each room who write, and how often each of them does at the steady load.
const WRITERS: usize = 5;
const PAUSE: Duration = Duration::from_millis(200);
const TEXT: &str = "A message as people write them: a sentence or two, nothing long.";
/// The bits of an id that say when the message was due, in nanoseconds: three days.
const DUE_BITS: u32 = 48;
/// After the last message of a measurement, the time until everybody has it.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

/// Everybody, each with a socket.
pub struct Members {
    members: Vec<Member>,
    rooms: usize,
    nodes: usize,
    began: Instant,
}

struct Member {
    number: usize,
    room: String,
    sink: Arc<Shared<SplitSink<Socket, Message>>>,
    received: Arc<Mutex<Vec<Received>>>,
    /// One entry for each acknowledgement.
    acknowledged: Arc<Shared<mpsc::UnboundedReceiver<()>>>,
    reading: JoinHandle<()>,
}

/// A message or an acknowledgement that a member got.
#[derive(Clone, Copy)]
struct Received {
    kind: Kind,
    from: usize,
    due: u64,
    at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Acknowledgement,
}

/// What a load has shown.
pub struct Load {
    pub spent: Spent,
    pub messages: usize,
    pub deliveries: usize,
    /// The time until a member at the sender's node, and one at another node, had a message.
    pub same_node: Option<Percentiles>,
    pub other_node: Option<Percentiles>,
    pub acknowledged: Option<Percentiles>,
}

impl Members {
    /// Joins this many members to each of the rooms, in turn at the first nodes.
    pub async fn join(system: &System, nodes: usize, rooms: usize, each: usize) -> Self {
        let count = rooms * each;
        let (began, mut joining) = (Instant::now(), JoinSet::new());
        let mut members = vec![];
        for number in 0..count {
            // The members of a room are spread over the nodes, as well as its writers.
            let address = system.nodes[number / rooms % nodes].addr;
            let room = format!("room-{}", number % rooms);
            joining.spawn(async move {
                let token = guest(address).await;
                let socket = connect(address, &token).await.expect("it connects");
                Member::join(number, room, socket, began).await
            });
            // As many at a time as the queue of a listener holds without losing any.
            if joining.len() == 32 {
                members.push(joining.join_next().await.unwrap().unwrap());
            }
        }
        members.extend(joining.join_all().await);
        members.sort_by_key(|member| member.number);
        Self {
            members,
            rooms,
            nodes,
            began,
        }
    }

    /// Every writer writes again and again after the same pause, whatever the servers do.
    pub async fn steady(&self, system: &System, span: Duration) -> Load {
        let writers = self.writers();
        let (count, began) = (writers.len() as u32, self.began);
        let start = tokio::time::Instant::now();
        let tasks = writers.enumerate().map(|(turn, member)| {
            let (number, room, sink) = member.parts();
            // The writers take turns.
            let mut every = interval_at(start + PAUSE * turn as u32 / count, PAUSE);
            tokio::spawn(async move {
                loop {
                    let due = every.tick().await.into_std();
                    let id = id(number, due.saturating_duration_since(began));
                    if sink.lock().await.send(send(id, &room)).await.is_err() {
                        return;
                    }
                }
            })
        });
        self.measure(system, span, tasks.collect()).await
    }

    /// Every writer writes its next message when the one before is acknowledged.
    pub async fn at_the_limit(&self, system: &System, span: Duration) -> Load {
        let began = self.began;
        let is_over = Arc::<AtomicBool>::default();
        let tasks = self.writers().map(|member| {
            let (number, room, sink) = member.parts();
            let (acknowledged, is_over) = (member.acknowledged.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut acknowledged = acknowledged.lock().await;
                while acknowledged.try_recv().is_ok() {}
                while !is_over.load(Ordering::Relaxed) {
                    let id = id(number, began.elapsed());
                    if sink.lock().await.send(send(id, &room)).await.is_err() {
                        return;
                    }
                    acknowledged.recv().await;
                }
            })
        });
        let load = self.measure(system, span, tasks.collect()).await;
        is_over.store(true, Ordering::Relaxed);
        load
    }

    fn writers(&self) -> impl ExactSizeIterator<Item = &Member> {
        let count = (self.rooms * WRITERS).min(self.members.len());
        self.members[..count].iter()
    }

    async fn measure(&self, system: &System, span: Duration, tasks: Vec<JoinHandle<()>>) -> Load {
        // The beginning of a load is not measured.
        sleep(Duration::from_secs(1)).await;
        let before = system.spent().await;
        let from = self.began.elapsed().as_nanos() as u64;
        sleep(span).await;
        let until = self.began.elapsed().as_nanos() as u64;
        let spent = system.spent().await.since(&before);
        tasks.iter().for_each(JoinHandle::abort);
        sleep(ARRIVES_WITHIN).await;
        let (mut same, mut other, mut acknowledged) = (vec![], vec![], vec![]);
        let mut deliveries = 0;
        let node = |member: usize| member / self.rooms % self.nodes;
        for member in &self.members {
            for received in member.take() {
                // CPU time is of the span, and so are the deliveries that it is divided by. A latency belongs to the span
                // in which the message was due.
                let is_message = received.kind == Kind::Message;
                deliveries += usize::from(is_message && (from..until).contains(&received.at));
                if !(from..until).contains(&received.due) {
                    continue;
                }
                let took = Duration::from_nanos(received.at.saturating_sub(received.due));
                match received.kind {
                    Kind::Acknowledgement => acknowledged.push(took),
                    Kind::Message if node(received.from) == node(member.number) => same.push(took),
                    Kind::Message => other.push(took),
                }
            }
        }
        Load {
            spent,
            messages: acknowledged.len(),
            deliveries,
            same_node: Percentiles::of(same),
            other_node: Percentiles::of(other),
            acknowledged: Percentiles::of(acknowledged),
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.members
            .iter()
            .for_each(|member| member.reading.abort());
    }
}

impl Member {
    async fn join(number: usize, room: String, mut socket: Socket, began: Instant) -> Self {
        let join = json!({"type":"join","room":room,"after":null});
        socket
            .send(Message::Text(join.to_string().into()))
            .await
            .unwrap();
        while let Some(Ok(frame)) = socket.next().await {
            if is_of_type(&frame, "joined") {
                break;
            }
        }
        let (sink, mut stream) = socket.split();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (acknowledge, acknowledged) = mpsc::unbounded_channel();
        let seen = received.clone();
        let reading = tokio::spawn(async move {
            while let Some(Ok(frame)) = stream.next().await {
                let at = began.elapsed().as_nanos() as u64;
                let kind = if is_of_type(&frame, "message") {
                    Kind::Message
                } else if is_of_type(&frame, "ack") {
                    let _ = acknowledge.send(());
                    Kind::Acknowledgement
                } else {
                    assert!(!is_of_type(&frame, "error"), "{frame}");
                    continue;
                };
                if let Some((from, due)) = origin(&frame) {
                    let received = Received {
                        kind,
                        from,
                        due,
                        at,
                    };
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(received);
                }
            }
        });
        Self {
            number,
            room,
            sink: Arc::new(Shared::new(sink)),
            received,
            acknowledged: Arc::new(Shared::new(acknowledged)),
            reading,
        }
    }

    fn parts(&self) -> (usize, String, Arc<Shared<SplitSink<Socket, Message>>>) {
        (self.number, self.room.clone(), self.sink.clone())
    }

    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The command that sends a message.
pub fn send(id: Uuid, room: &str) -> Message {
    let command = json!({"type":"send","id":id,"room":room,"text":TEXT});
    Message::Text(command.to_string().into())
}

/// An id in the order of time, as pages make them, whose random bits are the sender and the time.
pub fn id(sender: usize, due: Duration) -> Uuid {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let due = due.as_nanos() & ((1 << DUE_BITS) - 1);
    let random = ((sender as u128) << DUE_BITS) | due;
    let bytes: [u8; 16] = random.to_be_bytes();
    let mut last = [0; 10];
    last.copy_from_slice(&bytes[6..]);
    uuid::Builder::from_unix_timestamp_millis(now.unwrap().as_millis() as u64, &last).into_uuid()
}

/// The sender and the time of a frame's message. Not parsed as JSON: the client shares the processor with what it measures.
fn origin(frame: &Message) -> Option<(usize, u64)> {
    let text = frame.to_text().ok()?;
    let id: Uuid = text
        .split_once(r#""id":""#)?
        .1
        .split('"')
        .next()?
        .parse()
        .ok()?;
    let bits = id.as_u128() & ((1 << 62) - 1);
    let due = bits & ((1 << DUE_BITS) - 1);
    Some(((bits >> DUE_BITS) as usize, due as u64))
}

pub fn is_of_type(frame: &Message, kind: &str) -> bool {
    let text = frame.to_text().unwrap_or_default();
    text.strip_prefix(r#"{"type":""#)
        .and_then(|rest| rest.strip_prefix(kind))
        .is_some_and(|rest| rest.starts_with('"'))
}
