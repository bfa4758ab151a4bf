//! What a load needs at each node and at NATS, as products of counts and costs.

use super::{
    costs::*,
    load::{Load, MARKS_A_SECOND, Rooms, SAVES_A_SECOND},
};

/// What a node and a NATS server have. Assumed.
pub const CORES: f64 = 4.0;
pub const MEMORY: f64 = 16e9;
pub const NETWORK: f64 = 1.25e9;
pub const NATS_CORES: f64 = 8.0;

/// A node says that it is there every 3 s (`src/bus/nats/presence.rs`).
const BEATS: f64 = 1.0 / 3.0;
/// The owner of a mirrored topic says where it stands every second (`realtime/src/server/mirror.rs`).
const TOPIC_BEATS: f64 = 1.0;
/// A node announces all of its people every 10 s, at most 500 in a message (`src/chat/server/elsewhere.rs`).
const RENEWALS: f64 = 0.1;
const ANNOUNCED: f64 = 500.0;
/// A node that is busy writes to a socket at most this often: what comes meanwhile waits in the queue of the socket, and goes
/// out in one write.
pub const WRITES_A_SECOND: f64 = 2.0;
/// NATS that is busy writes to each node or leaf at most this often, and a busy node reads from NATS at most this often: what
/// comes meanwhile is in the same write, and is read at once.
const NATS_WRITES_A_SECOND: f64 = 50.0;
const READS_A_SECOND: f64 = 1_000.0;
/// With sampled presence, larger rooms show how many are there instead of who.
pub const SAMPLED_ABOVE: f64 = 200.0;
const MICROS: f64 = 1e-6;

/// What may be changed in the program, or in how NATS is laid out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remedies {
    /// Rooms are divided into shards; each node belongs to one, and knows nothing of the others.
    pub shards: f64,
    /// Nodes connect to leaf servers, each of which gets a message once.
    pub leaves: f64,
    /// The shards are divided among so many servers of NATS.
    pub brokers: f64,
    /// A node has only the rooms that have a member there.
    pub partial: bool,
    /// Rooms above [`SAMPLED_ABOVE`] have counts instead of names, and no read marks of others.
    pub sampled: bool,
}

impl Remedies {
    pub const NONE: Self = Self {
        shards: 1.0,
        leaves: 1.0,
        brokers: 1.0,
        partial: false,
        sampled: false,
    };
}

/// A second of a load, at each of the nodes and at NATS.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    pub connections: f64,
    /// Frames to sockets of a node, by reason.
    pub messages: f64,
    pub typing: f64,
    pub marks: f64,
    pub changes: f64,
    /// Events that a node publishes, and those that its replica applies: messages, and saved read marks.
    pub published: f64,
    pub saved: f64,
    pub applied: f64,
    /// Volatile messages that a node hears, and the people in them.
    pub heard: f64,
    pub people: f64,
    /// People at other nodes whom a node knows.
    pub known: f64,
    /// All events and volatile messages that come into NATS, those that it sends, and the bytes.
    pub nats_events: f64,
    pub nats_saves: f64,
    pub nats_volatile: f64,
    pub nats_out: f64,
    pub nats_bytes_in: f64,
    /// Each server to which everything comes first.
    pub hub: Broker,
    /// Each leaf server, where there are some.
    pub leaf: Broker,
    /// The cores of the hub, by reason.
    pub hub_for: Reasons,
    /// The part of the time for which the busiest stream stores.
    pub ingest: f64,
}

/// What a NATS server has to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broker {
    pub cores: f64,
    pub messages_out: f64,
    pub bytes_out: f64,
}

impl Broker {
    /// Adds the writes to so many connections.
    fn write(&mut self, connections: f64) {
        let each = (self.messages_out / connections).min(NATS_WRITES_A_SECOND);
        self.cores += connections * each * NATS_WRITE.value * MICROS;
    }
}

/// Why NATS has something to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reasons {
    pub messages: f64,
    pub saves: f64,
    pub typing: f64,
    pub marks: f64,
    pub changes: f64,
    /// All people of all nodes, again and again; or how many they are.
    pub renewals: f64,
    /// Signs of life of nodes and topics, and prices.
    pub beats: f64,
}

/// To how many something goes.
#[derive(Clone, Copy)]
struct Reach {
    /// Nodes, of all that are there.
    nodes: f64,
    of: f64,
    leaves: f64,
    brokers: f64,
}

/// How much of a resource is used: 1 is all of it.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    pub name: &'static str,
    pub used: f64,
}

/// The nodes of a number that have at least one of so many members, who connect at random.
pub fn nodes_with_members(nodes: f64, members: f64) -> f64 {
    nodes * (1.0 - (1.0 - 1.0 / nodes).powf(members))
}

