//! One measurement: how both transports deliver the same feed to this browser.

use gloo_timers::callback::Interval;
use leptos::{ev, prelude::*};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::VisibilityState;

use super::series::{AllSeries, Arrival, BARS_MS, Figures, Latency, Series};
use crate::{
    inspector::{
        counterpart::{CompareEvent, CompareEvents, CompareSocket},
        framing::{event_overhead, frame_overhead},
    },
    ui::{
        erase::Erase,
        numbers::{fixed, grouped, shortest},
    },
};
use realtime::{
    client::{
        Connection, SocketEvent, StatusLine, StreamEvent, live_text, use_event_source, use_socket,
    },
    position::Position,
    status::ConnectionStatus,
    strum::VariantNames,
};

/// The interval at which figures are updated, in milliseconds; numbers that change faster cannot be read.
const UPDATE_INTERVAL_MS: u32 = 200;

// Declared by hand, because another feature of web-sys would rebuild every crate that depends on it.
#[wasm_bindgen]
extern "C" {
    /// Milliseconds with fractions, of a clock that is never set.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn monotonic_ms() -> f64;
}

/// One measurement, with connections of its own.
#[component]
pub fn Measurement(running: RwSignal<bool>) -> impl IntoView {
    let visible = visible();
    let live = move || running.get() && visible.get();
    let all = StoredValue::new(AllSeries::default());
    let add =
        move |select: fn(&mut AllSeries) -> &mut Series, pulse: CompareEvent, framing: usize| {
            let CompareEvent::Pulse { sequence, sent_us } = pulse;
            let arrival = Arrival {
                sequence,
                sent_us,
                received_ms: monotonic_ms(),
                payload: json_bytes(&pulse),
                framing,
            };
            all.update_value(|all| select(all).add(arrival));
        };
    let mut epoch = None;
    let events = use_event_source(
        move || live().then_some(CompareEvents),
        move |event| match event {
            StreamEvent::Hello(hello) => {
                all.update_value(|all| all.events.greeted(hello.replayed));
                epoch = Some(hello.epoch);
            }
            StreamEvent::Event(pulse) => {
                let CompareEvent::Pulse { sequence, .. } = pulse;
                let id = epoch
                    .clone()
                    .map_or(0, |epoch| Position::new(epoch, sequence).to_string().len());
                let framing = event_overhead(CompareEvent::VARIANTS[0], json_bytes(&pulse), id);
                add(|all| &mut all.events, pulse, framing);
            }
            StreamEvent::Heartbeat { .. } | StreamEvent::Undecoded { .. } => {}
        },
    );
    let socket = use_socket(
        move || live().then_some(CompareSocket),
        move |event| {
            if let SocketEvent::Event(pulse) = event {
                let framing = frame_overhead(json_bytes(&pulse), false);
                add(|all| &mut all.socket, pulse, framing);
            }
        },
    )
    .connection;
    time_losses(events, all, |all| &mut all.events);
    time_losses(socket, all, |all| &mut all.socket);
    let [over_events, over_socket] = figures(running, all);
    let both_open = move || is_open(events) && is_open(socket);
    let drop_both = move |_| {
        events.faults().cut();
        socket.faults().cut();
    };
    view! {
        <div class="lanes" data-test="lanes">
            <SeriesPanel name="Server-Sent Events" transport="SSE" connection=events figures=over_events/>
            <SeriesPanel name="WebSocket" transport="WebSocket" connection=socket figures=over_socket/>
        </div>
        <p>
            <button type="button" class="small" disabled=move || !both_open() on:click=drop_both data-test="drop-both">"Drop both"</button>
        </p>
        <p class="quiet">
            "Latency is that of the last 500 messages, above the fastest delivery on either side, because the clocks of server and browser "
            "differ. What is replayed is late by nature and counts for none. Bytes are those of HTTP/1.1 and WebSocket, above TLS and TCP. "
            "After a drop the kit waits half a second to a second before it tries again, and longer each time, so that a thousand browsers "
            "do not come back at once."
        </p>
    }
    .erase()
}

