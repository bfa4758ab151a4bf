//! A server with two channels, as `server/channel/joined.rs` promises it to behave.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    rules::{self, Check},
    world::Random,
};
use crate::{
    channel::{Ack, ChannelCommand, ChannelContract, ChannelEvent, Entry, Joined, NOT_JOINED},
    contract::SocketContract,
    message::{ErrorCode, SocketError},
    position::{Epoch, Position},
};

pub type Command = ChannelCommand<String>;
pub type Event = ChannelEvent<String>;

/// The channels, by their number.
pub const CHANNELS: [&str; 2] = ["lobby", "garden"];
/// How many of the latest messages a member gets that cannot be resumed.
const LATEST: u64 = 10;
/// The ids of the messages of others are above it. Those of the client are its messages' numbers.
const OTHERS: u128 = 1 << 64;

#[derive(Clone, PartialEq)]
pub struct Wall;

impl SocketContract for Wall {
    const NAME: &'static str = "wall";
    const ROUTE: &'static str = "/api/wall";
    const SUBPROTOCOL: &'static str = "wall.v1";
    type Welcome = ();
    type Command = Command;
    type Event = Event;
}

/// Server to client.
#[derive(Clone, Debug)]
pub enum Down {
    Opened,
    Welcome,
    Pong,
    Event(Event),
    Error(SocketError),
    Drain(u64),
    Close(u16, &'static str),
}

/// The messages of a channel. All are kept; a client gets those after the floor.
#[derive(Default)]
pub struct Log {
    pub floor: u64,
    pub ids: Vec<Uuid>,
}

/// What the server knows of one socket.
#[derive(Default)]
struct Seat {
    joined: BTreeSet<usize>,
    /// The message of each channel that has to be sent again before any other.
    refused: BTreeMap<usize, Uuid>,
    /// Channels in which a message was left out. A client repairs one hole on each connection.
    skipped: BTreeSet<usize>,
}

pub struct Server {
    pub is_up: bool,
    pub has_session: bool,
    /// Commands are refused so, more often than not.
    pub refuses: Option<(ErrorCode, u64)>,
    /// The next message is not delivered, which is a fault of the server.
    pub skips_next: bool,
    pub logs: [Log; 2],
    /// What was stored in any history.
    pub stored: BTreeSet<Uuid>,
    pub out: Vec<(usize, Down)>,
    pub checks: Vec<Check>,
    /// A planted fault: a repeated id is stored again.
    pub forgets_ids: bool,
    /// A planted fault: messages overtake the one that was refused.
    pub lets_overtake: bool,
    epoch: u32,
    seats: BTreeMap<usize, Seat>,
    others: u128,
}

impl Server {
    pub fn new() -> Self {
        Self {
            is_up: true,
            has_session: true,
            refuses: None,
            skips_next: false,
            logs: Default::default(),
            stored: BTreeSet::new(),
            out: vec![],
            checks: vec![],
            forgets_ids: false,
            lets_overtake: false,
            epoch: 0,
            seats: BTreeMap::new(),
            others: OTHERS,
        }
    }

    pub fn epoch(&self) -> Epoch {
        Epoch::new(&format!("e{}", self.epoch)).unwrap()
    }

    pub fn head(&self, channel: usize) -> u64 {
        self.logs[channel].ids.len() as u64
    }

    pub fn connect(&mut self, wire: usize) {
        match (self.is_up, self.has_session) {
            (false, _) => self.out.push((wire, Down::Close(1006, ""))),
            (true, false) => {
                self.out.push((wire, Down::Opened));
                self.out.push((wire, Down::Close(4001, "expired")));
            }
            (true, true) => {
                self.seats.insert(wire, Seat::default());
                self.out.push((wire, Down::Opened));
                self.out.push((wire, Down::Welcome));
            }
        }
    }

    /// The socket is gone.
    pub fn forget(&mut self, wire: usize) {
        self.seats.remove(&wire);
    }

    /// The server forgets that the sockets are in a channel.
    pub fn forget_joins(&mut self, channel: usize) {
        for seat in self.seats.values_mut() {
            seat.joined.remove(&channel);
        }
    }

    /// Closes all sockets, the last item of which is this.
    pub fn close_all(&mut self, before: Option<Down>, close: Down) {
        for wire in std::mem::take(&mut self.seats).into_keys() {
            self.out.extend(before.clone().map(|before| (wire, before)));
            self.out.push((wire, close.clone()));
        }
    }

    /// The process ends without a word, possibly with its history.
    pub fn stop(&mut self, keeps_history: bool) {
        self.is_up = false;
        self.seats.clear();
        if !keeps_history {
            self.epoch += 1;
            self.logs = Default::default();
        }
    }

    pub fn is_serving(&self, wire: usize) -> bool {
        self.seats.contains_key(&wire)
    }

    /// Drops the messages up to an offset.
    pub fn truncate(&mut self, channel: usize, random: &mut Random) {
        let (floor, head) = (self.logs[channel].floor, self.head(channel));
        self.logs[channel].floor = random.between(floor..=head);
    }

