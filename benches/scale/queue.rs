//! Replays a load message by message at one node and at NATS: who waits for whom, and for how long.
//!
//! Messages come at random moments (a Poisson process with a seed), and each step takes the measured time. NATS is a queue
//! with several servers. The replica's writer commits what has gathered while it made the last commit. The cores of the node
//! take jobs in the order in which they come; what comes for a socket that waits for its write already goes out in that write.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    costs::*,
    load::{Load, MARKS_A_SECOND},
    model::{CORES, Demand, NATS_CORES, Remedies, SAMPLED_ABOVE},
};

/// How long is simulated, and how much of the beginning does not count.
const SPAN: f64 = 20.0;
const WARM_UP: f64 = 2.0;
/// Frames and jobs that are simulated at most: a fuller second is only computed.
const MOST: f64 = 5e7;
const SECOND: f64 = 1e6;

/// What a replay has shown. Times in microseconds.
#[derive(Clone, Debug)]
pub struct Replay {
    /// From a message to each member at the node.
    pub delivered: Vec<f64>,
    /// From a message to its acknowledgement.
    pub acknowledged: Vec<f64>,
    /// The parts of the cores of the node, without that of the writer, and of NATS that were busy.
    pub node: f64,
    pub nats: f64,
    /// Events in a commit, and frames in a write.
    pub batch: f64,
    pub joined: f64,
}

/// A room as the node sees it: its members there, as a range of sockets.
struct Room {
    sockets: std::ops::Range<u32>,
    messages: f64,
    notices: f64,
}

/// What arrives at the cores of the node.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// A job without frames.
    Job(f64),
    /// A frame to each socket of a room. `since`: when the message was sent; nothing is measured of other frames.
    Frames { room: u32, since: Option<f64> },
}

/// The time at the rank of a part of all values.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

/// `None` where it is too much to replay, or where NATS falls further and further behind.
pub fn replay(load: &Load, nodes: f64, remedies: Remedies, seed: u64) -> Option<Replay> {
    let demand = Demand::of(load, nodes, remedies);
    let through_nats = demand.nats_events + demand.nats_saves + demand.nats_volatile;
    let most = (demand.frames() + demand.heard + demand.applied + through_nats) * SPAN;
    let falls_behind = demand.applied * APPLY.value >= SECOND
        || demand.broker().cores >= NATS_CORES
        || demand.cores().1 >= CORES;
    if most > MOST || falls_behind {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let rooms = rooms(load, nodes, remedies, &mut random);
    let nats = nats(&demand, remedies, &mut random);

    // What the replica applies: messages of the rooms with members here, of other rooms, and saved read marks.
    let mut events: Vec<(f64, Option<(u32, f64)>)> = vec![];
    let mut work: Vec<(f64, Work)> = vec![];
    for (number, room) in rooms.iter().enumerate() {
        let number = number as u32;
        arrivals(room.messages, &mut random, |at| {
            events.push((nats.passed(at), Some((number, at))));
        });
        arrivals(room.notices, &mut random, |at| {
            let frames = Work::Frames {
                room: number,
                since: None,
            };
            work.push((nats.passed(at), frames));
        });
    }
    let here: f64 = rooms.iter().map(|room| room.messages).sum();
    arrivals(demand.applied - here, &mut random, |at| {
        events.push((nats.passed(at), None));
    });
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut acknowledged, mut commits) = (vec![], 0);
    let mut applied = |done: f64, event: Option<(u32, f64)>| {
        let Some((room, at)) = event else { return };
        if at >= WARM_UP * SECOND {
            acknowledged.push(done - at);
        }
        let since = Some(at);
        work.push((done, Work::Frames { room, since }));
    };
    let mut waiting = VecDeque::from(events.clone());
    let mut free = 0.0_f64;
    while let Some((first, _)) = waiting.front() {
        let start = free.max(*first);
        let mut gathered = vec![];
        while waiting.front().is_some_and(|(at, _)| *at <= start) {
            gathered.extend(waiting.pop_front());
        }
        free = start + COMMIT.value + gathered.len() as f64 * APPLY.value;
        commits += 1;
        gathered
            .into_iter()
            .for_each(|(_, event)| applied(free, event));
    }
    let hear = demand.hear();
    arrivals(demand.heard, &mut random, |at| {
        work.push((nats.passed(at), Work::Job(hear)));
    });
    for (rate, cost) in [
        (demand.published, PUBLISH.value),
        (demand.saved, PUBLISH_BUSY.value),
    ] {
        arrivals(rate, &mut random, |at| work.push((at, Work::Job(cost))));
    }
    // The look who is to be forgotten, once a second.
    for second in 0..SPAN as u32 {
        let looking = Work::Job(demand.known * PERSON_KNOWN.value);
        work.push((f64::from(second) * SECOND, looking));
    }
    work.sort_by(|one, other| one.0.total_cmp(&other.0));
    // The writer has a core of its own.
    let mut cores = Cores::new(CORES as usize - 1, &rooms);
    work.into_iter().for_each(|(at, work)| cores.take(at, work));
    cores.run_until(f64::INFINITY);
    let mut delivered = std::mem::take(&mut cores.delivered);
    for times in [&mut delivered, &mut acknowledged] {
        times.sort_by(f64::total_cmp);
    }
    Some(Replay {
        delivered,
        acknowledged,
        node: cores.busy / cores.end().max(SPAN * SECOND) / (CORES - 1.0),
        nats: nats.busy / (SPAN * SECOND) / NATS_CORES,
        batch: events.len() as f64 / f64::from(commits.max(1)),
        joined: cores.frames as f64 / cores.writes.max(1) as f64,
    })
}

