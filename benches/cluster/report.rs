//! The tables.

use std::{fs, process::Command, time::Duration};

use super::{
    Measured,
    costs::Costs,
    figures::{Percentiles, cores, micros_each},
    load::{MEMBERS, ROOMS},
};

const NONE: &str = " ";

/// The machine, the versions, and what else ran.
pub struct Conditions {
    built_from: String,
    /// The load average and the number of compilers that ran, before each measurement and after the last.
    seen: Vec<(f64, usize)>,
}

impl Conditions {
    pub fn new(built_from: Option<String>) -> Self {
        Self {
            built_from: built_from.unwrap_or_else(commit),
            seen: vec![],
        }
    }

    /// Looks what else runs.
    pub fn look(&mut self) {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next();
        let load = load.and_then(|load| load.parse().ok()).unwrap_or(f64::NAN);
        let compilers = said("pgrep", &["-x", "rustc"]).lines().count();
        self.seen.push((load, compilers));
    }

    fn text(&self) -> String {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": "));
        let count = info.lines().filter(|line| line.starts_with("processor"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let loads: Vec<_> = self.seen.iter().map(|(load, _)| load.to_string()).collect();
        let compilers: Vec<_> = self
            .seen
            .iter()
            .map(|(_, count)| count.to_string())
            .collect();
        format!(
            "date {}; processor {}, {} cores; kernel Linux {}; server built from {}; {}; {}; before each of the measurements and after the last one the load average was {} (the measurement's own included), and so many compilers ran beside it: {}.",
            said("date", &["-u", "+%Y-%m-%d"]),
            model.map_or("unknown", |(_, model)| model.trim()),
            count.count(),
            kernel.trim(),
            self.built_from,
            said("nats-server", &["--version"]),
            said("rustc", &["--version"]),
            loads.join(", "),
            compilers.join(", "),
        )
    }
}