#[component]
fn SeriesPanel(
    name: &'static str,
    transport: &'static str,
    connection: Connection,
    figures: RwSignal<Figures>,
) -> impl IntoView {
    let latency = move |of: fn(Latency) -> f64| {
        let latency = figures.with(|figures| figures.latency);
        milliseconds(latency.map(of), 1)
    };
    let bytes = move || {
        figures.with(|figures| format!("{} + {} around it", figures.payload, figures.framing))
    };
    let back = move || milliseconds(figures.with(|figures| figures.back_after_ms), 0);
    let count = move |of: fn(&Figures) -> u64| grouped(figures.with(of));
    view! {
        <article class="lane" data-test="lane" data-transport=transport>
            <h3>{name}</h3>
            <StatusLine connection transport/>
            <Histogram figures/>
            <dl>
                <div><dt>"Messages"</dt><dd {..live_text(move || count(|figures| figures.messages))} data-test="lane-messages" translate="no"></dd></div>
                <div><dt>"Half arrive within (p50)"</dt><dd {..live_text(move || latency(|latency| latency.p50_ms))} data-test="lane-p50" translate="no"></dd></div>
                <div><dt>"99 % arrive within (p99)"</dt><dd {..live_text(move || latency(|latency| latency.p99_ms))} data-test="lane-p99" translate="no"></dd></div>
                <div><dt>"Bytes a message"</dt><dd {..live_text(bytes)} data-test="lane-bytes"></dd></div>
                <div><dt>"Back after a drop in"</dt><dd {..live_text(back)} data-test="lane-back" translate="no"></dd></div>
                <div><dt>"Replayed"</dt><dd {..live_text(move || count(|figures| figures.replayed))} data-test="lane-replayed" translate="no"></dd></div>
                <div><dt>"Missed"</dt><dd {..live_text(move || count(|figures| figures.missed))} data-test="lane-missed" translate="no"></dd></div>
            </dl>
            <button type="button" class="small" disabled=move || !is_open(connection) on:click=move |_| connection.faults().cut() data-test="drop">
                "Drop the connection"
            </button>
        </article>
    }
    .erase()
}

/// The number of messages by their latency. Each bar stands for twice the time of the one before.
#[component]
fn Histogram(figures: RwSignal<Figures>) -> impl IntoView {
    let label = move || {
        figures.with(|figures| {
            let fast: usize = figures.bars[..2].iter().sum();
            let all: usize = figures.bars.iter().sum();
            format!("Of the last {all} messages {fast} arrived within 1 ms")
        })
    };
    let bar = move |index: usize| {
        let share = move || {
            figures.with(|figures| {
                let most = figures.bars.iter().max().copied().unwrap_or(0).max(1);
                100.0 * figures.bars[index] as f64 / most as f64
            })
        };
        view! { <rect x=index * 10 + 1 width="8" y=move || fixed(100.0 - share(), 2) height=move || fixed(share(), 2)></rect> }
    };
    let ends = [BARS_MS[0], BARS_MS[BARS_MS.len() - 1]];
    let [low, high] = ends.map(shortest);
    view! {
        <div class="histogram">
            <svg viewBox="0 0 90 100" preserveAspectRatio="none" role="img" aria-label=label>
                {(0..=BARS_MS.len()).map(bar).collect_view()}
            </svg>
            <p class="quiet" aria-hidden="true"><span>{format!("to {low} ms")}</span><span>{format!("over {high} ms")}</span></p>
        </div>
    }
}

/// The measured figures, updated at intervals while the measurement runs.
fn figures(running: RwSignal<bool>, all: StoredValue<AllSeries>) -> [RwSignal<Figures>; 2] {
    let shown = [(); 2].map(|()| RwSignal::new(Figures::default()));
    let show = move || {
        let Some(measured) = all.try_with_value(AllSeries::figures) else {
            return;
        };
        for (shown, measured) in shown.into_iter().zip(measured) {
            if shown.with_untracked(|shown| *shown != measured) {
                shown.set(measured);
            }
        }
    };
    Effect::new(move |_| {
        show();
        let ticking = running
            .get()
            .then(|| SendWrapper::new(Interval::new(UPDATE_INTERVAL_MS, show)));
        // Dropped when the effect runs again or the component is disposed, which stops the interval.
        on_cleanup(move || drop(ticking));
    });
    shown
}

/// Reports each loss of the connection, whatever its cause, so that the time to the next message is measured.
fn time_losses(
    connection: Connection,
    all: StoredValue<AllSeries>,
    select: fn(&mut AllSeries) -> &mut Series,
) {
    Effect::new(move |_| {
        let status = connection.status.get();
        if matches!(
            status,
            ConnectionStatus::Waiting { .. } | ConnectionStatus::Offline { .. }
        ) {
            all.update_value(|all| select(all).lost(monotonic_ms()));
        }
    });
}

/// Whether the page is visible. A hidden page would measure its own throttling.
fn visible() -> RwSignal<bool> {
    let visible = RwSignal::new(true);
    Effect::new(move |_| {
        let changed = window_event_listener(ev::visibilitychange, move |_| {
            visible.set(document().visibility_state() == VisibilityState::Visible);
        });
        on_cleanup(move || changed.remove());
    });
    visible
}

fn is_open(connection: Connection) -> bool {
    matches!(connection.status.get(), ConnectionStatus::Open)
}

/// The length of the JSON as the server encoded it: with the same code from the same type.
fn json_bytes(pulse: &CompareEvent) -> usize {
    serde_json::to_string(pulse).map_or(0, |json| json.len())
}

fn milliseconds(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| {
        format!("{} ms", fixed(value, decimals))
    })
}
