//! The inspector's panel: a bar at the foot of a live page that unfolds. What unfolds is loaded then.

use std::time::Duration;

use gloo_timers::callback::Interval;
use leptos::prelude::*;
use send_wrapper::SendWrapper;

use super::{
    counters::bytes_in_words,
    unfolded::{Describe, unfolded},
    watched::Watched,
};
use crate::ui::{
    erase::Erase,
    lazy_page::{PartAwaited, lazy_part, part_when},
    numbers::grouped,
};
use realtime::{
    client::{Connection, live_text},
    transport::Transport,
};

/// The interval at which the unfolded panel is updated, however many frames are received; and that of the bar alone,
/// when it is folded.
const UNFOLDED_INTERVAL: Duration = Duration::from_millis(250);
const FOLDED_INTERVAL: Duration = Duration::from_secs(1);

// Most visits never unfold it.
lazy_part!(inspector, load_body, unfolded: fn(Watched, Option<Describe>, bool) -> AnyView);

/// The panel for a page's connection, folded at first.
#[component]
pub fn Inspector(
    connection: Connection,
    transport: Transport,
    /// Whether a client of this endpoint resumes from a position.
    #[prop(default = true)]
    history: bool,
    /// Describes a binary frame in words.
    #[prop(optional)]
    describe: Option<Describe>,
) -> impl IntoView {
    let watched = Watched::new(connection, transport);
    let unfolded = RwSignal::new(false);
    Effect::new(move |_| watched.watch());
    Effect::new(move |_| {
        let every = if unfolded.get() {
            UNFOLDED_INTERVAL
        } else {
            FOLDED_INTERVAL
        };
        watched.refresh();
        let interval = SendWrapper::new(Interval::new(every.as_millis() as u32, move || {
            watched.refresh()
        }));
        // Dropped when the effect runs again or the panel is disposed, which stops the interval.
        on_cleanup(move || drop(interval));
    });
    let body = part_when(move || unfolded.get(), load_body);
    let summary = move || {
        watched.read(|log| {
            let counters = &log.counters;
            let bytes = bytes_in_words(counters.payload_bytes + counters.overhead_bytes);
            format!(
                "{} in · {} out · {bytes}",
                grouped(counters.frames_in),
                grouped(counters.frames_out)
            )
        })
    };
    view! {
        <section class="inspector" aria-label="Inspector" class:unfolded=unfolded data-test="inspector">
            <div class="inspector-bar">
                <button type="button" class="inspector-toggle" aria-expanded=move || unfolded.get().to_string() aria-controls="inspector-body"
                    on:click=move |_| unfolded.update(|unfolded| *unfolded = !*unfolded) data-test="inspector-toggle">
                    <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 6l4 4 4-4" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>
                    "Inspector"
                </button>
                <span {..live_text(summary)} class="inspector-summary" data-test="inspector-summary"></span>
            </div>
            <div id="inspector-body">
                {move || unfolded.get().then(|| match body.get() {
                    Some(body) => body(watched, describe, history),
                    None => view! { <PartAwaited/> }.erase(),
                })}
            </div>
        </section>
    }
    // Erased to one plain type, because it is part of pages whose types are deep already.
    .erase()
}