/// The rooms that have members at the node. Each member is at any node.
fn rooms(load: &Load, nodes: f64, remedies: Remedies, random: &mut ChaCha8Rng) -> Vec<Room> {
    let (mut rooms, mut sockets) = (vec![], 0);
    for of_size in &load.rooms {
        let size = load.size(of_size);
        let is_sampled = remedies.sampled && size > SAMPLED_ABOVE;
        let marks = size * load.looking * of_size.messages.min(MARKS_A_SECOND);
        let others = marks + 2.0 * size / load.stay_seconds;
        let others = if is_sampled { 0.0 } else { others };
        for _ in 0..load.count(of_size).round() as usize {
            let members = (0..size as usize).filter(|_| random.random_bool(1.0 / nodes));
            let members = members.count() as u32;
            if members > 0 {
                rooms.push(Room {
                    sockets: sockets..sockets + members,
                    messages: of_size.messages,
                    notices: of_size.messages * load.typing + others,
                });
                sockets += members;
            }
        }
    }
    rooms
}

/// Random moments at a rate a second.
fn arrivals(rate: f64, random: &mut ChaCha8Rng, mut each: impl FnMut(f64)) {
    let mut at = 0.0;
    if rate <= 0.0 {
        return;
    }
    loop {
        at -= (1.0 - random.random::<f64>()).ln() / rate * SECOND;
        if at >= SPAN * SECOND {
            return;
        }
        each(at);
    }
}

/// What NATS took for the messages of the whole system.
struct Nats {
    /// When each message came, and when it had been sent to all.
    passed: Vec<(f64, f64)>,
    hops: f64,
    busy: f64,
}

impl Nats {
    /// When a message that is sent at a moment is at the node. It waits as long as the one that came to NATS last before it.
    fn passed(&self, at: f64) -> f64 {
        let hop = HOP.value * 1e3;
        let next = self.passed.partition_point(|(came, _)| *came <= at);
        let took = next.checked_sub(1).map_or(0.0, |last| {
            let (came, done) = self.passed[last];
            done - came
        });
        at + self.hops * hop + took
    }
}

