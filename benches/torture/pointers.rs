//! Pointers at a cluster: clients at all nodes move theirs on one board, and at the end each sees where all others are.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::{
    pointers_checker::{Point, View, differences},
    socket::{Socket, guest, open},
    workloads::{Outcome, Setting, random_ms},
};

const CLIENTS: usize = 200;
/// Persons with many tabs: each new person costs a request.
const PERSONS: usize = 20;
const PATH: &str = "/api/collab/pointers";
const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "wirewise.collab.v1");
const MOVE_MS: Range<u64> = 300..600;
/// How long a connection lives before it is cut, in milliseconds: each one that comes or goes is told to all others, so
/// shorter lives would cost more than all moves. The nodes that end cut most connections anyway.
const LIFE_MS: Range<u64> = 10_000..90_000;
const AWAY_MS: Range<u64> = 20..1_000;
/// The pointers of a node that died leave within 30 s. As long again is for a slow machine.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);
/// How often the clients are compared while they change.
const COMPARE_EVERY: Duration = Duration::from_millis(200);

type Views = watch::Sender<Vec<View>>;

pub struct Pointers {
    setting: Setting,
    views: Views,
    over: CancellationToken,
    clients: Vec<Client>,
}

struct Client {
    number: usize,
    setting: Setting,
    token: String,
    views: Views,
    over: CancellationToken,
    random: ChaCha8Rng,
    counts: Counts,
}

/// What a client did and received.
#[derive(Default)]
struct Counts {
    connections: usize,
    moves: usize,
    received: usize,
    /// The ids that the server gave it.
    ids: Vec<u64>,
    violations: Vec<String>,
}

impl Pointers {
    pub async fn new(setting: &Setting, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut tokens = vec![];
        for _ in 0..PERSONS {
            tokens.push(guest(setting.proxy).await);
        }
        let views = Views::new(vec![View::default(); CLIENTS]);
        let over = CancellationToken::new();
        let client = |number: usize| Client {
            number,
            setting: setting.clone(),
            token: tokens[number % PERSONS].clone(),
            views: views.clone(),
            over: over.clone(),
            random: ChaCha8Rng::from_rng(&mut random),
            counts: Counts::default(),
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self {
            setting: setting.clone(),
            views,
            over,
            clients,
        }
    }

    pub async fn run(mut self) -> Outcome {
        let mut clients = JoinSet::new();
        for client in self.clients.drain(..) {
            clients.spawn(client.run());
        }
        self.setting.mended().await;
        let since = Instant::now();
        let agree = async {
            let mut changes = self.views.subscribe();
            while !differences(&changes.borrow_and_update()).is_empty() {
                // A comparison of all with all costs more than a move does.
                sleep(COMPARE_EVERY).await;
                let _ = changes.changed().await;
            }
        };
        let agreed = timeout(SETTLE_WITHIN, agree).await.is_ok();
        let settled = since.elapsed();
        let mut violations = match agreed {
            true => vec![],
            false => differences(&self.views.borrow()),
        };
        self.over.cancel();
        let counts = clients.join_all().await;
        let mut ids = BTreeSet::new();
        for id in counts.iter().flat_map(|counts| &counts.ids) {
            if !ids.insert(*id) {
                violations.push(format!("two connections had the id {id}"));
            }
        }
        violations.extend(counts.iter().flat_map(|counts| counts.violations.clone()));
        let sum = |of: fn(&Counts) -> usize| counts.iter().map(of).sum::<usize>();
        Outcome {
            summary: format!(
                "pointers: {} moves by {CLIENTS} clients over {} connections, {} places received; {}",
                sum(|counts| counts.moves),
                sum(|counts| counts.connections),
                sum(|counts| counts.received),
                match agreed {
                    true => format!("all agreed after {settled:.1?} of quiet"),
                    false => format!("not all agreed within {SETTLE_WITHIN:?} of quiet"),
                }
            ),
            violations: violations
                .iter()
                .map(|what| format!("pointers: {what}"))
                .collect(),
        }
    }
}

impl Client {
    async fn run(mut self) -> Counts {
        while !self.over.is_cancelled() {
            let bearer = format!("Bearer {}", self.token);
            let headers = [PROTOCOL, ("authorization", bearer.as_str())];
            if let Some(socket) = open(self.setting.proxy, PATH, &headers).await {
                self.connected(socket).await;
                self.change(|view| *view = View::default());
            }
            let over = self.over.clone();
            tokio::select! {
                () = sleep(random_ms(&mut self.random, AWAY_MS)) => {}
                () = over.cancelled() => {}
            }
        }
        self.counts
    }

