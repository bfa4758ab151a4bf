//! An event of a log.

use bytes::Bytes;
use uuid::Uuid;

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub offset: u64,
    pub id: Uuid,
    /// Unix milliseconds; never decreases within a log.
    pub at: u64,
    pub bytes: Bytes,
}
