//! The tab's own storage: it survives a reload, and no other tab sees it. Where the browser forbids it, nothing is kept.

use leptos::prelude::window;

/// What was kept under a name.
pub fn read(name: &str) -> Option<String> {
    storage()?.get_item(name).ok()?
}

/// Keeps a text under a name; `None` forgets it. Says whether it did: where the tab's share is used up (some megabytes, far
/// beyond what a full outbox needs), what was kept before stays.
pub fn write(name: &str, text: Option<&str>) -> bool {
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
