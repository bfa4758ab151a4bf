//! Shows a race as bars, and below them a table with the numbers.

use leptos::prelude::*;

use crate::{
    progress::result::{RaceMode, RaceResult, RaceRow, Spread},
    ui::numbers::{fixed, grouped},
};
use realtime::transport::Transport;

/// A figure that is compared: its name, its unit, and how it is read.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    /// Whether more is better.
    more: bool,
    of: fn(&RaceRow) -> f64,
}

const FIGURES: [Figure; 6] = [
    Figure {
        name: "Speed",
        unit: "messages/s",
        more: true,
        of: |row| row.messages_per_second,
    },
    Figure {
        name: "Latency, half within",
        unit: "µs",
        more: false,
        of: |row| row.latency_p50_us as f64,
    },
    Figure {
        name: "Latency, 99 % within",
        unit: "µs",
        more: false,
        of: |row| row.latency_p99_us as f64,
    },
    Figure {
        name: "Latency, worst",
        unit: "µs",
        more: false,
        of: |row| row.latency_max_us as f64,
    },
    Figure {
        name: "Overhead",
        unit: "bytes/message",
        more: false,
        of: |row| row.overhead_bytes,
    },
    Figure {
        name: "CPU, both ends",
        unit: "µs/message",
        more: false,
        of: |row| row.cpu_us,
    },
];

const TRANSPORTS: [Transport; 2] = [Transport::Sse, Transport::WebSocket];

#[component]
pub(super) fn RaceChart(race: RaceResult) -> impl IntoView {
    let setting = match race.rate {
        Some(rate) => format!("paced at {} messages/s", grouped(rate)),
        None => format!("in bursts with at most {} under way", grouped(race.window)),
    };
    let caption = format!(
        "{} messages of {} bytes, {} rounds, {setting}. Bars are medians; the thin line spans all rounds.",
        grouped(race.messages),
        grouped(race.size),
        race.rounds
    );
    let bars = FIGURES.map(|figure| {
        let spreads = TRANSPORTS.map(|transport| race.spread(transport, figure.of));
        view! { <Bars figure spreads/> }
    });
    // In a paced race the speed is given, so it is not compared.
    let paced = race.mode == RaceMode::Paced;
    view! {
        <figure class="race" data-test="race" data-complete=race.is_complete().to_string()>
            <figcaption>{caption}</figcaption>
            {bars.into_iter().skip(usize::from(paced)).collect_view()}
        </figure>
        <RaceTable race/>
    }
}

#[component]
fn Bars(figure: Figure, spreads: [Option<Spread>; 2]) -> impl IntoView {
    let most = spreads
        .iter()
        .flatten()
        .map(|spread| spread.most)
        .fold(0.0, f64::max);
    let better = match spreads {
        [Some(one), Some(two)] if one.median != two.median => {
            Some(TRANSPORTS[usize::from((two.median > one.median) == figure.more)])
        }
        _ => None,
    };
    let bar = move |(transport, spread): (Transport, Option<Spread>)| {
        let spread = spread?;
        let percent = |value: f64| {
            let percent = 100.0 * value.max(0.0) / most.max(f64::MIN_POSITIVE);
            format!("{}%", fixed(percent, 2))
        };
        let words = format!("{} {}", number(spread.median), figure.unit);
        let label = format!("{}: {words}", transport.name());
        Some(view! {
            <div class="bar" data-transport=transport.name() data-better=(better == Some(transport)).then_some("")>
                <span>{transport.name()}</span>
                <svg role="img" aria-label=label>
                    <rect class="track" width="100%" height="100%"></rect>
                    <rect class="median" width=percent(spread.median) height="100%"></rect>
                    <line class="span" x1=percent(spread.least) x2=percent(spread.most) y1="50%" y2="50%"></line>
                </svg>
                <span class="number">{words}</span>
            </div>
        })
    };
    let bars = TRANSPORTS
        .into_iter()
        .zip(spreads)
        .filter_map(bar)
        .collect_view();
    let direction = if figure.more {
        "more is better"
    } else {
        "less is better"
    };
    view! {
        <div class="figure">
            <h3>{figure.name} " " <small>{direction}</small></h3>
            {bars}
        </div>
    }
}

#[component]
fn RaceTable(race: RaceResult) -> impl IntoView {
    let messages = race.messages;
    let row = |row: &RaceRow| {
        let cells =
            FIGURES.map(|figure| view! { <td class="number">{number((figure.of)(row))}</td> });
        let whole = row.in_order && row.received == messages;
        view! {
            <tr data-test="race-row">
                <th scope="row">{row.round}</th>
                <td>{row.transport.name()}{row.first.then_some(", first")}</td>
                <td class="number">{fixed(row.elapsed_ms, 1)}</td>
                {cells.collect_view()}
                <td>{if whole { "all, in order" } else { "not all, or out of order" }}</td>
            </tr>
        }
    };
    let rows = race.rows.iter().map(row).collect_view();
    let heads = FIGURES.map(
        |figure| view! { <th scope="col" class="number">{figure.name} " (" {figure.unit} ")"</th> },
    );
    view! {
        <details class="rounds" open=true>
            <summary>"Every round as it was measured"</summary>
            <div class="table-wrap" tabindex="0" role="region" aria-label="Every round">
                <table>
                    <thead><tr>
                        <th scope="col">"Round"</th><th scope="col">"Transport"</th><th scope="col" class="number">"Elapsed (ms)"</th>
                        {heads.collect_view()}
                        <th scope="col">"Arrived"</th>
                    </tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            <p class="quiet">{format!("CPU is that of the whole process, both ends of the connection, less the {} % of a core it takes when idle. Latency is from the message being made to its being read. Bytes are counted at the client's socket after the handshake.", fixed(race.idle_cpu_percent, 1))}</p>
        </details>
    }
}

/// Prints a figure with three digits, which are enough to compare.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => grouped(value.max(0.0).round() as u64),
        size if size >= 10.0 => fixed(value, 1),
        _ => fixed(value, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        for (value, text) in [
            (123_456.7, "123,457"),
            (99.94, "99.9"),
            (7.12345, "7.12"),
            (0.0, "0.00"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