/// One of the servers to which messages come first: each has its share of them.
fn nats(demand: &Demand, remedies: Remedies, random: &mut ChaCha8Rng) -> Nats {
    let all = demand.nats_events + demand.nats_saves + demand.nats_volatile;
    let count = all / remedies.brokers;
    let each = demand.broker().cores * SECOND / count.max(1.0);
    let mut free: BinaryHeap<Reverse<Moment>> = (0..NATS_CORES as usize)
        .map(|_| Reverse(Moment(0.0)))
        .collect();
    let (mut passed, mut busy) = (vec![], 0.0);
    arrivals(count, random, |at| {
        let Some(Reverse(Moment(core))) = free.pop() else {
            return;
        };
        let done = core.max(at) + each;
        free.push(Reverse(Moment(done)));
        passed.push((at, done));
        busy += each;
    });
    // To NATS and to the node; a leaf is on the way.
    let hops = if remedies.leaves > 1.0 { 3.0 } else { 2.0 };
    Nats { passed, hops, busy }
}

/// A time that can be ordered: no time here is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

enum Waiting {
    Job(f64),
    Socket(u32),
}

/// The cores of a node, which take what waits in its order.
struct Cores<'a> {
    rooms: &'a [Room],
    free: BinaryHeap<Reverse<Moment>>,
    queue: VecDeque<(f64, Waiting)>,
    /// The frames that wait for each socket: how many, and since when those of messages.
    frames_of: Vec<(u32, Vec<f64>)>,
    delivered: Vec<f64>,
    busy: f64,
    /// How long jobs waited for a core, in total.
    waited: f64,
    frames: u64,
    writes: u64,
}

impl<'a> Cores<'a> {
    fn new(cores: usize, rooms: &'a [Room]) -> Self {
        let sockets = rooms.last().map_or(0, |room| room.sockets.end);
        Self {
            rooms,
            free: (0..cores).map(|_| Reverse(Moment(0.0))).collect(),
            queue: VecDeque::new(),
            frames_of: vec![(0, vec![]); sockets as usize],
            delivered: vec![],
            busy: 0.0,
            waited: 0.0,
            frames: 0,
            writes: 0,
        }
    }

    fn take(&mut self, at: f64, work: Work) {
        self.run_until(at);
        match work {
            Work::Job(cost) => self.queue.push_back((at, Waiting::Job(cost))),
            Work::Frames { room, since } => {
                for socket in self.rooms[room as usize].sockets.clone() {
                    let (waiting, sent) = &mut self.frames_of[socket as usize];
                    if *waiting == 0 {
                        self.queue.push_back((at, Waiting::Socket(socket)));
                    }
                    *waiting += 1;
                    sent.extend(since);
                }
            }
        }
    }

    /// Lets the cores begin what waits, up to a moment.
    fn run_until(&mut self, until: f64) {
        while let Some(ready) = self.queue.front().map(|(ready, _)| *ready)
            && let Some(Reverse(Moment(core))) = self.free.peek()
        {
            let start = core.max(ready);
            if start > until {
                return;
            }
            let Some((_, waiting)) = self.queue.pop_front() else {
                return;
            };
            let cost = match waiting {
                Waiting::Job(cost) => {
                    self.waited += start - ready;
                    cost
                }
                Waiting::Socket(socket) => self.write(socket, start),
            };
            self.busy += cost;
            self.free.pop();
            self.free.push(Reverse(Moment(start + cost)));
        }
    }

    /// When the last job ended.
    fn end(&self) -> f64 {
        let ends = self.free.iter().map(|Reverse(Moment(end))| *end);
        ends.fold(0.0, f64::max)
    }

    fn write(&mut self, socket: u32, start: f64) -> f64 {
        let (waiting, sent) = &mut self.frames_of[socket as usize];
        let cost = WRITE.value + f64::from(*waiting) * FRAME.value;
        self.frames += u64::from(*waiting);
        self.writes += 1;
        *waiting = 0;
        for since in sent.drain(..) {
            if since >= WARM_UP * SECOND {
                self.delivered.push(start + cost - since);
            }
        }
        cost
    }
}

/// Lets jobs of one cost come at random to one core, and returns how long they wait on average.
#[allow(dead_code, reason = "a test compares it with a formula")]
pub fn mean_wait(rate: f64, cost: f64, seed: u64) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut cores, mut jobs) = (Cores::new(1, &[]), 0);
    arrivals(rate, &mut random, |at| {
        jobs += 1;
        cores.take(at, Work::Job(cost));
    });
    cores.run_until(f64::INFINITY);
    cores.waited / f64::from(jobs)
}
