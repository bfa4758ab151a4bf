//! The tables of `docs/scale.md`.

use super::{
    costs::{self, *},
    load::{Load, MARKS_A_SECOND, Rooms, Size},
    model::{CORES, Demand, MEMORY, NATS_CORES, NETWORK, Remedies, Wall, limit},
    queue::{percentile, replay},
};

const NODES: [f64; 3] = [10.0, 100.0, 1_000.0];
const HUNDRED_THOUSAND: f64 = 100_000.0;
const MILLION: f64 = 1_000_000.0;
/// Nodes and connections of the tables.
const SYSTEMS: [(f64, f64); 5] = [
    (10.0, HUNDRED_THOUSAND),
    (100.0, HUNDRED_THOUSAND),
    (10.0, MILLION),
    (100.0, MILLION),
    (1_000.0, MILLION),
];
/// Nodes of a shard, and nodes of a leaf server.
const NODES_OF_A_SHARD: f64 = 5.0;
const NODES_OF_A_LEAF: f64 = 10.0;
/// Nodes of the shards that share a server of NATS.
const NODES_OF_A_BROKER: f64 = 20.0;

pub fn all(seed: u64) -> String {
    let sections = [
        ("Costs", costs_table()),
        ("The arithmetic beside the measurement", check()),
        ("The load", load_table()),
        ("A node and NATS, as the program is", demand_table()),
        ("What fills first, as the program is", walls_table()),
        ("What each part alone would allow", parts_table()),
        ("One room: what a message a second means", rooms_table()),
        ("One room: what NATS carries for it", traffic_table()),
        ("What moves the walls", remedies_table()),
        ("Replayed message by message", replay_table(seed)),
    ];
    let section = |(title, text): &(&str, String)| format!("### {title}\n\n{text}");
    sections.iter().map(section).collect::<Vec<_>>().join("\n")
}

fn table(heads: &[&str], left: usize, rows: Vec<Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rule = "---|".repeat(left) + &"---:|".repeat(heads.len() - left);
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}|{rule}\n{rows}", line(&heads))
}

fn costs_table() -> String {
    let rows = costs::ALL.iter().map(|cost| {
        let (kind, from) = match cost.source {
            Source::Measured(from) => ("measured", from),
            Source::Derived(from) => ("computed from measured", from),
            Source::Assumed(why) => ("assumed", why),
        };
        let cells = [cost.what, &number(cost.value), cost.unit, kind, from];
        cells.map(str::to_owned).to_vec()
    });
    table(
        &["what", "figure", "unit", "how", "from"],
        1,
        rows.collect(),
    )
}

/// CPU time a delivery at the steady load of the benchmark.
pub fn computed_micros(nodes: f64) -> f64 {
    let demand = Demand::of(&Load::of_the_benchmark(), nodes, Remedies::NONE);
    demand.cores().0 / demand.frames() * 1e6
}

fn check() -> String {
    let rows = costs::MEASURED.iter().map(|(nodes, measured)| {
        vec![
            number(*nodes),
            format!("{measured:.1}"),
            format!("{:.1}", computed_micros(*nodes)),
        ]
    });
    table(
        &[
            "nodes",
            "measured: µs a delivery",
            "computed: µs a delivery",
        ],
        0,
        rows.collect(),
    )
}

fn load_table() -> String {
    let load = Load::of(HUNDRED_THOUSAND);
    let rows = load.rooms.iter().map(|rooms| {
        let size = match rooms.size {
            Size::Members(members) => count(members),
            Size::Everybody => format!("{} of 100,000", count(load.size(rooms))),
        };
        vec![
            rooms.name.to_owned(),
            percent(rooms.part),
            size,
            number(rooms.messages),
            number(load.size(rooms) * load.looking * rooms.messages.min(MARKS_A_SECOND)),
            number(2.0 * load.size(rooms) / load.stay_seconds),
        ]
    });
    table(
        &[
            "rooms",
            "part of all people",
            "members",
            "messages a second of a room",
            "read marks a second of a room",
            "arrivals and departures a second of a room",
        ],
        1,
        rows.collect(),
    )
}

