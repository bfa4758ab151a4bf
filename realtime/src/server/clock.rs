//! The current time as it is sent on the wire.

use std::time::SystemTime;

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    // Only a machine with a broken clock is before 1970; any value will do then, so 0 is returned.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}
