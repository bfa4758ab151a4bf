//! The window, its address and its storage.

use js_sys::Reflect;
use leptos::{ev, prelude::*};
use send_wrapper::SendWrapper;
use wasm_bindgen::JsValue;

use crate::client::platform::message::Change;

/// Listeners of the window. Dropping them removes them.
pub struct Listeners(Vec<WindowListenerHandle>);

impl Drop for Listeners {
    fn drop(&mut self) {
        self.0.drain(..).for_each(WindowListenerHandle::remove);
    }
}

/// Reports what changes about the page.
pub fn listen(changed: impl Fn(Change) + Clone + 'static) -> Listeners {
    let on = |change| {
        let changed = SendWrapper::new(changed.clone());
        move || changed(change)
    };
    let (online, offline) = (on(Change::Network), on(Change::Network));
    let (shown, hidden) = (on(Change::Shown), on(Change::Hidden));
    let visible = on(Change::Visibility);
    Listeners(vec![
        window_event_listener(ev::online, move |_| online()),
        window_event_listener(ev::offline, move |_| offline()),
        // Not `beforeunload`: it also fires for downloads, and it keeps pages out of the back-forward cache.
        window_event_listener_untyped("pagehide", move |_| hidden()),
        window_event_listener_untyped("pageshow", move |_| shown()),
        window_event_listener(ev::visibilitychange, move |_| visible()),
    ])
}

/// Whether the browser reports a network.
pub fn is_online() -> bool {
    window().navigator().on_line()
}

pub fn is_visible() -> bool {
    document().visibility_state() == web_sys::VisibilityState::Visible
}

/// The whole address of a socket at this path of the page's host. https pages use wss.
pub fn socket_address(path: &str) -> Option<String> {
    let location = window().location();
    let scheme = if location.protocol().ok()? == "https:" {
        "wss"
    } else {
        "ws"
    };
    Some(format!("{scheme}://{}{path}", location.host().ok()?))
}

/// The text that the tab's storage keeps under a name.
pub fn kept(name: &str) -> Option<String> {
    storage()?.get_item(name).ok()?
}

/// Keeps a text in the tab's storage; `None` removes it. Returns whether it succeeded.
pub fn keep(name: &str, text: Option<&str>) -> bool {
    let Some(storage) = storage() else {
        return false;
    };
    let written = match text {
        Some(text) => storage.set_item(name, text),
        None => storage.remove_item(name),
    };
    written.is_ok()
}

fn storage() -> Option<web_sys::Storage> {
    window().session_storage().ok()?
}

/// The browser's lock manager. web-sys offers it only under an unstable flag, so it is called by name.
pub fn locks() -> Option<JsValue> {
    let locks = Reflect::get(&window().navigator(), &"locks".into()).ok()?;
    locks.is_object().then_some(locks)
}
