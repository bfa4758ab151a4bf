//! Names the kit's metrics. They go to the process's recorder of the crate `metrics`.
//!
//! | Metric | Kind | Labels | Counts |
//! |---|---|---|---|
//! | `connections` | gauge | `transport`, `endpoint` | open streams and sockets |
//! | `replayed_events` | counter | `endpoint` | events sent again to clients that resumed |
//! | `slow_consumers` | counter | | sockets closed because their queue overflowed |
//! | `stalled_readers` | counter | | connections ended because their peer read nothing |
//! | `mirror_gaps` | counter | | times that a mirrored topic asked its owner for what it lacked |
//! | `accept_errors` | counter | | failed accepts |
//! | `connections_refused` | counter | | connections refused because the server holds as many as it may |

use std::sync::OnceLock;

use metrics::{Counter, Gauge};

/// The prefix of every name, before an underscore. The recorder belongs to the process, and so does the prefix.
static PREFIX: OnceLock<&'static str> = OnceLock::new();

/// Sets the prefix of every name; only the first call in a process has an effect.
pub(super) fn set_prefix(prefix: &'static str) {
    let _ = PREFIX.set(prefix);
}

fn name(metric: &str) -> String {
    format!("{}_{metric}", PREFIX.get().unwrap_or(&"realtime"))
}

pub(super) fn counter(metric: &str) -> Counter {
    metrics::counter!(name(metric))
}

pub(super) fn endpoint_counter(metric: &str, endpoint: &'static str) -> Counter {
    metrics::counter!(name(metric), "endpoint" => endpoint)
}

pub(super) fn connections(transport: &'static str, endpoint: &'static str) -> Gauge {
    metrics::gauge!(name("connections"), "transport" => transport, "endpoint" => endpoint)
}
