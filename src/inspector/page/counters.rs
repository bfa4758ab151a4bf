//! Shows the counters, and the curve of the round trips.

use leptos::prelude::*;

use super::{log, watched::Watched};
use crate::ui::{
    erase::Erase,
    numbers::{fixed, grouped},
};
use realtime::{client::live_text, transport::Transport};

/// The size of the curve in units of its own; the style sheet sets the size on the page.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

#[component]
pub(super) fn Counters(watched: Watched) -> impl IntoView {
    let counters = Memo::new(move |_| watched.read(|log| log.counters.clone()));
    let row = move |name: &'static str, test: &'static str, value: fn(&log::Counters) -> String| {
        view! { <div><dt>{name}</dt><dd {..live_text(move || counters.with(value))} data-test=test translate="no"></dd></div> }
    };
    let heartbeats = match watched.transport {
        Transport::Sse => "Heartbeats",
        Transport::WebSocket => "Pongs",
    };
    let round_trip = move || match watched.transport {
        Transport::Sse => "one way".to_owned(),
        Transport::WebSocket => counters.with(|counters| {
            let newest = counters.round_trips.back();
            newest.map_or("–".to_owned(), |ms| format!("{} ms", fixed(*ms, 0)))
        }),
    };
    view! {
        <dl class="counters">
            {row("Frames in", "count-in", |counters| grouped(counters.frames_in))}
            {row("Frames out", "count-out", |counters| grouped(counters.frames_out))}
            {row("Payload", "count-payload", |counters| bytes_in_words(counters.payload_bytes))}
            {row("Overhead", "count-overhead", |counters| bytes_in_words(counters.overhead_bytes))}
            {row("Reconnects", "count-reconnects", |counters| grouped(counters.reconnects))}
            {row("Recovered", "count-recovered", |counters| grouped(counters.recovered))}
            {row(heartbeats, "count-heartbeats", |counters| grouped(counters.heartbeats))}
            // Over a socket the page itself drops duplicates, so there are none to count.
            {(watched.transport == Transport::Sse).then(|| row("Duplicates", "count-duplicates", |counters| grouped(counters.duplicates)))}
            {row("Not understood", "count-undecoded", |counters| grouped(counters.undecoded))}
            // Rare: only while the network takes less than the page sends.
            <Show when=move || counters.with(|counters| counters.unsent > 0)>
                {row("Uplink full", "count-unsent", |counters| grouped(counters.unsent))}
            </Show>
            {(watched.transport == Transport::WebSocket).then(|| row("Last close", "last-close", |counters| {
                counters.last_close.clone().unwrap_or_else(|| "–".to_owned())
            }))}
            <div>
                <dt>"Round trip"</dt>
                <dd data-test="count-round-trip">
                    <span {..live_text(round_trip)}></span>
                    <Show when=move || counters.with(|counters| counters.round_trips.len() > 1)>
                        <svg class="round-trips" viewBox=format!("0 0 {} {}", fixed(WIDTH, 0), fixed(HEIGHT, 0)) preserveAspectRatio="none" aria-hidden="true">
                            <polyline points=move || counters.with(|counters| curve(counters.round_trips.iter().copied().collect())) fill="none" stroke="currentColor" vector-effect="non-scaling-stroke"/>
                        </svg>
                    </Show>
                </dd>
            </div>
        </dl>
    }
    .erase()
}

/// Prints bytes in the unit that fits; a KiB is 1,024 bytes.
pub(super) fn bytes_in_words(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    match bytes as f64 {
        bytes if bytes < KIB => format!("{} B", fixed(bytes, 0)),
        bytes if bytes < KIB * KIB => format!("{} KiB", fixed(bytes / KIB, 1)),
        bytes => format!("{} MiB", fixed(bytes / KIB / KIB, 1)),
    }
}

/// Prints values as the points of a line over the whole width, with zero at the foot.
fn curve(values: Vec<f64>) -> String {
    let highest = values.iter().copied().fold(1.0, f64::max);
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let points = values.iter().enumerate().map(|(index, value)| {
        let (x, y) = (
            index as f64 * step,
            HEIGHT * (1.0 - value.max(0.0) / highest),
        );
        format!("{},{}", fixed(x, 1), fixed(y, 1))
    });
    points.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_the_unit_that_fits() {
        for (bytes, words) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (3 << 20, "3.0 MiB"),
        ] {
            assert_eq!(bytes_in_words(bytes), words);
        }
    }

    #[test]
    fn a_curve_fills_its_box() {
        assert_eq!(curve(vec![0.0, 5.0, 10.0]), "0.0,24.0 60.0,12.0 120.0,0.0");
        assert_eq!(curve(vec![]), "");
        // A clock that was set back makes no point outside the box.
        assert_eq!(curve(vec![-5.0, 4.0]), "0.0,24.0 120.0,0.0");
    }
}
