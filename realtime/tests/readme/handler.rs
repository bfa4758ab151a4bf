use leptos::prelude::*;
use realtime::prelude::*;

use super::weather::{Weather, WeatherEvent};

#[component]
pub fn Measurements() -> impl IntoView {
    let count = RwSignal::new(0);
    let measured = move |event| {
        if let StreamEvent::Event(WeatherEvent::Measured { .. }) = event {
            count.update(|count| *count += 1);
        }
    };
    let connection = use_event_source(|| Some(Weather), measured);
    view! { <StatusLine connection transport="SSE"/> <p>{count} " measurements"</p> }
}
