//! The transports of an event stream: an `EventSource` of this tab, or one that all tabs share.

pub mod own;
pub mod shared;