    /// Another client's message.
    pub fn append(&mut self, channel: usize) {
        self.others += 1;
        self.store(channel, Uuid::from_u128(self.others));
    }

    /// Delivers the newest message again.
    pub fn repeat(&mut self, channel: usize) {
        if self.head(channel) > 0 {
            self.deliver(channel);
        }
    }

    pub fn command(&mut self, wire: usize, command: Command, random: &mut Random) {
        if !self.is_serving(wire) {
            return;
        }
        let name = command.channel().to_owned();
        let channel = CHANNELS.iter().position(|it| *it == name).unwrap();
        let refusal = self.refuses.clone().filter(|_| random.chance(70));
        let error = refusal.map(|(code, wait)| {
            let mut error = SocketError::new(code, "Not now.");
            error.retry_after_ms = Some(wait);
            error
        });
        match command {
            ChannelCommand::Join { after, .. } => match error {
                Some(error) => {
                    let error = Down::Error(Wall::in_channel(error, &name));
                    self.out.push((wire, error));
                }
                None => self.join(wire, channel, after),
            },
            ChannelCommand::Send { id, .. } => self.send(wire, channel, id.value(), error),
            ChannelCommand::Leave { .. } => {}
        }
    }

    fn join(&mut self, wire: usize, channel: usize, after: Option<Position>) {
        let (epoch, head, floor) = (self.epoch(), self.head(channel), self.logs[channel].floor);
        let resumed = after
            .filter(|after| after.epoch == epoch && after.offset >= floor && after.offset <= head);
        let recovered = resumed.is_some();
        let latest = head.saturating_sub(LATEST).max(floor);
        let from = resumed.map_or(latest, |after| after.offset);
        let joined = Event::Joined {
            channel: CHANNELS[channel].into(),
            joined: Joined {
                epoch,
                head,
                recovered,
                replayed: head - from,
            },
            members: vec![],
        };
        self.out.push((wire, Down::Event(joined)));
        for offset in from + 1..=head {
            let message = self.message(channel, offset);
            self.out.push((wire, message));
        }
        if let Some(seat) = self.seats.get_mut(&wire) {
            seat.joined.insert(channel);
        }
    }

    fn send(&mut self, wire: usize, channel: usize, id: Uuid, error: Option<SocketError>) {
        let about =
            |error: SocketError| Down::Error(Wall::in_channel(error, CHANNELS[channel]).about(id));
        let Some(seat) = self.seats.get_mut(&wire) else {
            return;
        };
        if !seat.joined.contains(&channel) {
            let error = about(SocketError::new(NOT_JOINED, "Join first."));
            return self.out.push((wire, error));
        }
        if let Some(error) = error {
            seat.refused.entry(channel).or_insert(id);
            return self.out.push((wire, about(error)));
        }
        let first = seat.refused.get(&channel);
        if first.is_some_and(|first| *first != id) && !self.lets_overtake {
            let mut error = SocketError::new(ErrorCode::Unavailable, "Send the first again.");
            error.retry_after_ms = Some(500);
            return self.out.push((wire, about(error)));
        }
        seat.refused.remove(&channel);
        let offset = self.store(channel, id);
        let ack = Ack {
            id: id.into(),
            offset,
            at: 0,
        };
        let ack = Wall::ack(CHANNELS[channel], ack);
        self.out.push((wire, Down::Event(ack)));
    }

    /// Stores a message once, and returns its offset.
    fn store(&mut self, channel: usize, id: Uuid) -> u64 {
        let ids = &mut self.logs[channel].ids;
        let known = ids.iter().position(|it| *it == id);
        if let (Some(known), false) = (known, self.forgets_ids) {
            return known as u64 + 1;
        }
        let is_ours = |id: &Uuid| id.as_u128() < OTHERS;
        if is_ours(&id) {
            let number = |id: Uuid| id.as_u128() as u64;
            let last = ids.iter().copied().filter(is_ours).map(number).max();
            self.checks
                .push(rules::stored_once(known.is_some(), number(id)));
            self.checks
                .push(rules::in_order(last.unwrap_or(0), number(id)));
        }
        ids.push(id);
        self.stored.insert(id);
        self.deliver(channel);
        self.head(channel)
    }

    /// Delivers the newest message to all members.
    fn deliver(&mut self, channel: usize) {
        let message = self.message(channel, self.head(channel));
        let skips = std::mem::take(&mut self.skips_next);
        for (wire, seat) in &mut self.seats {
            let is_skipped = skips && seat.skipped.insert(channel);
            if seat.joined.contains(&channel) && !is_skipped {
                self.out.push((*wire, message.clone()));
            }
        }
    }

    fn message(&self, channel: usize, offset: u64) -> Down {
        let entry = Entry {
            offset,
            id: self.logs[channel].ids[offset as usize - 1].into(),
            at: 0,
            message: String::new(),
        };
        Down::Event(Wall::message(CHANNELS[channel], &entry))
    }
}
