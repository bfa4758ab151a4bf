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
//! # What it needs
//!
//! - To be mounted as `crate`, in a crate whose feature `ssr` stands for the server half, with the dependencies that
//!   its files name, in the versions and with the features of this crate's `Cargo.toml`. `tokio-tungstenite` is of the version
//!   that axum has, or a socket that cannot be read on is closed without a code.
//! - [`server::listen::serve`] as the accept loop, and a layer that opens a [`server::Connection`] for each stream and socket, with the
//!   connection that the loop put into the request's extensions (here that of the inspector): a peer that does not read is reset
//!   by its connection, and a connection of HTTP/2 with an open connection is not idle.
//! - A [`server::Timing`]. This server's: a heartbeat every 15 s, a client's ping every 30 s, a Ping frame every 25 s, closed
//!   after 60 s without a word.
//! - The three addresses in `contract.rs`, and a [`client::Renewals`] as context where pages show whose session it is. Metrics, the first comment of a stream and a key of the tab's storage begin with
//!   `wirewise`.
//! - Styles for [`client::StatusLine`]: the classes `status`, `status-…` and `lost` (here `style/frame.css`).
//!
//! # A stream, on both sides
//!
//! ```no_run
//! # use std::sync::{Mutex, PoisonError};
//! # use axum::response::Response;
//! # use leptos::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # use crate::{
//! #     client::{StatusLine, StreamEvent, use_event_source},
//! #     contract::StreamContract,
//! #     server::{Connection, Realtime, frame::frame, permits::Permit, sse::{EventStream, ResumeFrom}, topic::{Opening, Topic}},
//! # };
//! #[derive(Clone, PartialEq)]
//! struct Weather;
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! enum WeatherEvent {
//!     /// What a client begins with that cannot be told what it missed.
//!     Now { celsius: f64 },
//!     Change { celsius: f64 },
//! }
//!
//! impl StreamContract for Weather {
//!     const ROUTE: &'static str = "/api/weather/events";
//!     const EVENTS: &'static [&'static str] = &["now", "change"];
//!     const STATES: &'static [&'static str] = &["now"];
//!     type Event = WeatherEvent;
//!     fn url(&self) -> String {
//!         Self::ROUTE.into()
//!     }
//! }
//!
//! struct Station {
//!     topic: Topic<()>,
//!     // Held while a change is published, so that a state and its position belong together.
//!     celsius: Mutex<f64>,
//! }
//!
//! impl Station {
//!     // The server publishes,
//!     fn measured(&self, celsius: f64) {
//!         let mut now = self.celsius.lock().unwrap_or_else(PoisonError::into_inner);
//!         *now = celsius;
//!         self.topic.publish((), &WeatherEvent::Change { celsius });
//!     }
//!
//!     // and answers a stream; `place` is what the address's cap gave.
//!     fn events(&self, realtime: &Realtime, after: ResumeFrom, connection: Connection, place: Permit) -> Response {
//!         let now = self.celsius.lock().unwrap_or_else(PoisonError::into_inner);
//!         let (reader, recovered, state) = match self.topic.resume(after.0.as_ref(), |()| true) {
//!             Opening::Recovered { reader, replayed } => (reader, Some(replayed), vec![]),
//!             Opening::Fresh(filter) => {
//!                 let head = self.topic.head();
//!                 let state = frame(Some(&head), &WeatherEvent::Now { celsius: *now });
//!                 (self.topic.read_from(head.offset, filter), None, vec![state])
//!             }
//!         };
//!         let stream = EventStream { reader, recovered, state, session_ended: None, connection };
//!         stream.respond(&self.topic, realtime, "weather", place)
//!     }
//! }
//!
//! // The browser takes each event once, in order.
//! #[component]
//! fn Thermometer() -> impl IntoView {
//!     let shown = RwSignal::new(None);
//!     let connection = use_event_source(|| Some(Weather), None, move |event| {
//!         if let StreamEvent::Event(WeatherEvent::Now { celsius } | WeatherEvent::Change { celsius }) = event {
//!             shown.set(Some(celsius));
//!         }
//!     });
//!     view! { <StatusLine connection transport="SSE"/> <p>{move || shown.get()}</p> }
//! }
//! ```
//!
//! # A socket, on both sides
//!
//! ```no_run
//! # use axum::{extract::ws::WebSocketUpgrade, http::HeaderMap, response::Response};
//! # use leptos::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # use crate::{
//! #     client::{SocketEvent, StatusLine, use_socket},
//! #     contract::SocketContract,
//! #     message::{Limits, SocketError},
//! #     server::{
//! #         Connection, Realtime, queue::OutQueue, socket::{self, SocketHandler, TEXT_BYTES}, upgrade,
//! #     },
//! # };
//! #[derive(Clone, PartialEq)]
//! struct Echo;
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! enum EchoCommand {
//!     Say { text: String },
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! enum EchoEvent {
//!     Said { text: String },
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct EchoWelcome {}
//!
//! impl SocketContract for Echo {
//!     const ROUTE: &'static str = "/api/echo/socket";
//!     const SUBPROTOCOL: &'static str = "echo.v1";
//!     const COMMANDS: &'static [&'static str] = &["say"];
//!     const EVENTS: &'static [&'static str] = &["said"];
//!     type Welcome = EchoWelcome;
//!     type Command = EchoCommand;
//!     type Event = EchoEvent;
//!     fn url(&self) -> String {
//!         Self::ROUTE.into()
//!     }
//! }
//!
//! struct Parrot {
//!     queue: OutQueue,
//! }
//!
//! impl SocketHandler for Parrot {
//!     type Contract = Echo;
//!
//!     async fn command(&mut self, command: EchoCommand) -> Result<(), SocketError> {
//!         let EchoCommand::Say { text } = command;
//!         self.queue.push_json(&EchoEvent::Said { text });
//!         Ok(())
//!     }
//!
//!     // Where messages are limited, this one counts too.
//!     fn admit(&mut self) -> Result<(), SocketError> {
//!         Ok(())
//!     }
//!
//!     fn connections(&self) -> usize {
//!         1
//!     }
//! }
//!
//! // The server greets, then hands over to the handler.
//! fn echo(
//!     upgrade: WebSocketUpgrade,
//!     headers: HeaderMap,
//!     realtime: Realtime,
//!     connection: Connection,
//! ) -> Response {
//!     let drain = realtime.drain().clone();
//!     let serve = async move |stream, _offer| {
//!         let queue = OutQueue::default();
//!         let limits = Limits { text_bytes: TEXT_BYTES, binary_bytes: 0, messages_per_second: 10 };
//!         queue.push_json(&realtime.welcome(&connection, 1, limits, EchoWelcome {}));
//!         let parrot = Parrot { queue: queue.clone() };
//!         socket::run(stream, queue, parrot, &realtime, &connection, std::future::pending()).await;
//!     };
//!     upgrade::accept::<Echo, _>(upgrade, &headers, 0, &drain, serve)
//! }
//!
//! // The browser says, and hears. What must arrive goes with `send_reliably` instead, which keeps it until it is acknowledged.
//! #[component]
//! fn Echoes() -> impl IntoView {
//!     let heard = RwSignal::new(String::new());
//!     let socket = use_socket(|| Some(Echo), move |event| {
//!         if let SocketEvent::Event(EchoEvent::Said { text }) = event {
//!             heard.set(text);
//!         }
//!     });
//!     let say = move |_| {
//!         socket.send(&EchoCommand::Say { text: "Hello".into() });
//!     };
//!     view! {
//!         <StatusLine connection=socket.connection transport="WebSocket"/>
//!         <button on:click=say>"Say hello"</button>
//!         <p>{heard}</p>
//!     }
//! }
//! ```
//!
//! Reading order: [`position`], [`contract`], [`message`], [`backoff`], [`status`], [`sharing`], [`close`]; then one half,
//! `server/topic.rs` and `client/connection.rs` first.

pub mod backoff;
pub mod client;
pub mod close;
pub mod contract;
pub mod event_parser;
pub mod id;
pub mod message;
pub mod position;
#[cfg(feature = "ssr")]
pub mod server;
pub mod sharing;
pub mod status;
pub mod transport;
