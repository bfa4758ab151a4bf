//! What the inspector's panel shows when it is unfolded.

use leptos::prelude::*;

use super::{
    counters::Counters, fault_run::FaultAction, faults::Faults, frames::Frames,
    handshakes::Handshakes, machine::MachineView, raw::RawBytes, watched::Watched,
};
use crate::{inspector::message::Allowed, ui::erase::Erase};
use realtime::{sharing::Role, transport::Transport};

/// Describes a binary frame in words.
pub(super) type Describe = fn(&[u8]) -> String;

#[derive(Clone, Copy, PartialEq)]
enum Tab {
    Frames,
    Raw,
    Handshakes,
}

/// What the panel shows when it is unfolded. `history`: whether a client of this endpoint resumes from a position.
pub(super) fn unfolded(watched: Watched, describe: Option<Describe>, history: bool) -> AnyView {
    let allowed = use_context::<Allowed>().unwrap_or_default();
    let actions = allowed.faults.then(|| FaultAction::all(history));
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
    .erase()
}