impl Demand {
    pub fn of(load: &Load, nodes: f64, remedies: Remedies) -> Self {
        let shards = remedies.shards.min(nodes);
        let group = nodes / shards;
        let mut demand = Self {
            connections: load.connections / nodes,
            ..Self::default()
        };
        for rooms in &load.rooms {
            demand.add(load, rooms, (nodes, group), remedies);
        }
        demand.add_beats(load, (nodes, group), remedies);
        let (of_hub, of_leaf) = match remedies.leaves > 1.0 {
            true => (remedies.leaves, nodes / remedies.leaves),
            false => (nodes / remedies.brokers, 1.0),
        };
        demand.hub.write(of_hub);
        demand.leaf.write(of_leaf);
        let busiest = demand.nats_events.max(demand.nats_saves);
        demand.ingest = busiest * NATS_STORE.value * MICROS / shards;
        demand
    }

    /// Only what goes on without any room.
    pub fn of_beats(load: &Load, nodes: f64, remedies: Remedies) -> Self {
        let mut demand = Self::default();
        demand.add_beats(load, (nodes, nodes), remedies);
        demand
    }

    fn add_beats(&mut self, load: &Load, (nodes, group): (f64, f64), remedies: Remedies) {
        let reach = |reached| Reach {
            nodes: reached,
            of: nodes,
            leaves: remedies.leaves,
            brokers: 1.0,
        };
        // Signs of life stay in a shard. Topics and prices are of no room: every node hears them.
        let of_topics = TOPIC_BEATS + load.ticks;
        self.heard += group * BEATS + of_topics;
        let cores = self.volatile(nodes * BEATS, 0.0, reach(group))
            + self.volatile(of_topics, 0.0, reach(nodes));
        self.hub_for.beats += cores;
    }

    fn add(&mut self, load: &Load, rooms: &Rooms, (nodes, group): (f64, f64), remedies: Remedies) {
        let (size, count) = (load.size(rooms), load.count(rooms));
        let of_members = nodes_with_members(group, size);
        let reach = if remedies.partial { of_members } else { group };
        let is_sampled = remedies.sampled && size > SAMPLED_ABOVE;

        let typing = rooms.messages * load.typing;
        let looking = size * load.looking;
        let marks = looking * rooms.messages.min(MARKS_A_SECOND);
        let saves = looking * rooms.messages.min(SAVES_A_SECOND);
        let changes = 2.0 * size / load.stay_seconds;
        let renewals = of_members * (size / of_members / ANNOUNCED).ceil() * RENEWALS;
        let (marks, changes, counts) = match is_sampled {
            true => (0.0, 0.0, of_members * RENEWALS),
            false => (marks, changes, 0.0),
        };
        let renewals = if is_sampled { 0.0 } else { renewals };
        let renewed = if is_sampled { 0.0 } else { size * RENEWALS };

        let frames = count * size / nodes;
        self.messages += frames * rooms.messages;
        self.typing += frames * typing;
        self.marks += frames * marks;
        // Where people are counted, a room gets one new count in each round.
        self.changes += frames * if is_sampled { RENEWALS } else { changes };
        self.published += count * rooms.messages / nodes;
        self.saved += count * saves / nodes;
        self.applied += count * (rooms.messages + saves) * reach / nodes;
        let volatile = typing + marks + changes + renewals + counts;
        self.heard += count * volatile * reach / nodes;
        self.people += count * (renewed + changes) * reach / nodes;
        self.known += count * if is_sampled { of_members } else { size } * reach / nodes;

        let to = Reach {
            nodes: reach,
            of: nodes,
            leaves: remedies.leaves,
            brokers: remedies.brokers,
        };
        self.nats_events += count * rooms.messages;
        self.nats_saves += count * saves;
        self.hub_for.messages += self.stored(count * rooms.messages, to);
        self.hub_for.saves += self.stored(count * saves, to);
        self.hub_for.typing += self.volatile(count * typing, 0.0, to);
        self.hub_for.marks += self.volatile(count * marks, 0.0, to);
        self.hub_for.changes += self.volatile(count * changes, 0.0, to);
        self.hub_for.renewals += self.volatile(count * (renewals + counts), count * renewed, to);
    }

    /// Events through NATS. Returns the cores of the hub.
    fn stored(&mut self, count: f64, to: Reach) -> f64 {
        let store = count * NATS_STORE.value * MICROS / to.brokers;
        self.hub.cores += store;
        store + self.sent(count, NATS_EVENT_OUT.value, count * EVENT_BYTES.value, to)
    }

    /// Volatile messages through NATS, with so many people in all of them. Returns the cores of the hub.
    fn volatile(&mut self, count: f64, people: f64, to: Reach) -> f64 {
        let bytes = count * VOLATILE_BYTES.value + people * PERSON_BYTES.value;
        self.nats_volatile += count;
        self.sent(count, NATS_OUT.value, bytes, to)
    }

