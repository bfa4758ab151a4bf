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
//! ```ignore
//! #[derive(Clone, PartialEq)]
//! struct Weather;
//!
//! impl StreamContract for Weather {
//!     const ROUTE: &'static str = "/api/weather/events";
//!     const EVENTS: &'static [&'static str] = &["report"];
//!     const STATES: &'static [&'static str] = &[];
//!     type Event = WeatherEvent; // #[serde(tag = "type", rename_all = "snake_case")] enum
//!     fn url(&self) -> String { Self::ROUTE.into() }
//! }
//!
//! // server
//! topic.publish((), &WeatherEvent::Report { celsius: 21.5 });
//! async fn events(State(realtime): State<Realtime>, resume: ResumeFrom) -> Response {
//!     let opening = topic.resume(resume.position(), |_| true);
//!     realtime.stream(&topic, opening, vec![])
//! }
//!
//! // browser
//! let connection = use_event_source(|| Some(Weather), None, move |event| match event { /* … */ });
//! view! { <StatusLine connection/> }
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
