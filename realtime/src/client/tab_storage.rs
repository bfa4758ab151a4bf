//! Reads and writes the tab's session storage. It survives a reload and is invisible to other tabs. If the browser forbids
//! it, nothing is stored.

use leptos::prelude::window;

/// The text stored under a name.
pub fn read(name: &str) -> Option<String> {
    storage()?.get_item(name).ok()?
}

/// Stores a text under a name; `None` removes it. Returns whether it succeeded. If the tab's quota is used up (some megabytes,
/// far beyond what a full outbox needs), the text stored before stays.
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