    /// Runs one connection to its end.
    async fn connected(&mut self, mut socket: Socket) {
        let (mut phase, over) = (self.setting.phase.clone(), self.over.clone());
        let cut_at = Instant::now() + random_ms(&mut self.random, LIFE_MS);
        let mut move_at = Instant::now();
        let (mut is_welcome, mut has_moved) = (false, false);
        loop {
            let is_breaking = self.setting.is_breaking();
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let event: Value = serde_json::from_str(&text).expect("the server sends JSON");
                        is_welcome |= event["type"] == "welcome";
                        self.receive(&event);
                    }
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                    _ => return,
                },
                // Once nothing is broken each pointer moves only where a new connection has not shown it.
                () = sleep_until(move_at), if is_welcome && (is_breaking || !has_moved) => {
                    move_at = Instant::now() + random_ms(&mut self.random, MOVE_MS);
                    has_moved = true;
                    if self.move_pointer(&mut socket).await.is_none() {
                        return;
                    }
                }
                () = sleep_until(cut_at), if is_breaking => return,
                _ = phase.changed() => {}
                () = over.cancelled() => return,
            }
        }
    }

    async fn move_pointer(&mut self, socket: &mut Socket) -> Option<()> {
        let (x, y) = (
            self.random.random_range(0..=10_000),
            self.random.random_range(0..=10_000),
        );
        self.counts.moves += 1;
        self.change(|view| view.moved = Some((x, y)));
        let part = |value: u32| f64::from(value) / 10_000.0;
        let command = json!({"type": "move", "x": part(x), "y": part(y)});
        socket
            .send(Message::Text(command.to_string().into()))
            .await
            .ok()
    }

    fn receive(&mut self, event: &Value) {
        let id = |value: &Value| value["id"].as_u64().expect("an id");
        match event["type"].as_str().unwrap_or_default() {
            "welcome" => {
                let you = event["you"].as_u64().expect("an id");
                self.counts.connections += 1;
                self.counts.ids.push(you);
                let peers = event["peers"].as_array().expect("peers");
                let peers: BTreeMap<_, _> = peers.iter().map(|peer| (id(peer), at(peer))).collect();
                self.change(|view| {
                    view.id = Some(you);
                    view.peers = peers;
                });
            }
            "joined" => {
                let peer = &event["peer"];
                self.change(|view| {
                    view.peers.insert(id(peer), at(peer));
                });
            }
            "moved" => {
                let moves = event["moves"].as_array().expect("moves");
                self.counts.received += moves.len();
                self.change(|view| {
                    for change in moves {
                        let place = point(&change[1], &change[2]);
                        if let Some(known) =
                            change[0].as_u64().and_then(|id| view.peers.get_mut(&id))
                        {
                            *known = place;
                        }
                    }
                });
            }
            "hidden" => self.change(|view| {
                view.peers.insert(id(event), None);
            }),
            "left" => self.change(|view| {
                view.peers.remove(&id(event));
            }),
            "error" => self.counts.violations.push(format!("refused: {event}")),
            _ => {}
        }
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        self.views
            .send_modify(|views| change(&mut views[self.number]));
    }
}

fn at(peer: &Value) -> Option<Point> {
    point(&peer["x"], &peer["y"])
}

fn point(x: &Value, y: &Value) -> Option<Point> {
    let whole = |value: &Value| Some((value.as_f64()? * 10_000.0).round() as u32);
    Some((whole(x)?, whole(y)?))
}
