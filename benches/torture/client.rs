//! A chat client that shares no code with ours: it reconnects, resends in order, resumes from the last message it
//! received, is cut off at random, and records everything.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    ops::Range,
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{
    history::{History, Record},
    socket::{Socket, connect, guest},
};

/// The time between two messages of a writer, in milliseconds.
const PAUSE_MS: Range<u64> = 5..45;
/// How long a connection lives before it is cut, in milliseconds.
const LIFE_MS: Range<u64> = 300..6_000;
/// How long a stalled reader does not read, in milliseconds. Some stalls are longer than the server waits, some are
/// shorter.
const STALL_MS: Range<u64> = 200..7_000;
/// A writer creates no more messages while this many are not acknowledged.
const OUTBOX: usize = 200;
/// The length in characters of one message in four, so that a stalled reader falls behind its queue.
const LONG: usize = 3_500;

/// The state that all clients share.
pub struct Shared {
    pub history: History,
    /// The address of the server, which changes with each start.
    pub address: watch::Receiver<SocketAddr>,
    pub phase: watch::Receiver<Phase>,
    /// Each writer sends once, when all its messages are acknowledged.
    pub written: mpsc::UnboundedSender<()>,
    pub rooms: Vec<String>,
}

/// The phases of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are cut, readers stall, the server is killed.
    Breaking,
    /// Nothing is broken and no new message is written. Written messages are sent until they are acknowledged.
    Finishing,
    /// The heads of the rooms. A client that has received them has received everything.
    Heads(BTreeMap<String, u64>),
}

pub struct Client {
    number: usize,
    history: History,
    address: watch::Receiver<SocketAddr>,
    phase: watch::Receiver<Phase>,
    written: Option<mpsc::UnboundedSender<()>>,
    random: ChaCha8Rng,
    token: String,
    writes: bool,
    /// The rooms, with the position in each.
    positions: BTreeMap<String, Position>,
    outbox: VecDeque<Unsent>,
    /// The number of messages written in each room.
    numbers: HashMap<String, u64>,
    joins: u64,
}

/// Epoch and offset of the last message seen, if there is one.
type Position = Option<(String, u64)>;

struct Unsent {
    id: Uuid,
    room: String,
    text: String,
}

/// One connection.
struct Connection {
    socket: Socket,
    /// Joins that are not answered yet, with the positions sent in them.
    pending_joins: HashMap<String, Position>,
    /// The number and the epoch of the subscription of each room.
    subscriptions: HashMap<String, (u64, String)>,
}

/// The connection is lost.
struct ConnectionLost;

impl Client {
    /// A reader joins all rooms, a writer two.
    pub async fn new(number: usize, writes: bool, seed: u64, shared: &Shared) -> Self {
        let count = shared.rooms.len();
        let rooms: Vec<usize> = match writes {
            true => vec![number % count, (number + 1) % count],
            false => (0..count).collect(),
        };
        let address = shared.address.clone();
        let at = *address.borrow();
        Self {
            number,
            history: shared.history.clone(),
            address,
            phase: shared.phase.clone(),
            written: writes.then(|| shared.written.clone()),
            random: ChaCha8Rng::seed_from_u64(seed),
            token: guest(at).await,
            writes,
            positions: rooms
                .into_iter()
                .map(|room| (shared.rooms[room].clone(), None))
                .collect(),
            outbox: VecDeque::new(),
            numbers: HashMap::new(),
            joins: 0,
        }
    }

    /// Connects again and again until this client has received everything.
    pub async fn run(mut self) {
        loop {
            let address = *self.address.borrow();
            if let Some(socket) = connect(address, &self.token).await
                && self.run_connection(socket).await.is_ok()
            {
                return;
            }
            sleep(self.random_ms(20..200)).await;
        }
    }

