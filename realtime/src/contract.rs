//! The contract is a type: route, direction and messages of an endpoint, declared once and checked on both sides.
//!
//! A contract is a *value*, because most endpoints have a parameter: `JobEvents { id }` is the event stream of one job.

use serde::{Serialize, de::DeserializeOwned};

/// Where the browser asks for its session to be renewed when it has expired: the same person, a new expiry (POST; the answer
/// sets the cookie). This, [`GUEST_ROUTE`] and [`ALIVE_ROUTE`] are the three addresses that the kit itself knows: change them
/// when you lift the kit into an application of your own.
pub const RENEWAL_ROUTE: &str = "/api/session/renew";
/// Where the browser asks for the session of somebody new when a renewal is refused (POST; the answer sets the cookie).
pub const GUEST_ROUTE: &str = "/api/session/guest";
/// Anything small that the server answers at once (GET).
pub const ALIVE_ROUTE: &str = "/healthz";

/// An event stream, server to client.
pub trait StreamContract: Clone + PartialEq + Send + Sync + 'static {
    /// The route as axum spells it, parameters in braces.
    const ROUTE: &'static str;
    /// The names of all events: the serde tags of [`StreamContract::Event`].
    const EVENTS: &'static [&'static str];
    /// Those of [`StreamContract::EVENTS`] that describe a state rather than a change. One may come again at a position
    /// that the client already holds; a change that does is a duplicate, and the client drops it.
    const STATES: &'static [&'static str];

    /// Server to client.
    type Event: Serialize + DeserializeOwned + 'static;

    /// The address of this very stream; it matches [`StreamContract::ROUTE`].
    fn url(&self) -> String;

    /// The address for coming back later, where that is another one: what was asked for only to begin with is left out.
    fn settled_url(&self) -> String {
        self.url()
    }

    /// Whether a position of `previous` is one of this stream too, so that a changed value (another filter on the same
    /// history) continues where the old one was.
    fn continues(&self, previous: &Self) -> bool {
        self == previous
    }

    /// Whether nothing follows this event, so that the client does not reconnect.
    fn is_last(_event: &Self::Event) -> bool {
        false
    }
}

/// A socket, both directions.
pub trait SocketContract: Clone + PartialEq + Send + Sync + 'static {
    /// The route as axum spells it, parameters in braces.
    const ROUTE: &'static str;
    /// The subprotocol with its version (RFC 6455 section 1.9).
    const SUBPROTOCOL: &'static str;
    /// The serde tags of [`SocketContract::Command`].
    const COMMANDS: &'static [&'static str];
    /// The serde tags of [`SocketContract::Event`].
    const EVENTS: &'static [&'static str];

    /// What the feature adds to `welcome`.
    type Welcome: Serialize + DeserializeOwned + 'static;
    /// Client to server.
    type Command: Serialize + DeserializeOwned + Clone + 'static;
    /// Server to client.
    type Event: Serialize + DeserializeOwned + 'static;

    /// The address of this very socket; it matches [`SocketContract::ROUTE`].
    fn url(&self) -> String;
}

/// Puts parameters into a route: the pieces in braces, in order.
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
