//! What single steps cost: the only place with figures of measurements. Each says where it comes from.
//!
//! `make bench-cluster` and `make bench` measured them on the machine that benches/RESULTS.md names: two slow cores, on which
//! the kernel alone takes 10 µs for a write over TCP. On another machine measure first, and put its figures here.

/// A cost, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub value: f64,
    pub unit: &'static str,
    pub what: &'static str,
    pub source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By a command, into a table.
    Measured(&'static str),
    /// Computed from measured figures, as it says.
    Derived(&'static str),
    Assumed(&'static str),
}

/// The rows of benches/RESULTS.md as they are, in microseconds of CPU time. What is computed from them is below.
mod row {
    /// "Costs of single steps".
    pub const MESSAGE_WITH_ONE_MEMBER: f64 = 1250.00;
    pub const MESSAGE_AT_THE_LIMIT: f64 = 203.62;
    pub const FURTHER_MEMBER: f64 = 19.83;
    pub const EVENT: f64 = 700.00;
    pub const EVENT_AT_THE_LIMIT: f64 = 101.96;
    pub const EVENT_OF_AN_EMPTY_NODE: f64 = 35.65;
    pub const ANNOUNCEMENT: f64 = 58.62;
    pub const ANNOUNCEMENT_AT_NATS: f64 = 147.97;
    pub const ONE_OF_10_000: f64 = 9.07;
    /// "The same room at its limit", of `make bench`.
    pub const DELIVERY_AT_THE_LIMIT: f64 = 0.84;
}

const STEPS: &str = "make bench-cluster, \"Costs of single steps\"";
const CARRIED: &str = "make bench-cluster, \"What NATS carries\"";
const PEERS: &str = "make bench, benches/RESULTS.md";

/// A frame in a write of its own.
pub const WRITE: Cost = Cost {
    value: row::FURTHER_MEMBER - row::DELIVERY_AT_THE_LIMIT,
    unit: "µs",
    what: "a delivery to one socket, in a write of its own",
    source: Source::Derived("the delivery of \"Costs of single steps\" without FRAME"),
};
pub const FRAME: Cost = Cost {
    value: row::DELIVERY_AT_THE_LIMIT,
    unit: "µs",
    what: "each frame in a write, and its place in the queue of the socket",
    source: Source::Measured("make bench, \"The same room at its limit\""),
};
pub const PUBLISH: Cost = Cost {
    value: row::MESSAGE_WITH_ONE_MEMBER - row::EVENT - row::FURTHER_MEMBER,
    unit: "µs",
    what: "a message at the node that publishes it, beyond what it costs at every node",
    source: Source::Derived(
        "\"Costs of single steps\": with one member, without APPLY, COMMIT and a delivery",
    ),
};
pub const PUBLISH_BUSY: Cost = Cost {
    value: row::MESSAGE_AT_THE_LIMIT - row::EVENT_AT_THE_LIMIT - row::FURTHER_MEMBER,
    unit: "µs",
    what: "the same at the limit, where many are published at once; so much for a read mark that is saved, too",
    source: Source::Derived(
        "\"Costs of single steps\": with one member at the limit, without the event and a delivery",
    ),
};
pub const COMMIT: Cost = Cost {
    value: row::EVENT - row::EVENT_OF_AN_EMPTY_NODE,
    unit: "µs",
    what: "a commit of the replica, whatever it holds",
    source: Source::Derived("\"Costs of single steps\": an event at a steady load, without APPLY"),
};
pub const APPLY: Cost = Cost {
    value: row::EVENT_OF_AN_EMPTY_NODE,
    unit: "µs",
    what: "an event in a large commit of the replica",
    source: Source::Measured(STEPS),
};
pub const WAKE: Cost = Cost {
    value: (row::ANNOUNCEMENT - row::ONE_OF_10_000) / 0.9,
    unit: "µs",
    what: "what a node reads from NATS at once, whatever it holds",
    source: Source::Derived(
        "\"Costs of single steps\": 1,000 announcements a second come alone, 10,000 come ten at a time",
    ),
};
pub const HEARD: Cost = Cost {
    value: (10.0 * row::ONE_OF_10_000 - row::ANNOUNCEMENT) / 9.0,
    unit: "µs",
    what: "each volatile message of another node, at a node that hears it",
    source: Source::Derived("the same two rows"),
};
pub const PERSON: Cost = Cost {
    value: 2.54,
    unit: "µs",
    what: "each person in an announcement",
    source: Source::Measured(STEPS),
};
pub const PERSON_KNOWN: Cost = Cost {
    value: 0.15,
    unit: "µs a second",
    what: "each person at other nodes, who may have to be forgotten",
    source: Source::Measured(STEPS),
};
pub const NATS_WRITE: Cost = Cost {
    value: row::ANNOUNCEMENT_AT_NATS / 2.0 - 0.70,
    unit: "µs",
    what: "NATS: a write to a node, whatever it holds",
    source: Source::Derived(
        "\"Costs of single steps\": half of an announcement to two nodes, without NATS_OUT",
    ),
};
pub const NATS_OUT: Cost = Cost {
    value: 0.70,
    unit: "µs",
    what: "NATS: each volatile message in a write to a node",
    source: Source::Measured(STEPS),
};
pub const NATS_STORE: Cost = Cost {
    value: 11.24,
    unit: "µs",
    what: "NATS: an event, stored and acknowledged, among many",
    source: Source::Measured(STEPS),
};
pub const NATS_EVENT_OUT: Cost = Cost {
    value: 5.14,
    unit: "µs",
    what: "NATS: an event to each node, among many",
    source: Source::Measured(STEPS),
};
pub const ACKNOWLEDGED: Cost = Cost {
    value: 1.61,
    unit: "ms",
    what: "from a message to its acknowledgement, one at a time, p50",
    source: Source::Measured("make bench-cluster, \"One message at a time\""),
};
pub const MEMBER_MEMORY: Cost = Cost {
    value: 8.0 * 1024.0,
    unit: "bytes",
    what: "memory of a socket that joined a room",
    source: Source::Measured(PEERS),
};
pub const PERSON_MEMORY: Cost = Cost {
    value: 678.0,
    unit: "bytes",
    what: "memory of a person at other nodes",
    source: Source::Measured(STEPS),
};
pub const SERVER_MEMORY: Cost = Cost {
    value: 31e6,
    unit: "bytes",
    what: "memory of a node without clients",
    source: Source::Measured(CARRIED),
};
pub const EVENT_BYTES: Cost = Cost {
    value: 305.0,
    unit: "bytes",
    what: "a message of the chat on the link to NATS",
    source: Source::Measured(CARRIED),
};
pub const VOLATILE_BYTES: Cost = Cost {
    value: 190.0,
    unit: "bytes",
    what: "an announcement of one person, or a read mark",
    source: Source::Measured(STEPS),
};
pub const PERSON_BYTES: Cost = Cost {
    value: 85.0,
    unit: "bytes",
    what: "each person in an announcement",
    source: Source::Measured(STEPS),
};
pub const DELIVERED_BYTES: Cost = Cost {
    value: 300.0,
    unit: "bytes",
    what: "a frame to a client, with its share of TCP",
    source: Source::Assumed("a message of 64 characters as JSON, 60 bytes of TCP and IP"),
};
pub const HOP: Cost = Cost {
    value: 0.25,
    unit: "ms",
    what: "the network between two machines of one site, one way",
    source: Source::Assumed("the measurement is on loopback"),
};

pub const ALL: [Cost; 23] = [
    WRITE,
    FRAME,
    PUBLISH,
    PUBLISH_BUSY,
    COMMIT,
    APPLY,
    WAKE,
    HEARD,
    PERSON,
    PERSON_KNOWN,
    NATS_WRITE,
    NATS_OUT,
    NATS_STORE,
    NATS_EVENT_OUT,
    ACKNOWLEDGED,
    MEMBER_MEMORY,
    PERSON_MEMORY,
    SERVER_MEMORY,
    EVENT_BYTES,
    VOLATILE_BYTES,
    PERSON_BYTES,
    DELIVERED_BYTES,
    HOP,
];

/// The steady load of `make bench-cluster`, to compare the arithmetic with: nodes, and CPU time of all nodes, µs a delivery.
pub const MEASURED: [(f64, f64); 3] = [(1.0, 46.00), (2.0, 56.50), (3.0, 64.00)];
