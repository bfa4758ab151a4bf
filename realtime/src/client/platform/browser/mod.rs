//! The browser itself.

mod event_source;
mod page;
mod requests;
mod web_socket;

use futures::future::LocalBoxFuture;
use gloo_timers::callback::Timeout;
use leptos::{prelude::Effect, task::spawn_local};

pub use self::{
    event_source::EventSource,
    page::{Listeners, is_online, is_visible, keep, kept, listen, locks, socket_address},
    requests::{flush_pooled_connections, why_refused},
    web_socket::WebSocket,
};
pub use crate::client::probe::reload_once;
pub use gloo_timers::callback::Interval;

/// A timer. Dropping it cancels it.
pub struct Timer(#[expect(dead_code, reason = "it is kept to be dropped")] Timeout);

impl Timer {
    pub fn new(wait_ms: u32, callback: impl FnOnce() + 'static) -> Self {
        Self(Timeout::new(wait_ms, callback))
    }
}

/// Calls back once, whatever becomes of the caller.
pub fn after(wait_ms: u32, callback: impl FnOnce() + 'static) {
    Timeout::new(wait_ms, callback).forget();
}

/// The current time in Unix milliseconds. The monotonic clock would not do: it stops while a laptop sleeps, but connections
/// time out nevertheless.
pub fn now() -> f64 {
    js_sys::Date::now()
}

/// A random number from 0.0 up to but not including 1.0.
pub fn random() -> f64 {
    js_sys::Math::random()
}

/// Runs a future to its end.
pub fn spawn(future: LocalBoxFuture<'static, ()>) {
    spawn_local(future);
}

/// Runs `effect` after the current task of the browser, and again whenever what it has read changes. Never on a server.
pub fn effect<T: 'static>(effect: impl FnMut(Option<T>) -> T + 'static) {
    Effect::new(effect);
}
