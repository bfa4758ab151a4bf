//! The time on the wire.

use std::time::SystemTime;

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    // A clock before 1970 is a broken machine; zero is as good as any answer then.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}
