//! Reads and writes the tab's session storage. It survives a reload and is invisible to other tabs. If the browser forbids
//! it, nothing is stored.

use super::platform;

/// The text stored under a name.
pub fn read(name: &str) -> Option<String> {
    platform::kept(name)
}

/// Stores a text under a name; `None` removes it. Returns whether it succeeded. If the tab's quota is used up (some megabytes,
/// far beyond what a full outbox needs), the text stored before stays.
pub fn write(name: &str, text: Option<&str>) -> bool {
    platform::keep(name, text)
}
