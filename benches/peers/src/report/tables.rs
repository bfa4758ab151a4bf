//! The tables of the document.

use std::time::Duration;

use super::summary::Summary;
use crate::{
    options::Options,
    publisher::TICK,
    workloads::{
        CHAT, EVENTS, MEMORY, PAGES, SATURATION, STORM, TICKS,
        delivery::{MEMBERS, STREAMS},
    },
};

/// A figure, its heading and its digits after the point.
type Column = (&'static str, &'static str, usize);

struct Table {
    workload: &'static str,
    title: &'static str,
    /// What one has to know to read it. Names in braces stand for the rates of the run.
    note: &'static str,
    columns: &'static [Column],
}

const CLIENTS: &str = "\nCPU is the processor time of the server, in user space and in the kernel. Latency runs from when a message was due until the client had it. One client looks once a millisecond, which adds up to a millisecond to its latency, and nothing wakes it. The other is woken by what arrives, which the kernel charges to the server. A server that delivers less than what is due has reached its limit, and its latency grows for as long as the run lasts.\n";

/// The processor time of a delivery, divided by that of raw TCP in the same workload.
const TIMES_RAW: &str = "times_raw";

const PACED: &[Column] = &[
    ("rate", "delivered a second", 0),
    ("cpu_us", "CPU, µs a delivery", 2),
    (TIMES_RAW, "of raw TCP", 2),
    ("p50_us", "p50, µs", 0),
    ("p99_us", "p99, µs", 0),
    ("woken_cpu_us", "woken: CPU, µs", 2),
    ("woken_p50_us", "woken: p50, µs", 0),
    ("woken_p99_us", "woken: p99, µs", 0),
];

const TABLES: [Table; 7] = [
    Table {
        workload: EVENTS,
        title: "Streams, single events",
        note: "500 subscribers, {EVENTS} events a second: {DELIVERIES} deliveries a second. Raw TCP makes one write for each event and subscriber.",
        columns: PACED,
    },
    Table {
        workload: TICKS,
        title: "Streams, ticks of 11 prices",
        note: "500 subscribers, {TICKS} ticks a second: {DELIVERIES} deliveries a second. Raw TCP and Node `http` write a tick at once; the others join what they join.",
        columns: PACED,
    },
    Table {
        workload: CHAT,
        title: "A room of 300 members",
        note: "All members write in turn, {MESSAGES} messages a second: {DELIVERIES} deliveries a second. Wirewise also stores each message on disk before it is delivered. Raw TCP gets the messages from one connection. uWebSockets.js itself is not in the npm registry: the package `uwebsockets`, which its authors did not publish, has a copy of its binaries.",
        columns: PACED,
    },
    Table {
        workload: SATURATION,
        title: "The same room at its limit",
        note: "128 messages are on their way at any time. Where the client is busy for nearly all of its core, it is the limit, and the server could deliver more.",
        columns: &[
            ("rate", "deliveries a second", 0),
            ("cpu_us", "CPU, µs a delivery", 2),
            ("client_busy", "client's core in use", 2),
        ],
    },
    Table {
        workload: MEMORY,
        title: "Memory of an idle connection",
        note: "The growth of the resident memory, divided by the connections. Rooms have 50 members.",
        columns: &[
            ("stream_kib", "stream, KiB", 1),
            ("socket_kib", "socket, KiB", 1),
            ("member_kib", "socket that joined a room, KiB", 1),
        ],
    },
    Table {
        workload: STORM,
        title: "Storm: all streams are cut at once and come back at once",
        note: "Two events a second go on meanwhile. Where more clients connect at once than the queue of a listener holds, the rest wait for a second (TCP sends their SYN again). Wirewise is back when it has said that the stream resumes, and it delivers what was missed; the others are back with their first bytes, and do not resume.",
        columns: &[
            ("streams", "streams", 0),
            ("half_ms", "half are back, ms", 0),
            ("all_ms", "all are back, ms", 0),
            ("cpu_us", "CPU, µs a stream", 0),
            ("lost", "events lost, a stream", 2),
        ],
    },
    Table {
        workload: PAGES,
        title: "Pages a second",
        note: "`/ticker` on 8 connections. Wirewise renders it for each request, of a visitor without a cookie. Express sends the same HTML, a constant text.",
        columns: &[
            ("plain", "plain", 0),
            ("brotli", "brotli", 0),
            ("plain_kib", "KiB, plain", 1),
            ("brotli_kib", "KiB, brotli", 1),
        ],
    },
];