fn demand_table() -> String {
    let demands = SYSTEMS
        .map(|(nodes, connections)| Demand::of(&Load::of(connections), nodes, Remedies::NONE));
    let heads: Vec<String> = SYSTEMS
        .iter()
        .map(|(nodes, connections)| format!("{} nodes, {}", count(*nodes), count(*connections)))
        .collect();
    type Figure = (&'static str, fn(&Demand) -> String);
    let figures: [Figure; 24] = [
        ("**a node:** connections", |demand| {
            count(demand.connections)
        }),
        ("memory, GB", |demand| number(demand.memory() / 1e9)),
        ("frames to clients a second: messages", |demand| {
            count(demand.messages)
        }),
        ("... typing notices", |demand| count(demand.typing)),
        ("... read marks", |demand| count(demand.marks)),
        ("... arrivals and departures", |demand| {
            count(demand.changes)
        }),
        ("cores for frames, one write each", |demand| {
            number(demand.single_cores())
        }),
        (
            "cores for frames, at most 2 writes a second of a socket",
            |demand| number(demand.joined_cores()),
        ),
        ("events that the replica applies a second", |demand| {
            count(demand.applied)
        }),
        ("cores of the replica", |demand| {
            number(demand.replica_cores())
        }),
        ("volatile messages heard a second", |demand| {
            count(demand.heard)
        }),
        ("people announced to it a second", |demand| {
            count(demand.people)
        }),
        ("cores for what is heard", |demand| {
            number(demand.hearing_cores())
        }),
        ("cores for publishing", |demand| {
            number(demand.publishing_cores())
        }),
        ("**cores of a node**, frames joined", |demand| {
            number(demand.cores().1)
        }),
        ("MB a second to clients", |demand| {
            number(demand.bytes_to_clients() / 1e6)
        }),
        ("**NATS:** messages of the chat a second", |demand| {
            count(demand.nats_events)
        }),
        ("saved read marks a second", |demand| {
            count(demand.nats_saves)
        }),
        ("volatile messages a second", |demand| {
            count(demand.nats_volatile)
        }),
        ("MB in a second", |demand| {
            number(demand.nats_bytes_in / 1e6)
        }),
        ("messages out a second", |demand| count(demand.nats_out)),
        ("MB out a second", |demand| {
            number(demand.broker().bytes_out / 1e6)
        }),
        ("**cores of NATS**", |demand| number(demand.broker().cores)),
        ("time for which a stream's leader stores", |demand| {
            percent(demand.ingest)
        }),
    ];
    let rows = figures.iter().map(|(name, figure)| {
        let mut row = vec![(*name).to_owned()];
        row.extend(demands.iter().map(figure));
        row
    });
    let mut all = vec!["computed"];
    all.extend(heads.iter().map(String::as_str));
    table(&all, 1, rows.collect())
}

/// Everything that fills, with the connections at which it does, the lowest first.
pub fn limits(nodes: f64, remedies: Remedies) -> Vec<(&'static str, f64)> {
    let walls = |connections| Demand::of(&Load::of(connections), nodes, remedies).walls();
    let of = |name: &str, walls: Vec<Wall>| {
        let wall = walls.into_iter().find(|wall| wall.name == name);
        wall.map_or(0.0, |wall| wall.used)
    };
    let mut limits: Vec<_> = walls(1.0)
        .iter()
        .map(|wall| {
            let name = wall.name;
            (name, limit(|connections| of(name, walls(connections))))
        })
        .collect();
    limits.sort_by(|one, other| one.1.total_cmp(&other.1));
    limits
}

fn walls_table() -> String {
    let of_nodes = NODES.map(|nodes| limits(nodes, Remedies::NONE));
    let rows = (0..of_nodes[0].len()).map(|place| {
        let mut row = vec![(place + 1).to_string()];
        for limits in &of_nodes {
            let (name, connections) = limits[place];
            row.push(format!("{name}: {}", connections_text(connections)));
        }
        row
    });
    let heads = NODES.map(|nodes| format!("{} nodes", count(nodes)));
    let mut all = vec!["computed: wall"];
    all.extend(heads.iter().map(String::as_str));
    let assumed = format!(
        "A node has {CORES} cores, {} GB and {} Gbit/s, a NATS server {NATS_CORES} cores and {} Gbit/s (assumed). The cores are \
        those of the measurement.\n\n",
        number(MEMORY / 1e9),
        number(NETWORK * 8.0 / 1e9),
        number(NETWORK * 8.0 / 1e9),
    );
    assumed + &table(&all, 1, rows.collect())
}

fn parts_table() -> String {
    /// A part of the frames, as its share of what all frames cost.
    fn joined(frames: f64, demand: &Demand) -> f64 {
        demand.joined_cores() * frames / demand.frames().max(1.0) / CORES
    }
    type Part = (&'static str, fn(&Demand) -> f64);
    let parts: [Part; 14] = [
        (
            "fan-out of messages and typing notices: cores of a node",
            |demand| joined(demand.messages + demand.typing, demand),
        ),
        ("fan-out of read marks: cores of a node", |demand| {
            joined(demand.marks, demand)
        }),
        (
            "fan-out of arrivals and departures: cores of a node",
            |demand| joined(demand.changes, demand),
        ),
        ("announcements of people: cores of a node", |demand| {
            demand.hearing_cores() / CORES
        }),
        ("people elsewhere: memory of a node", |demand| {
            demand.known * PERSON_MEMORY.value / MEMORY
        }),
        ("replica of everything: its writer", |demand| {
            demand.applied * APPLY.value * 1e-6
        }),
        (
            "publish acknowledgements: the leader of the busiest stream",
            |demand| demand.ingest,
        ),
        ("events of the chat: cores of NATS", |demand| {
            demand.hub_for.messages / NATS_CORES
        }),
        ("saved read marks: cores of NATS", |demand| {
            demand.hub_for.saves / NATS_CORES
        }),
        ("read marks to the nodes: cores of NATS", |demand| {
            demand.hub_for.marks / NATS_CORES
        }),
        ("announcements of people: cores of NATS", |demand| {
            (demand.hub_for.renewals + demand.hub_for.changes) / NATS_CORES
        }),
        ("typing notices: cores of NATS", |demand| {
            demand.hub_for.typing / NATS_CORES
        }),
        ("signs of life and prices: cores of NATS", |demand| {
            demand.hub_for.beats / NATS_CORES
        }),
        ("events and volatile messages: network of NATS", |demand| {
            demand.broker().bytes_out / NETWORK
        }),
    ];
    let rows = parts.iter().map(|(name, part)| {
        let mut row = vec![(*name).to_owned()];
        for nodes in NODES {
            let used =
                |connections| part(&Demand::of(&Load::of(connections), nodes, Remedies::NONE));
            row.push(connections_text(limit(used)));
        }
        row
    });
    let heads = NODES.map(|nodes| format!("{} nodes", count(nodes)));
    let mut all = vec!["computed: connections at which this alone fills"];
    all.extend(heads.iter().map(String::as_str));
    table(&all, 1, rows.collect())
}

fn rooms_table() -> String {
    let load = Load::of(HUNDRED_THOUSAND);
    let rows = [10.0, 100.0, 1_000.0, 10_000.0, 50_000.0, 100_000.0].map(|members: f64| {
        // One message a second.
        let marks = members * load.looking;
        let changes = 2.0 * members / load.stay_seconds;
        let mut row = vec![
            count(members),
            count(members),
            count(members * marks),
            count(members * changes),
        ];
        for nodes in NODES {
            // The write to the last member, when the cores of the node do nothing else.
            let last = (members / nodes).ceil() * (WRITE.value + FRAME.value) / CORES;
            row.push(number(last / 1e3));
        }
        row
    });
    table(
        &[
            "computed: members",
            "frames a second: messages (1 a second)",
            "read marks",
            "arrivals and departures",
            "last member has a message after, ms: 10 nodes",
            "100 nodes",
            "1,000 nodes",
        ],
        0,
        rows.to_vec(),
    )
}

/// A second of one room, with a message a second, at NATS.
fn traffic_table() -> String {
    let of = |members: f64, nodes: f64, partial| {
        let everybody = Rooms {
            name: "everybody",
            size: Size::Everybody,
            part: 1.0,
            messages: 1.0,
        };
        let load = Load {
            connections: members,
            rooms: vec![everybody],
            ..Load::of(members)
        };
        let remedies = Remedies {
            partial,
            ..Remedies::NONE
        };
        let all = Demand::of(&load, nodes, remedies);
        let beats = Demand::of_beats(&load, nodes, remedies);
        let volatile = all.nats_volatile - beats.nats_volatile;
        let megabytes = (all.hub.bytes_out - beats.hub.bytes_out) / 1e6;
        (
            all.nats_events + all.nats_saves,
            volatile,
            all.nats_out - beats.nats_out,
            megabytes,
        )
    };
    let rows = [2.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0].map(|members| {
        let mut row = vec![count(members)];
        let (events, volatile, ..) = of(members, NODES[0], false);
        row.extend([number(events), number(volatile)]);
        for nodes in NODES {
            let (_, _, out, megabytes) = of(members, nodes, false);
            row.push(format!("{} ({} MB)", count(out), number(megabytes)));
        }
        let (_, _, out, megabytes) = of(members, NODES[2], true);
        row.push(format!("{} ({} MB)", count(out), number(megabytes)));
        row
    });
    table(
        &[
            "computed: members",
            "events in",
            "volatile messages in, 10 nodes",
            "messages out: 10 nodes",
            "100 nodes",
            "1,000 nodes",
            "1,000 nodes, partial replicas",
        ],
        0,
        rows.to_vec(),
    )
}

/// The remedies, each alone, and together.
pub fn remedies(nodes: f64) -> [(&'static str, Remedies); 8] {
    let none = Remedies::NONE;
    let shards = nodes / NODES_OF_A_SHARD;
    let leaves = nodes / NODES_OF_A_LEAF;
    let sampled = Remedies {
        sampled: true,
        ..none
    };
    let all_four = Remedies {
        shards,
        leaves,
        partial: true,
        ..sampled
    };
    let brokers = (nodes / NODES_OF_A_BROKER).ceil();
    [
        ("as the program is", none),
        ("shards of rooms, 5 nodes each", Remedies { shards, ..none }),
        (
            "leaf servers of NATS, 10 nodes each",
            Remedies { leaves, ..none },
        ),
        ("sampled presence", sampled),
        (
            "partial replicas",
            Remedies {
                partial: true,
                ..none
            },
        ),
        (
            "sampled presence and shards",
            Remedies { shards, ..sampled },
        ),
        ("all four", all_four),
        (
            "all four, and NATS for each 20 nodes",
            Remedies {
                brokers,
                ..all_four
            },
        ),
    ]
}

fn remedies_table() -> String {
    let count_of = remedies(NODES[0]).len();
    let rows = (0..count_of).map(|number| {
        let mut row = vec![remedies(NODES[0])[number].0.to_owned()];
        for nodes in NODES {
            let limits = limits(nodes, remedies(nodes)[number].1);
            let (name, connections) = limits[0];
            row.push(format!("{}: {name}", connections_text(connections)));
        }
        row
    });
    let heads = NODES.map(|nodes| format!("{} nodes", count(nodes)));
    let mut all = vec!["computed: connections at the first wall"];
    all.extend(heads.iter().map(String::as_str));
    table(&all, 1, rows.collect())
}

fn replay_table(seed: u64) -> String {
    let systems = [
        (10.0, 10_000.0),
        (10.0, 20_000.0),
        (10.0, 50_000.0),
        (10.0, HUNDRED_THOUSAND),
        (100.0, HUNDRED_THOUSAND),
        (100.0, MILLION),
        (1_000.0, MILLION),
    ];
    let mut rows = vec![];
    for (nodes, connections) in systems {
        let load = Load::of(connections);
        let of_nodes = remedies(nodes);
        for (name, remedies) in [0, 3, 5, 7].map(|number: usize| of_nodes[number]) {
            let mut row = vec![count(nodes), count(connections), name.to_owned()];
            match replay(&load, nodes, remedies, seed) {
                Some(replay) => {
                    let milliseconds = |times: &[f64], part| number(percentile(times, part) / 1e3);
                    row.extend([
                        percent(replay.node),
                        percent(replay.nats),
                        number(replay.batch),
                        number(replay.joined),
                        milliseconds(&replay.delivered, 0.5),
                        milliseconds(&replay.delivered, 0.99),
                        milliseconds(&replay.acknowledged, 0.5),
                        milliseconds(&replay.acknowledged, 0.99),
                    ]);
                }
                None => {
                    let demand = Demand::of(&load, nodes, remedies);
                    let first = demand.walls()[0];
                    let wall = format!("{} {}", first.name, percent(first.used));
                    row.push(wall);
                    row.extend(std::iter::repeat_n(" ".to_owned(), 7));
                }
            }
            rows.push(row);
        }
    }
    table(
        &[
            "nodes",
            "connections",
            "replayed",
            "cores of the node in use",
            "cores of NATS in use",
            "events in a commit",
            "frames in a write",
            "message to member: p50, ms",
            "p99, ms",
            "ack: p50, ms",
            "p99, ms",
        ],
        3,
        rows,
    )
}

fn connections_text(connections: f64) -> String {
    match connections < 1e8 {
        true => count(rounded(connections)),
        false => "over 100,000,000".into(),
    }
}

/// With two digits that count: the costs are not known better.
fn rounded(value: f64) -> f64 {
    let unit = 10_f64.powf(value.log10().floor() - 1.0);
    (value / unit).round() * unit
}

fn percent(part: f64) -> String {
    match part < 0.1 {
        true => format!("{:.1} %", part * 100.0),
        false => format!("{:.0} %", part * 100.0),
    }
}

/// A number of things, with commas.
pub fn count(value: f64) -> String {
    let digits = format!("{:.0}", value);
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => count(value),
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