pub fn text(
    conditions: &Conditions,
    measured: &[Measured],
    costs: &Costs,
    elapsed: Duration,
) -> String {
    let minutes = elapsed.as_secs() / 60;
    let mut text = format!(
        "{} The run took {minutes} min {} s.\n\n",
        conditions.text(),
        elapsed.as_secs() % 60
    );
    text += "The clients, `nats-server` and all nodes share the cores of one machine, so more nodes do not deliver more here: \
        what the figures show is what a node costs. The CPU time is that of the nodes and of `nats-server`, in user space and \
        in the kernel, in hundredths of a second; that of the clients is not in it. A latency runs from when a message was due; its p99 has the pauses of everything that runs on these cores. \
        NATS acknowledges before it syncs (its default, every two minutes); the embedded bus syncs each group of messages.\n\n";
    text += &format!(
        "### A steady load\n\n{ROOMS} rooms of {MEMBERS} members, who are spread evenly over the nodes. 20 of them write, 5 \
        messages a second each.\n\n"
    );
    text += &table(
        &[
            "deliveries a second",
            "CPU of the nodes, µs a delivery",
            "CPU of NATS, µs a delivery",
            "same node: p50, ms",
            "p99, ms",
            "other node: p50, ms",
            "p99, ms",
            "ack: p50, ms",
            "p99, ms",
        ],
        measured.iter().map(|system| {
            let load = &system.steady;
            let figures = [
                rate(load.deliveries, load.spent.seconds),
                decimal(micros_each(load.spent.all_nodes(), load.deliveries)),
                nats(system, micros_each(load.spent.nats, load.deliveries)),
            ];
            let times = [&load.same_node, &load.other_node, &load.acknowledged];
            row(system, figures, times.map(Option::as_ref))
        }),
    );
    text += "\n### The same rooms at the limit of this machine\n\nEach of the 20 writers sends its next message when the one \
        before is acknowledged.\n\n";
    text += &table(
        &[
            "messages a second",
            "deliveries a second",
            "CPU of the nodes, µs a delivery",
            "CPU of NATS, µs a delivery",
            "ack: p50, ms",
            "p99, ms",
        ],
        measured.iter().map(|system| {
            let load = &system.limit;
            let figures = [
                rate(load.messages, load.spent.seconds),
                rate(load.deliveries, load.spent.seconds),
                decimal(micros_each(load.spent.all_nodes(), load.deliveries)),
                nats(system, micros_each(load.spent.nats, load.deliveries)),
            ];
            row(system, figures, [load.acknowledged.as_ref()])
        }),
    );
    let rounds = measured
        .first()
        .map_or(0, |system| system.quiet.acknowledged.count());
    text += &format!(
        "\n### One message at a time\n\nTwo members of a room, at two nodes where there are two; {rounds} messages. The read mark \
        goes back from the second member to the first. A price runs from the client of the node that has the feed to a client \
        of another node (10 rounds of prices a second).\n\n"
    );
    text += &table(
        &[
            "ack: p50, ms",
            "p99, ms",
            "message: p50, ms",
            "p99, ms",
            "read mark: p50, ms",
            "p99, ms",
            "price: p50, ms",
            "p99, ms",
        ],
        measured.iter().map(|system| {
            let quiet = &system.quiet;
            let times = [&quiet.acknowledged, &quiet.delivered, &quiet.marked].map(Some);
            let times = [times[0], times[1], times[2], system.prices.as_ref()];
            row(system, [], times)
        }),
    );
    text += "\n### What NATS carries\n\nAt the steady load, for each message of the chat, beyond what goes on without messages. \
        Idle: the members are connected, and nobody writes.\n\n";
    text += &table(
        &[
            "CPU of NATS, µs a message",
            "messages in",
            "messages out",
            "bytes in",
            "bytes out",
            "idle: messages in a second",
            "idle: messages out a second",
            "idle: a core of all nodes",
            "idle: a core of NATS",
            "memory of a node, MB",
        ],
        measured.iter().map(|system| {
            let (load, idle) = (&system.steady, &system.idle);
            let beyond = |loaded: u64, quiet: u64| {
                let usual = quiet as f64 / idle.seconds * load.spent.seconds;
                (loaded as f64 - usual) / load.messages.max(1) as f64
            };
            let (with, without) = (&load.spent, idle);
            let largest = load
                .spent
                .resident
                .iter()
                .max()
                .copied()
                .unwrap_or_default();
            let idle_nats = cores(idle.nats, idle.seconds);
            let nats_each = (load.spent.nats.as_secs_f64() - idle_nats * load.spent.seconds) * 1e6
                / load.messages.max(1) as f64;
            let mut figures = vec![
                nats(system, nats_each),
                nats(system, beyond(with.messages_in, without.messages_in)),
                nats(system, beyond(with.messages_out, without.messages_out)),
                nats(system, beyond(with.bytes_in, without.bytes_in)),
                nats(system, beyond(with.bytes_out, without.bytes_out)),
                nats(system, idle.messages_in as f64 / idle.seconds),
                nats(system, idle.messages_out as f64 / idle.seconds),
                format!("{:.3}", cores(idle.all_nodes(), idle.seconds)),
                if system.name.starts_with("NATS") {
                    format!("{idle_nats:.3}")
                } else {
                    NONE.into()
                },
            ];
            figures.push(format!("{:.0}", largest as f64 / 1e6));
            (system.name.clone(), figures)
        }),
    );
    text += "\n### Costs of single steps\n\nTwo nodes; all members are at one of them. [docs/scale.md](../docs/scale.md) \
        computes with these figures.\n\n";
    text += &costs_table(costs);
    text
}

