//! The tab's own storage: it survives a reload, and no other tab sees it. Where the browser forbids it, nothing is kept.

use leptos::prelude::window;

/// What was kept under a name.
pub fn read(name: &str) -> Option<String> {
    storage()?.get_item(name).ok()?
}

/// Keeps a text under a name; `None` forgets it.
pub fn write(name: &str, text: Option<&str>) {
    let Some(storage) = storage() else { return };
    // Fails only where the tab's share is used up, which is far beyond what a full outbox needs.
    let _ = match text {
        Some(text) => storage.set_item(name, text),
        None => storage.remove_item(name),
    };
}

fn storage() -> Option<web_sys::Storage> {
    window().session_storage().ok()?
}
