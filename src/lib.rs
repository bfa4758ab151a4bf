//! Wirewise: Server-Sent Events and WebSocket side by side, each where it is right.
//!
//! Reading order:
//!
//! - [`realtime`]: the kit. Positions, contracts, the connection state machine; a server half and a browser half.
//! - [`ticker`]: prices over an event stream; the latest value wins.
//! - [`progress`]: long tasks over an event stream; a finite, ordered log.
//! - [`chat`]: rooms over a socket; an ordered log that acknowledges.
//! - [`collab`]: over one socket pointers, volatile, the newest place only; and a text that all write, a mergeable CRDT.
//! - `bus`: what is durable, and who is told of it.
//! - [`session`]: who is there.
//! - [`api`]: what plain requests get when they are refused, and how much anybody may do.
//! - [`inspector`]: the panel that shows the wire, and breaks it on purpose.
//! - [`home`], [`app`], [`mod@lazy_page`], [`first_state`]: the guide, the shell and the routes of the pages, loaded when they
//!   are opened, and what a page begins with.
//! - [`mod@hydration`]: how the browser takes over a page, and what the page says where it cannot.
//! - [`theme`], [`icons`]: light or dark, and what is drawn beside words.
//! - [`numbers`], [`text_rules`], [`bidi`]: numbers as people read them, which text shows anything at all, and text from right
//!   to left within a sentence.
//! - [`input_method`], [`mod@one_press`]: keys that belong to an input method, and double clicks.
//! - `settings`, `server`, `assets`, `text_nodes`: the binary's settings, its router and run loop, the files for the browser,
//!   and the form in which a page leaves.
//! - `background`, `health`, `output`: tasks that start again when they panic; what `/readyz` answers; the log, and its
//!   standard error, which may be gone.

// The views of a page are one deep type.
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

/// Takes over the page that the server rendered.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    ui::hydration::start(app::App);
}
