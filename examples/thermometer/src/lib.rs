//! Both halves: the contracts of one stream and one channel, and the page that shows them.

use leptos::{ev::SubmitEvent, html::Input, prelude::*};
use realtime::{channel::*, client::live_text, prelude::*};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(crate = "realtime::strum", serialize_all = "snake_case")]
pub enum Reading {
    Measured { celsius: f64 },
}

#[derive(Clone, PartialEq)]
pub struct Readings;
impl StreamContract for Readings {
    const NAME: &'static str = "readings";
    const ROUTE: &'static str = "/api/readings";
    type Event = Reading;
}

#[derive(Clone, PartialEq)]
pub struct Notes;
impl SocketContract for Notes {
    const NAME: &'static str = "notes";
    const ROUTE: &'static str = "/api/notes";
    const SUBPROTOCOL: &'static str = "notes.v1";
    type Welcome = ();
    type Command = ChannelCommand<String>;
    type Event = ChannelEvent<String>;
}

#[component]
pub fn App() -> impl IntoView {
    let celsius = RwSignal::new("…".to_owned());
    let measured = move |event| {
        if let StreamEvent::Event(Reading::Measured { celsius: newest }) = event {
            celsius.set(format!("{newest:.1} °C"));
        }
    };
    let stream = use_event_source(|| Some(Readings), measured);
    let (notes, begun) = (RwSignal::new(vec![]), RwSignal::new(0));
    let received = move |update| match update {
        // At first, and after a restart of the server, which has another log.
        ChannelUpdate::Joined { recovered, .. } if !recovered => {
            notes.write().clear();
            *begun.write() += 1;
        }
        ChannelUpdate::Event(ChannelEvent::Message { entry, .. }) => notes.write().push(entry),
        _ => {}
    };
    let notebook = use_channel(|| Some(Notes), || Notes::NAME.to_owned(), received);
    let anew = move || (begun.get() > 1).then_some("The server restarted: a new notebook.");
    // A note stays in the outbox until the server has stored it, also while there is no server.
    let unsent = move || format!("{} unsent", notebook.socket.outbox.read().waiting());
    let input = NodeRef::<Input>::new();
    let write = move |event: SubmitEvent| {
        event.prevent_default();
        let Some(input) = input.get() else { return };
        if notebook.send(input.value()).is_ok() {
            input.set_value("");
        }
    };
    view! {
        <h1>"Thermometer"</h1> <p class="celsius" data-test="celsius" {..live_text(move || celsius.get())}></p>
        <StatusLine connection=stream transport="SSE"/>
        <h2>"Notes"</h2>
        <form on:submit=write><input node_ref=input aria-label="Note" required maxlength="200"/><button>"Write"</button></form>
        <StatusLine connection=notebook.socket.connection transport="WebSocket"><span {..live_text(unsent)}></span></StatusLine>
        <p role="status" {..live_text(anew)}></p>
        // The key is the id, because the offsets of another log begin at 1 again.
        <ul><For each=move || notes.get() key=|note| note.id.value() let(note)><li dir="auto">{note.message}</li></For></ul>
    }
}

#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    leptos::mount::hydrate_body(App);
}
