//! A client of the chat that shares no code with ours: it reconnects, resends in order, resumes from what it has seen, is cut
//! off at random, and writes down everything.

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
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use uuid::Uuid;

use super::history::{History, Record};

/// Between two messages of a writer, in milliseconds.
const PAUSE_MS: Range<u64> = 5..45;
/// How long a connection lives before it is cut, in milliseconds.
const LIFE_MS: Range<u64> = 300..6_000;
/// How long a reader that stalls does not read, in milliseconds: some outlast the server's patience, some do not.
const STALL_MS: Range<u64> = 200..7_000;
/// A writer stops making messages while this many are not acknowledged.
const OUTBOX: usize = 200;
/// Nothing takes longer to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// One message in four is this long in characters, so that a stalled reader falls behind its queue.
const LONG: usize = 3_500;

type Socket = WebSocketStream<TcpStream>;

/// What all clients share.
pub struct World {
    pub history: History,
    /// Where the server listens; another place after each start.
    pub address: watch::Receiver<SocketAddr>,
    pub phase: watch::Receiver<Phase>,
    /// Each writer says once that all it wrote is acknowledged.
    pub written: mpsc::UnboundedSender<()>,
    pub rooms: Vec<String>,
}

/// How far the run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are cut, readers stall, the server is killed.
    Breaking,
    /// Nothing is broken and nothing new written; what was is sent until it is acknowledged.
    Finishing,
    /// These are the heads of the rooms: whoever has them has everything.
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
    /// Rooms and the place in each.
    places: BTreeMap<String, Place>,
    outbox: VecDeque<Unsent>,
    /// Messages written in each room.
    numbers: HashMap<String, u64>,
    joins: u64,
}

/// Epoch and offset of the last message seen, if there is one.
type Place = Option<(String, u64)>;

struct Unsent {
    id: Uuid,
    room: String,
    text: String,
}

/// One connection.
struct Talk {
    socket: Socket,
    /// Joins that are not answered, and the places sent with them.
    asked: HashMap<String, Place>,
    /// By room: the number of the subscription and its epoch.
    subscriptions: HashMap<String, (u64, String)>,
}

/// The connection is of no use any more.
struct Broken;

impl Client {
    /// A reader is in all rooms, a writer in two.
    pub async fn new(number: usize, writes: bool, seed: u64, world: &World) -> Self {
        let count = world.rooms.len();
        let rooms: Vec<usize> = match writes {
            true => vec![number % count, (number + 1) % count],
            false => (0..count).collect(),
        };
        let address = world.address.clone();
        let at = *address.borrow();
        Self {
            number,
            history: world.history.clone(),
            address,
            phase: world.phase.clone(),
            written: writes.then(|| world.written.clone()),
            random: ChaCha8Rng::seed_from_u64(seed),
            token: guest(at).await,
            writes,
            places: rooms
                .into_iter()
                .map(|room| (world.rooms[room].clone(), None))
                .collect(),
            outbox: VecDeque::new(),
            numbers: HashMap::new(),
            joins: 0,
        }
    }

    /// Connects, again and again, until it has everything.
    pub async fn run(mut self) {
        loop {
            let address = *self.address.borrow();
            if let Some(socket) = connect(address, &self.token).await
                && self.talk(socket).await.is_ok()
            {
                return;
            }
            sleep(self.random_ms(20..200)).await;
        }
    }