    fn sent(&mut self, count: f64, each: f64, bytes: f64, to: Reach) -> f64 {
        let (from_hub, from_leaf) = to.spread();
        let hub = count * from_hub * each * MICROS;
        self.hub.cores += hub;
        self.hub.messages_out += count * from_hub;
        self.hub.bytes_out += bytes * from_hub;
        self.leaf.cores += count * from_leaf * each * MICROS;
        self.leaf.messages_out += count * from_leaf;
        self.leaf.bytes_out += bytes * from_leaf;
        self.nats_out += count * to.nodes;
        self.nats_bytes_in += bytes;
        hub
    }

    /// The busiest NATS server.
    pub fn broker(&self) -> Broker {
        Broker {
            cores: self.hub.cores.max(self.leaf.cores),
            messages_out: self.hub.messages_out.max(self.leaf.messages_out),
            bytes_out: self.hub.bytes_out.max(self.leaf.bytes_out),
        }
    }

    pub fn frames(&self) -> f64 {
        self.messages + self.typing + self.marks + self.changes
    }

    /// Events in each commit of the replica: what comes while a commit is made is in the next one.
    pub fn batch(&self) -> f64 {
        let rest = 1.0 - self.applied * APPLY.value * MICROS;
        match rest > 0.0 {
            true => (self.applied * COMMIT.value * MICROS / rest).max(1.0),
            false => f64::INFINITY,
        }
    }

    pub fn replica_cores(&self) -> f64 {
        let commits = self.applied / self.batch();
        (commits * COMMIT.value + self.applied * APPLY.value) * MICROS
    }

    pub fn hearing_cores(&self) -> f64 {
        self.heard * self.hear() * MICROS + self.known * PERSON_KNOWN.value * MICROS
    }

    /// What a volatile message of another node costs this one, in microseconds.
    pub fn hear(&self) -> f64 {
        let heard = self.heard.max(1.0);
        let reads = heard.min(READS_A_SECOND);
        HEARD.value + WAKE.value * reads / heard + PERSON.value * self.people / heard
    }

    pub fn publishing_cores(&self) -> f64 {
        (self.published * PUBLISH.value + self.saved * PUBLISH_BUSY.value) * MICROS
    }

    /// Cores for frames where each has a write of its own.
    pub fn single_cores(&self) -> f64 {
        self.frames() * (WRITE.value + FRAME.value) * MICROS
    }

    /// Cores for frames where a socket is written to at most [`WRITES_A_SECOND`].
    pub fn joined_cores(&self) -> f64 {
        let writes = self.frames().min(self.connections * WRITES_A_SECOND);
        (writes * WRITE.value + self.frames() * FRAME.value) * MICROS
    }

    /// Cores of a node: with single writes, and with joined ones.
    pub fn cores(&self) -> (f64, f64) {
        let others = self.replica_cores() + self.hearing_cores() + self.publishing_cores();
        (self.single_cores() + others, self.joined_cores() + others)
    }

    pub fn memory(&self) -> f64 {
        SERVER_MEMORY.value
            + self.connections * MEMBER_MEMORY.value
            + self.known * PERSON_MEMORY.value
    }

    pub fn bytes_to_clients(&self) -> f64 {
        self.frames() * DELIVERED_BYTES.value
    }

    /// All resources, the most used one first.
    pub fn walls(&self) -> Vec<Wall> {
        let wall = |name, used| Wall { name, used };
        let mut walls = vec![
            wall("cores of a node", self.cores().1 / CORES),
            wall("memory of a node", self.memory() / MEMORY),
            wall("network of a node", self.bytes_to_clients() / NETWORK),
            wall("writer of the replica", self.applied * APPLY.value * MICROS),
            wall("cores of NATS", self.broker().cores / NATS_CORES),
            wall("network of NATS", self.broker().bytes_out / NETWORK),
            wall("a stream's leader", self.ingest),
        ];
        walls.sort_by(|one, other| other.used.total_cmp(&one.used));
        walls
    }
}

impl Reach {
    /// How often each hub sends what comes to all of them, and how often each leaf does.
    fn spread(&self) -> (f64, f64) {
        if self.leaves <= 1.0 {
            return (self.nodes / self.brokers, 0.0);
        }
        let leaves = self.leaves.min(self.of);
        // Leaves that have at least one of the nodes; each leaf has its share of them.
        let reached = nodes_with_members(leaves, self.nodes).max(1.0);
        (reached / self.brokers, self.nodes / leaves)
    }
}

/// The largest number of connections for which a part of the demand stays below 1.
pub fn limit(used: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (1.0, 1e9);
    if used(high) < 1.0 {
        return f64::INFINITY;
    }
    // Halved in the logarithm: 60 steps are exact far beyond what is printed.
    for _ in 0..60 {
        let middle = f64::sqrt(low * high);
        match used(middle) < 1.0 {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}
