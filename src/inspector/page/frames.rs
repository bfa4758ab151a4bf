//! The list of frames, newest first, which can be filtered, paused and copied, and the view of one whole frame.

use std::{sync::Arc, time::Duration};

use js_sys::Promise;
use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use super::{log::Entry, watched::Watched};
use crate::ui::erase::Erase;
use realtime::{
    client::{
        live_text,
        observer::{Direction, DropReason, Payload},
        text_content,
    },
    transport::Transport,
};

// Declared by hand, because another feature of web-sys would rebuild every crate that depends on it.
#[wasm_bindgen]
extern "C" {
    /// Fails on a page that was not loaded securely, which has no clipboard.
    #[wasm_bindgen(js_namespace = ["navigator", "clipboard"], js_name = writeText, catch)]
    fn write_text(text: &str) -> Result<Promise, JsValue>;
}

/// The maximum number of rows of the list while frames are received: one more than the panel is high. At a high rate all of
/// them are new at each refresh, and the page makes them in one task. A paused list shows everything that is kept.
const MAX_ROWS: usize = 16;
/// How long the notice of a copy is shown.
const COPY_NOTICE: Duration = Duration::from_secs(3);
/// The maximum number of characters of a frame in its row.
const MAX_CHARACTERS: usize = 160;

#[component]
pub(super) fn Frames(watched: Watched, describe: Option<fn(&[u8]) -> String>) -> impl IntoView {
    let kind = RwSignal::new(None::<String>);
    let paused = RwSignal::new(None::<Vec<Arc<Entry>>>);
    let chosen = RwSignal::new(None::<Arc<Entry>>);
    let rows = Memo::new(move |_| {
        let kind = kind.get();
        let wanted = |entry: &&Arc<Entry>| kind.as_ref().is_none_or(|kind| entry.kind == *kind);
        match paused.get() {
            Some(kept) => kept.iter().filter(wanted).cloned().collect(),
            None => watched.read(|log| log.newest(kind.as_deref(), MAX_ROWS)),
        }
    });
    let toggle = move |_| {
        paused.update(|paused| {
            *paused = match paused {
                Some(_) => None,
                None => Some(watched.log.with_value(|log| log.newest(None, usize::MAX))),
            }
        });
    };
    let clear = move |_| {
        watched.log.update_value(|log| log.clear());
        paused.update(|paused| *paused = paused.as_ref().map(|_| vec![]));
        chosen.set(None);
        watched.refresh();
    };
    let kinds = Memo::new(move |_| watched.read(|log| log.kinds()));
    let copied = RwSignal::new(None::<&'static str>);
    let copy = move |_| {
        let text = match chosen.get_untracked() {
            Some(entry) => entry.whole(),
            None => rows.with_untracked(|rows| in_lines(rows)),
        };
        spawn_local(async move {
            let written = match write_text(&text) {
                Ok(written) => JsFuture::from(written).await.is_ok(),
                Err(_) => false,
            };
            let words = if written {
                "Copied"
            } else {
                "This page has no clipboard"
            };
            let _ = copied.try_set(Some(words));
            set_timeout(
                move || {
                    let _ = copied.try_set(None);
                },
                COPY_NOTICE,
            );
        });
    };
    let encoding = match watched.transport {
        Transport::Sse => {
            "Encoded again from id, event and data: script sees no bytes of an event stream."
        }
        Transport::WebSocket => "Text as it came; binary decoded, and in hexadecimal.",
    };
    view! {
        <div class="frame-tools">
            <select aria-label="Filter by type" data-test="frame-filter"
                on:change=move |event| kind.set(Some(event_target_value(&event)).filter(|kind| !kind.is_empty()))>
                <option value="">"All types"</option>
                <For each=move || kinds.get() key=|(kind, _)| kind.clone() let((kind, _))>
                    <option value=kind.clone()>{kind.clone()}</option>
                </For>
            </select>
            <button {..live_text(move || if paused.read().is_some() { "Go on" } else { "Pause" })} type="button" class="small" aria-pressed=move || paused.read().is_some().to_string() on:click=toggle data-test="frame-pause"></button>
            <button type="button" class="small" on:click=clear data-test="frame-clear">"Clear"</button>
            <button {..live_text(move || if chosen.read().is_some() { "Copy this frame" } else { "Copy the list" })} type="button" class="small" on:click=copy data-test="frame-copy"></button>
            <span {..live_text(move || copied.get())} class="quiet" role="status" data-test="frame-copied"></span>
            <span class="quiet frame-note">{encoding}</span>
        </div>
        <ol class="frames" class:paused=move || paused.read().is_some() translate="no" data-test="frames" aria-label="Frames, the newest first">
            <For each=move || rows.get() key=|entry| (entry.number, entry.skipped) let(entry)>
                <Row entry chosen/>
            </For>
        </ol>
        <Show when=move || rows.read().is_empty()>
            <p class="empty">"Nothing yet. Every frame of this page's connection appears here."</p>
        </Show>
        {move || chosen.get().map(|entry| view! { <Whole entry describe chosen/> })}
    }
    .erase()
}

#[component]
fn Row(entry: Arc<Entry>, chosen: RwSignal<Option<Arc<Entry>>>) -> impl IntoView {
    let number = entry.number;
    let is_chosen = move || {
        let same = chosen.with(|chosen| {
            chosen
                .as_ref()
                .is_some_and(|chosen| chosen.number == number)
        });
        same.to_string()
    };
    let (direction, arrow) = match entry.direction {
        Direction::In => ("in", "↓"),
        Direction::Out => ("out", "↑"),
    };
    let skipped = entry.skipped.map(|why| match why {
        DropReason::Duplicate => "duplicate",
        DropReason::Undecoded => "not understood",
    });
    let preview: String = entry.line().chars().take(MAX_CHARACTERS).collect();
    let size = format!("{} + {} B", entry.size, entry.overhead);
    let (at, kind) = (clock(entry.at), entry.kind.clone());
    view! {
        <li>
            <button type="button" class="frame" data-direction=direction aria-pressed=is_chosen data-test="frame"
                on:click=move |_| chosen.update(|chosen| {
                    let same = chosen.as_ref().is_some_and(|chosen| chosen.number == number);
                    *chosen = (!same).then(|| entry.clone());
                })>
                <span class="frame-at">{at}</span>
                <span class="frame-arrow">{arrow}<span class="visually-hidden">{direction}</span></span>
                <span class="frame-kind" data-test="frame-kind">{kind}</span>
                {skipped.map(|why| view! { <span class="frame-skipped" data-test="frame-skipped">{why}</span> })}
                <span class="frame-text">{preview}</span>
                <span class="frame-size">{size}</span>
            </button>
        </li>
    }
    .erase()
}

#[component]
fn Whole(
    entry: Arc<Entry>,
    describe: Option<fn(&[u8]) -> String>,
    chosen: RwSignal<Option<Arc<Entry>>>,
) -> impl IntoView {
    let described = match (&entry.payload, describe) {
        (Payload::Binary(bytes), Some(describe)) => Some(describe(bytes)),
        _ => None,
    };
    let sizes = format!(
        "{} bytes, and {} that the transport adds",
        entry.size, entry.overhead
    );
    view! {
        <div class="frame-whole" data-test="frame-whole">
            <p class="frame-whole-head">
                <strong translate="no">{format!("#{} {}", entry.number, entry.kind)}</strong>
                <span {..text_content(sizes)} class="quiet"></span>
                <button type="button" class="small" on:click=move |_| chosen.set(None)>"Close"</button>
            </p>
            {described.map(|described| view! { <pre class="frame-described" translate="no" role="group" tabindex="0" aria-label="The frame in words" data-test="frame-described">{described}</pre> })}
            <pre translate="no" role="group" tabindex="0" aria-label="The whole frame">{entry.whole()}</pre>
        </div>
    }
}

fn in_lines(rows: &[Arc<Entry>]) -> String {
    let line = |entry: &Arc<Entry>| {
        let arrow = match entry.direction {
            Direction::In => "<",
            Direction::Out => ">",
        };
        format!(
            "{} {arrow} {} {}",
            clock(entry.at),
            entry.kind,
            entry.line()
        )
    };
    rows.iter().rev().map(line).collect::<Vec<_>>().join("\n")
}

/// The time of day in the user's time zone. Rows exist in the browser only.
fn clock(at: f64) -> String {
    let date = js_sys::Date::new(&at.into());
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        date.get_hours(),
        date.get_minutes(),
        date.get_seconds(),
        date.get_milliseconds()
    )
}
