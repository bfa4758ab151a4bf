//! Defines contracts: an endpoint's route, direction and message types, declared once and type-checked on both sides.
//!
//! A contract is a value rather than only a type, because most endpoints have a parameter: `JobEvents { id }` is the event
//! stream of one job.

use serde::{Serialize, de::DeserializeOwned};

/// An event stream, server to client.
pub trait StreamContract: Clone + PartialEq + Send + Sync + 'static {
    /// The route as axum spells it, parameters in braces.
    const ROUTE: &'static str;
    /// The names of all events: the serde tags of [`StreamContract::Event`].
    const EVENTS: &'static [&'static str];
    /// The names among [`StreamContract::EVENTS`] that describe a state rather than a change. A state may be sent again at a
    /// position that the client already holds. A change at such a position is a duplicate, and the client drops it.
    const STATES: &'static [&'static str];

    /// Server to client.
    type Event: Serialize + DeserializeOwned + 'static;

    /// The address of this stream. It matches [`StreamContract::ROUTE`].
    fn url(&self) -> String;

    /// The address for later reconnects. It may omit parameters that only matter for the first connection.
    fn settled_url(&self) -> String {
        self.url()
    }

    /// Whether a position of `previous` is also valid in this stream. If so, a changed contract (another filter on the same
    /// history) continues at the same position.
    fn continues(&self, previous: &Self) -> bool {
        self == previous
    }

    /// Whether this is the last event of the stream. The client does not reconnect after it.
    fn is_last(_event: &Self::Event) -> bool {
        false
    }
}

/// A WebSocket endpoint; messages travel in both directions.
pub trait SocketContract: Clone + PartialEq + Send + Sync + 'static {
    /// The route as axum spells it, parameters in braces.
    const ROUTE: &'static str;
    /// The subprotocol with its version (RFC 6455 section 1.9).
    const SUBPROTOCOL: &'static str;
    /// The serde tags of [`SocketContract::Command`].
    const COMMANDS: &'static [&'static str];
    /// The serde tags of [`SocketContract::Event`].
    const EVENTS: &'static [&'static str];

    /// The fields that the feature adds to `welcome`.
    type Welcome: Serialize + DeserializeOwned + 'static;
    /// Client to server.
    type Command: Serialize + DeserializeOwned + Clone + 'static;
    /// Server to client.
    type Event: Serialize + DeserializeOwned + 'static;

    /// The address of this socket. It matches [`SocketContract::ROUTE`].
    fn url(&self) -> String;
}

/// Replaces the segments in braces of a route by `parameters`, in order.
pub fn fill(route: &str, parameters: &[&str]) -> String {
    let mut parameters = parameters.iter();
    let pieces = route.split('/').map(|piece| match piece.starts_with('{') {
        true => parameters.next().copied().unwrap_or_default(),
        false => piece,
    });
    pieces.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_filled_in_order() {
        assert_eq!(fill("/api/jobs/{id}/events", &["7"]), "/api/jobs/7/events");
        assert_eq!(fill("/api/ticker/events", &[]), "/api/ticker/events");
    }
}
