//! Draws the state machine: its states, the transitions between them, and the present state.

use leptos::prelude::*;

use super::fault_run::status_name;
use crate::ui::erase::Erase;
use realtime::{
    client::{Connection, countdown, live_text},
    status::ConnectionStatus,
};

/// The width and height of a state's box.
const BOX: (u32, u32) = (88, 30);

/// The states, and the top left corners of their boxes.
const STATES: [(&str, u32, u32); 6] = [
    ("Closed", 4, 10),
    ("Connecting", 116, 10),
    ("Open", 228, 10),
    ("Stopped", 4, 84),
    ("Waiting", 116, 84),
    ("Offline", 228, 84),
];

/// The transitions as SVG paths, each with its cause.
const TRANSITIONS: [&str; 12] = [
    // Closed, Connecting, Open: wanted, greeted.
    "M92 25H113",
    "M204 25H225",
    // Connecting and Waiting: failed, and the delay is over.
    "M148 40V81",
    "M172 84V43",
    // Open to Waiting: lost.
    "M244 40L206 84",
    // Connecting to Stopped: refused for good.
    "M124 40L82 81",
    // Waiting and Offline: no network, and back to Connecting.
    "M204 99H225",
    "M256 84L188 41",
    // Open to Offline: lost without a network.
    "M284 40V81",
    // Stopped to Connecting: tried once more by hand.
    "M56 84L114 34",
    // Open to Closed: a stream that has an end is there.
    "M272 10V-4H48V7",
    // Open to Stopped: closed for good.
    "M232 40L95 90",
];

#[component]
pub(super) fn MachineView(connection: Connection) -> impl IntoView {
    let seconds = countdown(connection);
    let now = Memo::new(move |_| connection.status.with(status_name));
    let words = move || match connection.status.get() {
        ConnectionStatus::Waiting { reason, .. } => {
            format!("Waiting, {} s left: {reason}.", seconds.get())
        }
        ConnectionStatus::Offline { .. } => {
            format!(
                "Offline, says the browser; an attempt in {} s.",
                seconds.get()
            )
        }
        ConnectionStatus::Stopped { reason } => format!("Stopped. {reason}"),
        ConnectionStatus::Connecting { attempt } if attempt > 0 => {
            format!("Connecting, attempt {}.", attempt + 1)
        }
        status => format!("{}.", status_name(&status)),
    };
    let (width, height) = BOX;
    let states = STATES.map(|(name, x, y)| {
        let lit = move || now.get() == name;
        let words = move || match matches!(name, "Waiting" | "Offline") && lit() {
            true => format!("{name} {} s", seconds.get()),
            false => name.to_owned(),
        };
        view! {
            <g class="state" class:lit=lit data-state=name>
                <rect x=x y=y width=width height=height rx="6"/>
                <text {..live_text(words)} x={x + width / 2} y={y + height / 2 + 4}></text>
            </g>
        }
    });
    let transitions = TRANSITIONS
        .map(|transition| view! { <path d=transition marker-end="url(#inspector-arrow)"/> });
    view! {
        <figure class="machine" data-test="machine" data-state=now>
            <svg viewBox="0 -8 320 132" role="img" aria-label=move || format!("State machine: {}", now.get())>
                <defs>
                    <marker id="inspector-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto-start-reverse">
                        <path d="M0 0L8 4L0 8z"/>
                    </marker>
                </defs>
                <g class="ways">{transitions}</g>
                {states}
            </svg>
            <figcaption {..live_text(words)} data-test="machine-words"></figcaption>
        </figure>
    }
    .erase()
}
