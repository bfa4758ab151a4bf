//! Announcements of nodes to each other: volatile messages as JSON, each feature with a type of its own.

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::SharedBus;

/// Announces something to the other nodes, if there are any. `make` gets the id of this node.
pub fn announce<T: Serialize>(bus: &SharedBus, subject: &str, make: impl FnOnce(Uuid) -> T) {
    if let Some(node) = bus.node()
        && let Ok(bytes) = serde_json::to_vec(&make(node))
    {
        bus.announce(subject, bytes.into());
    }
}

/// Reads an announcement of another node; `None` if this version does not understand it.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| {
            tracing::warn!(%error, "an announcement of another node is not understood; it may be newer");
        })
        .ok()
}