fn costs_table(costs: &Costs) -> String {
    let rows = [
        (
            "a message at the node that publishes it, with one member: CPU",
            micros(costs.publish),
        ),
        (
            "the same at the limit: CPU",
            micros(costs.publish_at_the_limit),
        ),
        (
            "each further member at that node: CPU",
            micros(costs.delivery),
        ),
        (
            "an event at a node without members: CPU",
            micros(costs.apply),
        ),
        (
            "the same at the limit, where commits have many events: CPU",
            micros(costs.apply_at_the_limit),
        ),
        (
            "events a second at that limit",
            format!("{:.0}", costs.events_a_second_at_the_limit),
        ),
        (
            "an event where an empty node reads the log: CPU",
            micros(costs.catch_up),
        ),
        (
            "events a second that an empty node reads",
            format!("{:.0} (of {})", costs.catch_up_a_second, costs.caught_up),
        ),
        (
            "an announcement of one person, 1,000 a second, at a node that hears it: CPU",
            micros(costs.announcement),
        ),
        (
            "the same at NATS, which sends it to two nodes: CPU",
            micros(costs.announcement_nats),
        ),
        (
            "the same, 10,000 a second, at a node: CPU",
            micros(costs.one_of_many),
        ),
        (
            "the same, 10,000 a second, at NATS: CPU",
            micros(costs.one_of_many_nats),
        ),
        (
            "the same: payload",
            format!("{} bytes", costs.announcement_bytes),
        ),
        (
            "a person in an announcement of 500: CPU",
            micros(costs.person),
        ),
        (
            "the same: payload",
            format!("{:.0} bytes", costs.person_bytes),
        ),
        (
            "NATS alone, as fast as it can, a volatile message to each of 10 subscribers: CPU",
            micros(costs.flood.sent),
        ),
        (
            "messages a second that it sends so",
            format!("{:.0}", costs.flood.sent_a_second),
        ),
        (
            "NATS alone, 20,000 a second, a message that a stream stores: CPU",
            micros(costs.flood.stored),
        ),
        (
            "NATS alone, each of 10 readers of the stream, a message: CPU",
            micros(costs.flood.read),
        ),
        (
            "a person elsewhere, each second, for the look who is to be forgotten: CPU",
            micros(costs.person_known),
        ),
        (
            "a person elsewhere: memory",
            format!("{:.0} bytes", costs.person_memory_bytes),
        ),
        (
            "a node without members and messages",
            format!("{:.4} of a core", costs.idle_cores),
        ),
    ];
    let mut text = "| step | measured |\n|---|---:|\n".to_owned();
    for (what, figure) in rows {
        text += &format!("| {what} | {figure} |\n");
    }
    text
}

fn micros(figure: f64) -> String {
    format!("{figure:.2} µs")
}

fn table(heads: &[&str], rows: impl Iterator<Item = (String, Vec<String>)>) -> String {
    let mut text = format!(
        "| | {} |\n|---|{}\n",
        heads.join(" | "),
        "---:|".repeat(heads.len())
    );
    for (name, figures) in rows {
        text += &format!("| {name} | {} |\n", figures.join(" | "));
    }
    text
}

fn row<const FIGURES: usize, const TIMES: usize>(
    system: &Measured,
    figures: [String; FIGURES],
    times: [Option<&Percentiles>; TIMES],
) -> (String, Vec<String>) {
    let mut all = figures.to_vec();
    for times in times {
        for part in [0.5, 0.99] {
            let milliseconds = |times: &Percentiles| times.at(part).as_secs_f64() * 1e3;
            all.push(times.map_or(NONE.into(), |times| format!("{:.2}", milliseconds(times))));
        }
    }
    (system.name.clone(), all)
}

/// A figure of NATS; nothing for the embedded bus.
fn nats(system: &Measured, figure: f64) -> String {
    match system.name.starts_with("NATS") {
        true => decimal(figure),
        false => NONE.into(),
    }
}

fn rate(count: usize, seconds: f64) -> String {
    format!("{:.0}", count as f64 / seconds)
}

fn decimal(figure: f64) -> String {
    match figure.abs() < 100.0 {
        true => format!("{figure:.2}"),
        false => format!("{figure:.0}"),
    }
}

fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short=10", "HEAD"]);
    let changes = said(
        "git",
        &[
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            "src",
            "realtime",
        ],
    );
    match changes.is_empty() {
        true => format!("commit {commit}"),
        false => format!("commit {commit}, with changes"),
    }
}

/// What a program prints; nothing if it is not there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}
