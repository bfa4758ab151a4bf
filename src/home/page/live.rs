//! The live comparison: the switches of what it shows. The measurement and the bytes are parts that are loaded when they
//! are shown: they need the kit, which the rest of the guide does not.

use leptos::prelude::*;

use super::{super::MEASURED, measurement::Measurement, raw::FirstBytes};
use crate::ui::{
    erase::Erase,
    lazy_page::{PartAwaited, lazy_part, part_when},
    served::Served,
};
use realtime::client::live_text;

/// Not a literal in the markup, because a literal would be parsed as an attribute.
const WITHOUT_SCRIPTS: &str =
    "<p class=\"notice\">Measuring needs JavaScript; everything else on this page does not.</p>";

lazy_part!(guide_live, load_measurement, measurement: fn(RwSignal<bool>) -> AnyView);
lazy_part!(guide_live, load_bytes, first_bytes: fn() -> AnyView);

fn measurement(running: RwSignal<bool>) -> AnyView {
    view! { <Measurement running/> }.erase()
}

fn first_bytes() -> AnyView {
    view! { <FirstBytes/> }.erase()
}

#[component]
pub fn LiveComparison() -> impl IntoView {
    // Before hydration a click would be lost.
    let ready = RwSignal::new(false);
    Effect::new(move |_| ready.set(true));
    let running = RwSignal::new(false);
    let raw = RwSignal::new(false);
    // Each start is a new measurement; 0: none yet.
    let starts = RwSignal::new(0_u32);
    let press = move |_| {
        if !running.get_untracked() {
            starts.update(|starts| *starts += 1);
        }
        running.update(|running| *running = !*running);
    };
    let bytes = part_when(move || raw.get(), load_bytes);
    let measuring = part_when(move || starts.get() > 0, load_measurement);
    let awaited = || view! { <PartAwaited/> }.erase();
    view! {
        <section aria-labelledby="live">
            <h2 id="live">"Measure both, here and now"</h2>
            <Served id=MEASURED/>
            <p>
                <button {..live_text(move || if running.get() { "Stop" } else { "Start" })} type="button" disabled=move || !ready.get() on:click=press data-test="compare-toggle"></button>
                " "
                <button type="button" class="small" disabled=move || !ready.get() aria-pressed=move || raw.get().to_string()
                    on:click=move |_| raw.update(|raw| *raw = !*raw) data-test="raw-toggle">"See the bytes"</button>
            </p>
            <noscript inner_html=WITHOUT_SCRIPTS></noscript>
            {move || raw.get().then(|| bytes.get().map_or_else(awaited, |first_bytes| first_bytes()))}
            {move || (starts.get() > 0).then(|| measuring.get().map_or_else(awaited, |measurement| measurement(running)))}
        </section>
    }
    .erase()
}
