//! Stands in for the browser in tests. Nothing happens by itself: the clock stands until a script moves it, and connections report
//! what a script says. All of it belongs to the thread of the test.
//!
//! Where no script runs, a page is rendered as on a server: effects do not start, so nothing connects.

mod connections;
mod effect;
mod link;
mod world;

use futures::future::LocalBoxFuture;
use wasm_bindgen::JsValue;

pub use self::{
    connections::{EventSource, WebSocket},
    effect::effect,
    link::{Kind, Link, Report},
    world::{Interval, Listeners, Timer, World},
};
use crate::status::Answer;

/// Calls back once, whatever becomes of the caller.
pub fn after(wait_ms: u32, callback: impl FnOnce() + 'static) {
    World::current().set_timer(wait_ms, Box::new(callback));
}

/// The time of the script in Unix milliseconds.
pub fn now() -> f64 {
    World::current().now()
}

/// Always the middle, so that every delay is known.
pub fn random() -> f64 {
    0.5
}

/// Runs a future to its end.
pub fn spawn(future: LocalBoxFuture<'static, ()>) {
    World::current().spawn(future);
}

/// Reports what changes about the page.
pub fn listen(changed: impl Fn(super::message::Change) + 'static) -> Listeners {
    World::current().listen(changed)
}

/// Whether the browser reports a network.
pub fn is_online() -> bool {
    World::current().is_online.get()
}

pub fn is_visible() -> bool {
    World::current().is_visible.get()
}

/// The address of a socket at this path: there is one host only.
pub fn socket_address(path: &str) -> Option<String> {
    Some(path.to_owned())
}

/// The text that the tab's storage keeps under a name.
pub fn kept(name: &str) -> Option<String> {
    World::current().storage.borrow().get(name).cloned()
}

/// Keeps a text in the tab's storage; `None` removes it.
pub fn keep(name: &str, text: Option<&str>) -> bool {
    let world = World::current();
    let mut storage = world.storage.borrow_mut();
    match text {
        Some(text) => drop(storage.insert(name.to_owned(), text.to_owned())),
        None => drop(storage.remove(name)),
    }
    true
}

/// There is one tab only, which shares nothing.
pub fn locks() -> Option<JsValue> {
    None
}

/// The answer that the script gave when it refused the stream.
pub async fn why_refused(_url: &str) -> Option<Answer> {
    World::current().refusal.take()
}

/// There is no pool of connections.
pub fn flush_pooled_connections(_url: &str) {}

/// Counts the reload. The page stays, as it would until the next one is loaded.
pub fn reload_once(_storage_prefix: &str) -> bool {
    let world = World::current();
    world.reloads.set(world.reloads.get() + 1);
    world.reloads.get() == 1
}
