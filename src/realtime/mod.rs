//! The realtime kit. It imports nothing from a feature: copy the folder, and you have it.
//!
//! What it promises:
//!
//! - **Order.** Events reach a handler once each, in the order in which the server published them.
//! - **Resume.** After a reconnect a client gets exactly what it missed, or is told that this is impossible
//!   (`recovered: false`) and gets the state instead. Never a silent hole, never a double.
//! - **Liveness.** A connection that died without a word is noticed and replaced, on both sides.
//! - **Bounds.** A slow peer costs a bounded number of bytes. What happens then is chosen per topic, never by accident.
//! - **Leaving.** A server that stops tells every client when to come back, and leaves within its deadline.
//!
//! ```text
//!   server                                               browser
//!   ┌────────────┐ publish  ┌─────────┐   bytes    ┌─────────────────────┐  each event once
//!   │ feature    │─────────▶│ Topic   │───────────▶│ use_event_source    │────────────────▶ handler
//!   └────────────┘          └─────────┘  sse.rs    │   status.rs decides │
//!   ┌────────────┐ push     ┌─────────┐            ├─────────────────────┤
//!   │ feature    │─────────▶│OutQueue │◀──────────▶│ use_socket          │◀───────────────  send()
//!   └────────────┘          └─────────┘ socket.rs  └─────────────────────┘
//! ```
//!
//! The whole of it for a stream, on both sides:
//!
//! ```no_run
//! # use axum::response::Response;
//! # use leptos::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # use wirewise::realtime::{
//! #     client::{StatusLine, StreamEvent, use_event_source},
//! #     contract::StreamContract,
//! #     server::{Line, Realtime, caps::Place, sse::{EventStream, ResumeFrom}, topic::{Opening, Topic}},
//! # };
//! #[derive(Clone, PartialEq)]
//! struct Weather;
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! enum WeatherEvent {
//!     Report { celsius: f64 },
//! }
//!
//! impl StreamContract for Weather {
//!     const ROUTE: &'static str = "/api/weather/events";
//!     const EVENTS: &'static [&'static str] = &["report"];
//!     const STATES: &'static [&'static str] = &[];
//!     type Event = WeatherEvent;
//!     fn url(&self) -> String {
//!         Self::ROUTE.into()
//!     }
//! }
//!
//! // The server publishes,
//! fn measured(weather: &Topic<()>, celsius: f64) {
//!     weather.publish((), &WeatherEvent::Report { celsius });
//! }
//!
//! // and answers a stream; `place` is what the address's cap gave.
//! fn events(weather: &Topic<()>, realtime: &Realtime, after: ResumeFrom, line: Line, place: Place) -> Response {
//!     let (reader, recovered) = match weather.resume(after.0.as_ref(), |()| true) {
//!         Opening::Recovered { reader, replayed } => (reader, Some(replayed)),
//!         Opening::Fresh(filter) => (weather.read_from(weather.head().offset, filter), None),
//!     };
//!     let stream = EventStream { reader, recovered, state: vec![], session_ended: None, line };
//!     stream.respond(weather, realtime, "weather", place)
//! }
//!
//! // The browser takes each report once, in order.
//! #[component]
//! fn Thermometer() -> impl IntoView {
//!     let celsius = RwSignal::new(None);
//!     let connection = use_event_source(|| Some(Weather), None, move |event| {
//!         if let StreamEvent::Event(WeatherEvent::Report { celsius: now }) = event {
//!             celsius.set(Some(now));
//!         }
//!     });
//!     view! { <StatusLine connection transport="SSE"/> <p>{move || celsius.get()}</p> }
//! }
//! ```
//!
//! Reading order: [`position`], [`contract`], [`message`], [`backoff`], [`status`], [`sharing`], [`close`]; then one half,
//! `server/topic.rs` and `client/connection.rs` first.

pub mod backoff;
pub mod client;
pub mod close;
pub mod contract;
#[cfg(feature = "ssr")]
pub mod event_parser;
pub mod framing;
pub mod message;
pub mod position;
#[cfg(feature = "ssr")]
pub mod server;
pub mod sharing;
pub mod status;
