//! What brings the events of a stream: an `EventSource` of this tab's own, or the one that all tabs share.

pub mod own;
pub mod shared;