    /// One connection, from its joins to its end; `Ok` when this client has everything.
    async fn talk(&mut self, socket: Socket) -> Result<(), Broken> {
        let mut talk = Talk {
            socket,
            asked: HashMap::new(),
            subscriptions: HashMap::new(),
        };
        for (room, place) in &self.places {
            let after = place
                .as_ref()
                .map(|(epoch, offset)| json!({"epoch":epoch,"offset":offset}));
            talk.say(&json!({"type":"join","room":room,"after":after}))
                .await?;
            talk.asked.insert(room.clone(), place.clone());
        }
        // One task does all, so what is sent now arrives after the joins.
        self.resend(&mut talk, None).await?;
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
                && self.has(&heads, &talk)
            {
                return Ok(());
            }
            tokio::select! {
                message = talk.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let event = serde_json::from_str(&text).expect("the server sends JSON");
                        self.hear(&event, &mut talk).await?;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    last => {
                        let code = match last {
                            Some(Ok(Message::Close(Some(frame)))) => Some(frame.code.into()),
                            _ => None,
                        };
                        self.history.add(Record::Closed { code });
                        return Err(Broken);
                    }
                },
                // Without a close: the wire is gone.
                () = sleep_until(cut_at), if breaking => return Err(Broken),
                () = sleep_until(stall_at.unwrap_or(cut_at)), if breaking && stall_at.is_some() => {
                    let pause = self.random_ms(STALL_MS);
                    sleep(pause).await;
                    // Then everything that waits is read, before the cut comes.
                    (stall_at, cut_at) = (None, Instant::now() + self.random_ms(LIFE_MS));
                }
                () = sleep_until(write_at), if breaking && self.writes && self.outbox.len() < OUTBOX => {
                    write_at = Instant::now() + self.random_ms(PAUSE_MS);
                    self.write(&mut talk).await?;
                }
                _ = self.phase.changed() => {}
            }
        }
    }

    /// Makes a message and sends it.
    async fn write(&mut self, talk: &mut Talk) -> Result<(), Broken> {
        let room = self.random.random_range(0..self.places.len());
        let room = self.places.keys().nth(room).cloned().unwrap_or_default();
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
        talk.say(&command).await
    }

    /// Everything that is not acknowledged, in order; of one room only, where one is named.
    async fn resend(&self, talk: &mut Talk, room: Option<&str>) -> Result<(), Broken> {
        for unsent in &self.outbox {
            if room.is_none_or(|room| room == unsent.room) {
                talk.say(&unsent.command()).await?;
            }
        }
        Ok(())
    }

    async fn hear(&mut self, event: &Value, talk: &mut Talk) -> Result<(), Broken> {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| event[name].as_u64().expect("a number");
        let id = || text("id").parse().expect("an id");
        let room = text("room");
        match event["type"].as_str().unwrap_or_default() {
            "joined" => {
                self.joins += 1;
                // Differs among all clients.
                let subscription = ((self.number as u64) << 32) | self.joins;
                let recovered = event["recovered"] == true;
                if !recovered {
                    // What was held is not continued. Where nothing follows, everything is held.
                    let place = (number("replayed") == 0).then(|| (text("epoch"), number("head")));
                    self.places.insert(room.clone(), place);
                }
                self.history.add(Record::Joined {
                    reader: self.number,
                    subscription,
                    room: room.clone(),
                    // Only the first answer belongs to the join; the server may begin anew by itself.
                    after: talk.asked.remove(&room).flatten(),
                    epoch: text("epoch"),
                    head: number("head"),
                    recovered,
                    replayed: number("replayed"),
                });
                talk.subscriptions
                    .insert(room, (subscription, text("epoch")));
            }
            "message" => {
                let known = talk.subscriptions.get(&room).cloned();
                let (subscription, epoch) = known.unwrap_or_default();
                self.history.add(Record::Delivered {
                    subscription,
                    offset: number("offset"),
                    id: id(),
                    text: text("text"),
                });
                self.places.insert(room, Some((epoch, number("offset"))));
            }
            "ack" => {
                let (id, offset) = (id(), number("offset"));
                self.outbox.retain(|unsent| unsent.id != id);
                self.history.add(Record::Acknowledged { room, id, offset });
            }
            "error" => {
                let retried = ["unavailable", "rate_limited"].contains(&&*text("code"));
                assert!(retried, "refused: {event}");
                // From the first one on that is not acknowledged, in order; the refusals of the others say nothing new.
                let first = self.outbox.iter().find(|unsent| unsent.room == room);
                if first.is_some_and(|first| first.id.to_string() == text("re")) {
                    sleep(Duration::from_millis(number("retry_after_ms"))).await;
                    return self.resend(talk, Some(&room)).await;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether this client has everything in all its rooms; then it says so of its subscriptions.
    fn has(&self, heads: &BTreeMap<String, u64>, talk: &Talk) -> bool {
        let has = |(room, place): (&String, &Place)| {
            place.as_ref().map(|(_, offset)| offset) == heads.get(room)
        };
        let all = talk.subscriptions.len() == self.places.len() && self.places.iter().all(has);
        if all {
            for (subscription, _) in talk.subscriptions.values() {
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

impl Talk {
    async fn say(&mut self, command: &Value) -> Result<(), Broken> {
        let message = Message::Text(command.to_string().into());
        self.socket.send(message).await.map_err(|_| Broken)
    }
}

async fn connect(address: SocketAddr, token: &str) -> Option<Socket> {
    let mut request = format!("ws://{address}/api/chat/socket")
        .into_client_request()
        .ok()?;
    let bearer = format!("Bearer {token}").parse().ok()?;
    request.headers_mut().insert("authorization", bearer);
    let connecting = async {
        let tcp = TcpStream::connect(address).await.ok()?;
        Some(client_async(request, tcp).await.ok()?.0)
    };
    timeout(CONNECT, connecting).await.ok()?
}

/// A new guest's token.
pub async fn guest(address: SocketAddr) -> String {
    let http = reqwest::Client::new();
    let request = http.post(format!("http://{address}/api/session/guest"));
    let guest: Value = request.send().await.unwrap().json().await.unwrap();
    guest["token"].as_str().unwrap().to_owned()
}