    /// Runs one connection, from its joins to its end; `Ok` when this client has received everything.
    async fn run_connection(&mut self, socket: Socket) -> Result<(), ConnectionLost> {
        let mut connection = Connection {
            socket,
            pending_joins: HashMap::new(),
            subscriptions: HashMap::new(),
        };
        for (room, position) in &self.positions {
            let after = position
                .as_ref()
                .map(|(epoch, offset)| json!({"epoch":epoch,"offset":offset}));
            connection
                .send(&json!({"type":"join","room":room,"after":after}))
                .await?;
            connection
                .pending_joins
                .insert(room.clone(), position.clone());
        }
        // One task sends everything, so these messages arrive after the joins.
        self.resend(&mut connection, None).await?;
        let mut cut_at = Instant::now() + self.random_ms(LIFE_MS);
        let stalls = !self.writes && self.number.is_multiple_of(4);
        let mut stall_at = stalls.then(|| Instant::now() + self.random_ms(LIFE_MS) / 2);
        let mut write_at = Instant::now() + self.random_ms(PAUSE_MS);
        loop {
            let phase = self.phase.borrow_and_update().clone();
            let breaking = phase == Phase::Breaking;
            if !breaking
                && self.outbox.is_empty()
                && let Some(written) = self.written.take()
            {
                let _ = written.send(());
            }
            if let Phase::Heads(heads) = phase
                && self.is_caught_up(&heads, &connection)
            {
                return Ok(());
            }
            tokio::select! {
                message = connection.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let event = serde_json::from_str(&text).expect("the server sends JSON");
                        self.receive(&event, &mut connection).await?;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    last => {
                        let code = match last {
                            Some(Ok(Message::Close(Some(frame)))) => Some(frame.code.into()),
                            _ => None,
                        };
                        self.history.add(Record::Closed { code });
                        return Err(ConnectionLost);
                    }
                },
                // Ends without a close frame, as when the network is lost.
                () = sleep_until(cut_at), if breaking => return Err(ConnectionLost),
                () = sleep_until(stall_at.unwrap_or(cut_at)), if breaking && stall_at.is_some() => {
                    let pause = self.random_ms(STALL_MS);
                    sleep(pause).await;
                    // The connection then lives on for a while, so that all waiting messages are read before it is cut.
                    (stall_at, cut_at) = (None, Instant::now() + self.random_ms(LIFE_MS));
                }
                () = sleep_until(write_at), if breaking && self.writes && self.outbox.len() < OUTBOX => {
                    write_at = Instant::now() + self.random_ms(PAUSE_MS);
                    self.write(&mut connection).await?;
                }
                _ = self.phase.changed() => {}
            }
        }
    }

    /// Creates a message and sends it.
    async fn write(&mut self, connection: &mut Connection) -> Result<(), ConnectionLost> {
        let room = self.random.random_range(0..self.positions.len());
        let room = self.positions.keys().nth(room).cloned().unwrap_or_default();
        let number = self.numbers.entry(room.clone()).or_default();
        *number += 1;
        let id = uuid::Builder::from_random_bytes(self.random.random()).into_uuid();
        let mut text = format!("writer {} says {number}", self.number);
        if self.random.random_ratio(1, 4) {
            text.extend(std::iter::repeat_n('.', LONG));
        }
        self.history.add(Record::Wrote {
            writer: self.number,
            room: room.clone(),
            number: *number,
            id,
            text: text.clone(),
        });
        let unsent = Unsent { id, room, text };
        let command = unsent.command();
        self.outbox.push_back(unsent);
        connection.send(&command).await
    }

    /// Sends everything that is not acknowledged, in order; only that of one room, if one is named.
    async fn resend(
        &self,
        connection: &mut Connection,
        room: Option<&str>,
    ) -> Result<(), ConnectionLost> {
        for unsent in &self.outbox {
            if room.is_none_or(|room| room == unsent.room) {
                connection.send(&unsent.command()).await?;
            }
        }
        Ok(())
    }

    async fn receive(
        &mut self,
        event: &Value,
        connection: &mut Connection,
    ) -> Result<(), ConnectionLost> {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| event[name].as_u64().expect("a number");
        let id = || text("id").parse().expect("an id");
        let room = text("room");
        match event["type"].as_str().unwrap_or_default() {
            "joined" => {
                self.joins += 1;
                // Unique among all clients.
                let subscription = ((self.number as u64) << 32) | self.joins;
                let recovered = event["recovered"] == true;
                if !recovered {
                    // The earlier messages are not continued. If nothing is replayed, the client is at the head.
                    let position =
                        (number("replayed") == 0).then(|| (text("epoch"), number("head")));
                    self.positions.insert(room.clone(), position);
                }
                self.history.add(Record::Joined {
                    reader: self.number,
                    subscription,
                    room: room.clone(),
                    // Only the first answer belongs to the join, because the server may start a subscription anew by
                    // itself.
                    after: connection.pending_joins.remove(&room).flatten(),
                    epoch: text("epoch"),
                    head: number("head"),
                    recovered,
                    replayed: number("replayed"),
                });
                connection
                    .subscriptions
                    .insert(room, (subscription, text("epoch")));
            }
            "message" => {
                let known = connection.subscriptions.get(&room).cloned();
                let (subscription, epoch) = known.unwrap_or_default();
                self.history.add(Record::Delivered {
                    subscription,
                    offset: number("offset"),
                    id: id(),
                    text: text("text"),
                });
                self.positions.insert(room, Some((epoch, number("offset"))));
            }
            "ack" => {
                let (id, offset) = (id(), number("offset"));
                self.outbox.retain(|unsent| unsent.id != id);
                self.history.add(Record::Acknowledged { room, id, offset });
            }
            "error" => {
                let retried = ["unavailable", "rate_limited"].contains(&&*text("code"));
                assert!(retried, "refused: {event}");
                if event["re"].is_null() && connection.pending_joins.contains_key(&room) {
                    // A join was refused; another node may take it.
                    return Err(ConnectionLost);
                }
                // Resends from the first message that is not acknowledged, in order. The refusals of later messages add
                // nothing.
                let first = self.outbox.iter().find(|unsent| unsent.room == room);
                if first.is_some_and(|first| first.id.to_string() == text("re")) {
                    sleep(Duration::from_millis(number("retry_after_ms"))).await;
                    return self.resend(connection, Some(&room)).await;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether this client has received everything in all its rooms. If so, it records that its subscriptions are
    /// settled.
    fn is_caught_up(&self, heads: &BTreeMap<String, u64>, connection: &Connection) -> bool {
        let has = |(room, position): (&String, &Position)| {
            position.as_ref().map(|(_, offset)| offset) == heads.get(room)
        };
        let all = connection.subscriptions.len() == self.positions.len()
            && self.positions.iter().all(has);
        if all {
            for (subscription, _) in connection.subscriptions.values() {
                let subscription = *subscription;
                self.history.add(Record::Settled { subscription });
            }
        }
        all
    }

    fn random_ms(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }
}

impl Unsent {
    fn command(&self) -> Value {
        json!({"type":"send","id":self.id,"room":self.room,"text":self.text})
    }
}

impl Connection {
    async fn send(&mut self, command: &Value) -> Result<(), ConnectionLost> {
        let message = Message::Text(command.to_string().into());
        self.socket.send(message).await.map_err(|_| ConnectionLost)
    }
}
