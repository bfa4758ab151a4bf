//! Wirewise: Server-Sent Events and WebSocket side by side, each where it is right.
//!
//! The modules stand on floors. A module imports freely within itself, and otherwise only from floors below its own;
//! `src/tests/floors.rs` checks this. Below all of them is [`realtime`], the kit: positions, contracts, the connection
//! state machine, a server half and a browser half. From low to high:
//!
//! - `background`: runs tasks under a supervisor, which starts them again when they panic.
//! - [`web`]: reads requests and answers refusals in plain HTTP.
//! - [`ui`]: gives every page its title, icons, theme, numbers and first state, and lets the browser take it over.
//! - `bus`: stores logs and latest values, and notifies their subscribers.
//! - [`session`]: identifies the user of a request and of a page.
//! - `guard`: refuses foreign origins, and limits requests, messages and connections.
//! - `routes`: defines what a feature gets from the server and what it hands over.
//! - [`inspector`]: shows the events and frames of a connection, and breaks it on purpose.
//! - The features, none of which knows another:
//!   - [`ticker`]: publishes prices over an event stream; the latest value of each symbol wins.
//!   - [`progress`]: reports long tasks over an event stream as a finite, ordered log.
//!   - [`chat`]: carries rooms over one socket as ordered, acknowledged logs.
//!   - [`collab`]: shares volatile pointers and a mergeable text (a CRDT) over one socket.
//!   - [`home`]: explains when to use which transport, with a live comparison of both.
//! - On one floor, so that neither imports the other:
//!   - `settings`: parses the flags, environment variables and defaults of the server.
//!   - [`app`]: renders the shell, the navigation and the routes of the pages.
//! - `server`: opens the state, builds the router, and runs until the server has shut down.

// The views of a page have one deeply nested type.
#![recursion_limit = "512"]

pub mod app;
#[cfg(feature = "ssr")]
pub mod background;
#[cfg(feature = "ssr")]
pub mod bus;
pub mod chat;
pub mod collab;
#[cfg(feature = "ssr")]
pub mod guard;
pub mod home;
pub mod inspector;
pub mod progress;
#[cfg(feature = "ssr")]
pub mod routes;
#[cfg(feature = "ssr")]
pub mod server;
pub mod session;
#[cfg(feature = "ssr")]
pub mod settings;
pub mod ticker;
pub mod ui;
pub mod web;

/// Hydrates the page that the server rendered.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    ui::hydration::start(app::App);
}
