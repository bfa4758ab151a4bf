//! The realtime kit: event streams and sockets between an axum server and a Leptos application.
//!
//! It is the package `wirewise-realtime` with the library `realtime`, and it depends on nothing of the application that uses
//! it.
//!
//! It guarantees:
//!
//! - **Order.** A handler receives each event once, in the order in which the server published them.
//! - **Resume.** After a reconnect a client receives exactly the events that it missed. If that is impossible, the server says
//!   so (`recovered: false`) and sends the state instead. No event is lost silently, and none is delivered twice.
//! - **Liveness.** Both sides detect a connection that died silently; the client replaces it.
//! - **Bounds.** A slow peer costs a bounded number of bytes. Each topic defines what happens beyond the bound.
//! - **Drain.** A server that shuts down tells every client when to reconnect, and ends within its deadline.
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
//! # Feature flags
//!
//! ```toml
//! [dependencies]
//! realtime = { package = "wirewise-realtime", path = "realtime" }
//!
//! [features]
//! hydrate = ["leptos/hydrate", "realtime/hydrate"]
//! ssr = ["leptos/ssr", "realtime/ssr"]
//! ```
//!
//! - `ssr` compiles the server half, [`server`], and turns on `leptos/ssr`.
//! - `hydrate` turns on `leptos/hydrate` and nothing else. The browser half, [`client`], needs no flag: it compiles for every
//!   target and runs only inside effects.
//!
//! # What the application provides
//!
//! - [`server::listen::serve`] as its accept loop, and a layer that opens a [`server::Connection`] in a
//!   [`server::ConnectionRegistry`] for each stream and socket, with the [`server::listen::ConnectionHandle`] that the loop put
//!   into the request's extensions (here `src/inspector/server/mod.rs`). Through the handle a socket whose peer does not read is
//!   reset, and an HTTP/2 connection with an open stream or socket does not count as idle.
//! - A [`server::Realtime`], made of a [`server::Timing`] and a [`server::Drain`]. This server's timing: a heartbeat every 15 s,
//!   a client's ping every 30 s, a Ping frame every 25 s, and a close after 60 s without a frame.
//! - A [`client::ClientConfig`] as context above all connections: how to renew a session, and the address of a small resource
//!   that the server answers at once (here `src/app.rs`). Its defaults renew and flush nothing.
//! - The look of [`client::StatusLine`], which is readable without a stylesheet: [`client::STATUS_LINE_CSS`], or rules of its
//!   own for the classes `status`, `status-…` and `lost` (here `style/frame.css`). Its words can be replaced:
//!   [`client::StatusWords`].
//!
//! The kit depends on `tokio-tungstenite` in the version that axum uses. When axum changes that version, the kit's has to
//! follow; otherwise a socket that cannot be read any further is closed without a code.
//!
//! Metrics and the first comment of a stream begin with `wirewise`.
//!
//! # A stream, on both sides
//!
//! ```no_run
//! # use std::sync::{Mutex, PoisonError};
//! # use axum::response::Response;
//! # use leptos::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # use realtime::{
//! #     client::{StatusLine, StreamEvent, use_event_source},
//! #     contract::StreamContract,
//! #     server::{Connection, Realtime, frame::frame, permits::Permit, sse::{EventStream, ResumeFrom}, topic::{Opening, Topic}},
//! #     strum::VariantNames,
//! # };
//! #[derive(Clone, PartialEq)]
//! struct Weather;
//!
//! #[derive(Serialize, Deserialize, VariantNames)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
//! enum WeatherEvent {
//!     /// The state, for a client whose position cannot be resumed.
//!     Now { celsius: f64 },
//!     Change { celsius: f64 },
//! }
//!
//! impl StreamContract for Weather {
//!     const ROUTE: &'static str = "/api/weather/events";
//!     type Event = WeatherEvent;
//!     fn url(&self) -> String {
//!         Self::ROUTE.into()
//!     }
//!     fn is_state(event: &WeatherEvent) -> bool {
//!         matches!(event, WeatherEvent::Now { .. })
//!     }
//! }
//!
//! struct Station {
//!     topic: Topic<()>,
//!     // Locked while a change is published, so that a state always matches its position.
//!     celsius: Mutex<f64>,
//! }
//!
//! impl Station {
//!     // The server publishes a change.
//!     fn measured(&self, celsius: f64) {
//!         let mut now = self.celsius.lock().unwrap_or_else(PoisonError::into_inner);
//!         *now = celsius;
//!         self.topic.publish((), &WeatherEvent::Change { celsius });
//!     }
//!
//!     // The server answers a request for the stream. `permit` counts against the limit of the client's address.
//!     fn events(&self, realtime: &Realtime, after: ResumeFrom, connection: Connection, permit: Permit) -> Response {
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
//!         stream.respond(&self.topic, realtime, "weather", permit)
//!     }
//! }
//!
//! // The browser receives each event once, in order.
//! #[component]
//! fn Thermometer() -> impl IntoView {
//!     let shown = RwSignal::new(None);
//!     let connection = use_event_source(|| Some(Weather), move |event| {
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
//! # use realtime::{
//! #     client::{SocketEvent, StatusLine, use_socket},
//! #     contract::SocketContract,
//! #     message::{Limits, SocketError},
//! #     server::{
//! #         Connection, Realtime, queue::OutQueue, socket::{self, SocketHandler, TEXT_BYTES}, upgrade,
//! #     },
//! #     strum::VariantNames,
//! # };
//! #[derive(Clone, PartialEq)]
//! struct Echo;
//!
//! #[derive(Clone, Serialize, Deserialize, VariantNames)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
//! enum EchoCommand {
//!     Say { text: String },
//! }
//!
//! #[derive(Serialize, Deserialize, VariantNames)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
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
//!     // Called for a message that could not be decoded. Where messages are limited, it counts too.
//!     fn admit(&mut self) -> Result<(), SocketError> {
//!         Ok(())
//!     }
//!
//!     fn connections(&self) -> usize {
//!         1
//!     }
//! }
//!
//! // The server queues its greeting, then runs the handler.
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
//! // The browser sends commands and receives events. `send` may drop a command; `send_reliably` keeps one until it is
//! // acknowledged.
//! #[component]
//! fn Echoes() -> impl IntoView {
//!     let answer = RwSignal::new(String::new());
//!     let socket = use_socket(|| Some(Echo), move |event| {
//!         if let SocketEvent::Event(EchoEvent::Said { text }) = event {
//!             answer.set(text);
//!         }
//!     });
//!     let say = move |_| {
//!         socket.send(&EchoCommand::Say { text: "Hello".into() });
//!     };
//!     view! {
//!         <StatusLine connection=socket.connection transport="WebSocket"/>
//!         <button on:click=say>"Say hello"</button>
//!         <p>{answer}</p>
//!     }
//! }
//! ```
//!
//! # Credentials for each attempt
//!
//! A browser cannot set headers on an event stream or a socket. Where cookies do not do, for instance towards another host,
//! the address carries a credential that is valid once:
//!
//! ```no_run
//! # use realtime::client::{Credential, StreamOptions};
//! # async fn fetch_ticket() -> Result<String, std::io::Error> {
//! #     Ok(String::new())
//! # }
//! let options = StreamOptions::default().credentials(async || {
//!     let value = fetch_ticket().await?;
//!     let name = "ticket".into();
//!     Ok::<_, std::io::Error>(Credential::Query { name, value })
//! });
//! ```
//!
//! # Reading order
//!
//! [`position`], [`contract`], [`message`], [`backoff`], [`status`], [`sharing`], [`close`]. Then one half, beginning with
//! `server/topic.rs` or `client/connection.rs`.

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

/// Derives the names of messages: `#[derive(VariantNames)]` with `#[strum(crate = "realtime::strum")]`. An application that uses
/// this crate has the version that the contracts need.
pub use strum;
