//! The inspector's panel: a bar at the foot of a live page that unfolds.

use std::time::Duration;

use gloo_timers::callback::Interval;
use leptos::prelude::*;
use send_wrapper::SendWrapper;

use super::{
    counters::{Counters, bytes_in_words},
    fault_run::FaultAction,
    faults::Faults,
    frames::Frames,
    handshakes::Handshakes,
    machine::MachineView,
    raw::RawBytes,
    watched::Watched,
};
use crate::{
    inspector::message::Allowed,
    ui::{erase::Erase, numbers::grouped},
};
use realtime::{
    client::{Connection, live_text},
    sharing::Role,
    transport::Transport,
};

/// The interval at which the unfolded panel is updated, however many frames are received; and that of the bar alone,
/// when it is folded.
const UNFOLDED_INTERVAL: Duration = Duration::from_millis(250);
const FOLDED_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq)]
enum Tab {
    Frames,
    Raw,
    Handshakes,
}

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
    describe: Option<fn(&[u8]) -> String>,
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
    let allowed = use_context::<Allowed>().unwrap_or_default();
    let actions = allowed.faults.then(|| FaultAction::all(history));
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
                <Show when=move || unfolded.get()>
                    <Unfolded watched describe actions=actions.clone()/>
                </Show>
            </div>
        </section>
    }
    // Erased to one plain type, because it is part of pages whose types are deep already.
    .erase()
}

#[component]
fn Unfolded(
    watched: Watched,
    describe: Option<fn(&[u8]) -> String>,
    /// `None`: this server does not allow faults.
    actions: Option<Vec<FaultAction>>,
) -> impl IntoView {
    let tab = RwSignal::new(Tab::Frames);
    let shown = move |of: Tab| {
        move || match of {
            Tab::Frames => view! { <Frames watched describe/> }.erase(),
            Tab::Raw => view! { <RawBytes connection=watched.connection/> }.erase(),
            Tab::Handshakes => view! { <Handshakes watched/> }.erase(),
        }
    };
    let choice = move |of: Tab, label: &'static str, name: &'static str| {
        view! {
            <button type="button" aria-pressed=move || (tab.get() == of).to_string() on:click=move |_| tab.set(of) data-test=format!("inspector-{name}")>
                {label}
            </button>
        }
    };
    let follows = move || watched.connection.role.get() == Role::Follower;
    view! {
        <div class="inspector-columns">
            <div class="inspector-main">
                <div class="tabs" role="group" aria-label="What is shown">
                    {choice(Tab::Frames, "Frames", "frames")}
                    {(watched.transport == Transport::Sse).then(|| choice(Tab::Raw, "Raw bytes", "raw"))}
                    {choice(Tab::Handshakes, "Handshakes", "handshakes")}
                </div>
                <div class="inspector-shown">
                    {move || shown(tab.get())()}
                </div>
            </div>
            <div class="inspector-side">
                <Show when=follows>
                    <p class="quiet" data-test="inspector-follows">"This tab has no stream of its own: what is shown, and what the server breaks, is the leading tab's. Only going offline is this tab's own."</p>
                </Show>
                <MachineView connection=watched.connection/>
                {actions.map(|actions| view! { <Faults watched actions/> })}
                <Counters watched/>
            </div>
        </div>
    }
}