/// The text between the markers.
pub fn text(
    options: &Options,
    deliveries: f64,
    summary: &Summary,
    versions: &[(String, String)],
    elapsed: Duration,
) -> String {
    let mut text = String::new();
    if options.quick {
        text += "**This was a quick run** (`make bench-quick`): one round of one second for each figure. It shows that everything works, and roughly where things stand.\n\n";
    }
    if summary.kept == 0 {
        text += "**No round was steady: the machine did something else meanwhile.** The figures are of all rounds, and not to be relied upon.\n\n";
    }
    let versions: Vec<String> = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    text += &format!("{}.\n\n", versions.join("; "));
    text += &format!(
        "Rounds kept: {}, dropped because raw TCP drifted by more than 10 %: {}. A delivery over raw TCP: {:.2} µs. The rate of deliveries is the highest of 100,000, 50,000, 25,000 and 12,500 a second at which raw TCP keeps up and uses at most 60 % of its core. Each figure is the median of the rounds kept. The run took {} min {} s.\n",
        summary.kept,
        summary.dropped,
        summary.calibration,
        elapsed.as_secs() / 60,
        elapsed.as_secs() % 60,
    );
    text += CLIENTS;
    for table in &TABLES {
        text += &format!(
            "\n### {}\n\n{}\n\n{}",
            table.title,
            with_rates(table.note, deliveries),
            rows(table, summary)
        );
    }
    text
}

fn with_rates(note: &str, deliveries: f64) -> String {
    let (streams, members) = (STREAMS as f64, MEMBERS as f64);
    let rates = [
        ("{DELIVERIES}", deliveries),
        ("{EVENTS}", deliveries / streams),
        ("{TICKS}", deliveries / streams / TICK as f64),
        ("{MESSAGES}", deliveries / members),
    ];
    rates.iter().fold(note.to_owned(), |note, (name, rate)| {
        // A rate of a few a second would not be itself without the digit.
        let digits = usize::from(*rate < 20.0);
        note.replace(name, &grouped(*rate, digits))
    })
}

fn rows(table: &Table, summary: &Summary) -> String {
    let headings: Vec<&str> = table.columns.iter().map(|column| column.1).collect();
    let mut text = format!("| | {} |\n|---|", headings.join(" | "));
    text += &"---:|".repeat(headings.len());
    text.push('\n');
    for peer in summary.peers(table.workload) {
        text += &format!("| {} |", peer.name());
        for (figure, _, digits) in table.columns {
            let value = match *figure {
                TIMES_RAW => summary.times_raw(table.workload, peer),
                figure => summary.figure(table.workload, peer, figure),
            };
            let value = value.map(|value| grouped(value, *digits));
            text += &format!(" {} |", value.unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

/// A number with commas between the thousands.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if part.is_empty() {
        grouped
    } else {
        format!("{grouped}.{part}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_the_rates_of_the_run() {
        let note = "{EVENTS} events, {TICKS} ticks, {MESSAGES} messages: {DELIVERIES}";
        let rates = [
            (100_000.0, "200 events, 18.2 ticks, 333 messages: 100,000"),
            (25_000.0, "50 events, 4.5 ticks, 83 messages: 25,000"),
        ];
        for (deliveries, expected) in rates {
            assert_eq!(with_rates(note, deliveries), expected);
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(1_234_567.4, 0), "1,234,567");
        assert_eq!(grouped(123.456, 2), "123.46");
        assert_eq!(grouped(1_000.0, 1), "1,000.0");
        assert_eq!(grouped(-123.0, 0), "-123");
    }
}
