//! Defines contracts: an endpoint's route, direction and message types, declared once and type-checked on both sides.
//!
//! A contract is a value rather than only a type, because most endpoints have a parameter: `JobEvents { id }` is the event
//! stream of one job.

use std::fmt;

use serde::{
    Serialize,
    de::{self, DeserializeOwned, value::MapDeserializer},
};
use strum::VariantNames;

use crate::message::{ErrorCode, NOT_JOINED, SocketControl, SocketRequest, StreamControl};

/// An event stream, server to client.
pub trait StreamContract: Clone + PartialEq + Send + Sync + 'static {
    /// The endpoint's name in metrics and in the first comment of a stream.
    const NAME: &'static str;
    /// The route as axum spells it, parameters in braces.
    const ROUTE: &'static str;

    /// Server to client. Its variant names are the names of the events. They have to equal the serde tags: [`assert_names`].
    type Event: Serialize + DeserializeOwned + VariantNames + 'static;

    /// The address of this stream. It matches [`StreamContract::ROUTE`], and is the same where the route has no parameters.
    fn url(&self) -> String {
        Self::ROUTE.to_owned()
    }

    /// The address for later reconnects. It may omit parameters that only matter for the first connection.
    fn settled_url(&self) -> String {
        self.url()
    }

    /// Whether a position of `previous` is also valid in this stream. If so, a changed contract (another filter on the same
    /// history) continues at the same position.
    fn continues(&self, previous: &Self) -> bool {
        self == previous
    }

    /// Whether this event describes a state rather than a change. A state may be sent again at a position that the client
    /// already holds. A change at such a position is a duplicate, and the client drops it.
    fn is_state(_event: &Self::Event) -> bool {
        false
    }

    /// Whether this is the last event of the stream. The client does not reconnect after it.
    fn is_last(_event: &Self::Event) -> bool {
        false
    }
}

/// A WebSocket endpoint; messages travel in both directions.
pub trait SocketContract: Clone + PartialEq + Send + Sync + 'static {
    /// The endpoint's name in metrics.
    const NAME: &'static str;
    /// The route as axum spells it, parameters in braces.
    const ROUTE: &'static str;
    /// The subprotocol with its version (RFC 6455 section 1.9).
    const SUBPROTOCOL: &'static str;
    /// The fields of a command that the error about it repeats. They are copied from a command that cannot be decoded, if
    /// their values are strings. A string in `id` is always copied, to [`SocketError::re`](crate::message::SocketError::re).
    const ECHOED: &'static [&'static str] = &[];

    /// The fields that the feature adds to `welcome`.
    type Welcome: Serialize + DeserializeOwned + 'static;
    /// Client to server. Its variant names are the types of the commands. They have to equal the serde tags:
    /// [`assert_names`].
    type Command: Serialize + DeserializeOwned + VariantNames + Clone + 'static;
    /// Server to client. Its variant names are the types of the events. They have to equal the serde tags:
    /// [`assert_names`].
    type Event: Serialize + DeserializeOwned + VariantNames + 'static;

    /// The address of this socket. It matches [`SocketContract::ROUTE`], and is the same where the route has no parameters.
    fn url(&self) -> String {
        Self::ROUTE.to_owned()
    }

    /// What the client's outbox does with a command that was refused with this code. By default [`Refusal::of`] decides.
    fn after_refusal(code: &ErrorCode) -> Refusal {
        Refusal::of(code)
    }
}

/// What the client's outbox does with a refused command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The command is sent again after the wait that the error asks for. The page does not receive the error.
    Retry,
    /// The command stays as it is. The page receives the error and decides.
    Keep,
    /// The command stays in the outbox as failed. The page receives the error.
    Fail,
}

impl Refusal {
    /// Retries after the codes for which [`ErrorCode::may_be_retried`] is true, keeps the command after [`NOT_JOINED`], and
    /// fails after every other code.
    pub fn of(code: &ErrorCode) -> Self {
        match code.may_be_retried() {
            true => Self::Retry,
            false if *code == NOT_JOINED => Self::Keep,
            false => Self::Fail,
        }
    }
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

/// Checks in a test that the variant names of a message enum equal its serde tags.
///
/// No sample values are needed: serde reports the tags that it knows when it decodes `{"type": "?"}`.
///
/// # Panics
///
/// Panics if the names differ or have another order, if the tag is not `type`, or if the enum accepts unknown tags. An alias of
/// a serde tag counts as a difference. Panics if a name is reserved: those of the kit's own messages, and `error` and `open`,
/// which `EventSource` dispatches itself (WHATWG HTML, section 9.2.3).
#[track_caller]
pub fn assert_names<E: VariantNames + DeserializeOwned>() {
    const OF_THE_BROWSER: [&str; 2] = ["error", "open"];
    assert_tags::<E>();
    let of_the_kit = [
        StreamControl::VARIANTS,
        SocketControl::<()>::VARIANTS,
        SocketRequest::VARIANTS,
        &OF_THE_BROWSER,
    ]
    .concat();
    let reserved = E::VARIANTS.iter().find(|name| of_the_kit.contains(name));
    assert_eq!(reserved, None, "this name is reserved");
}

#[track_caller]
fn assert_tags<E: VariantNames + DeserializeOwned>() {
    // serde knows no tags of an enum without variants.
    if E::VARIANTS.is_empty() {
        return;
    }
    let message = MapDeserializer::new(std::iter::once(("type", "?")));
    let tags = match E::deserialize(message) {
        Ok(_) => panic!("the enum accepts an unknown tag"),
        Err(DecodeError::UnknownTag(tags)) => tags,
        Err(DecodeError::Other(error)) => panic!("the enum has no tag \"type\": {error}"),
    };
    assert_eq!(tags, E::VARIANTS, "serde tags and variant names differ");
}

/// A serde error that keeps the known tags.
#[derive(Debug)]
enum DecodeError {
    UnknownTag(&'static [&'static str]),
    Other(String),
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownTag(expected)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTag(tags) => write!(formatter, "the known tags are {tags:?}"),
            Self::Other(error) => formatter.write_str(error),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    #[test]
    fn a_route_is_filled_in_order() {
        assert_eq!(fill("/api/jobs/{id}/events", &["7"]), "/api/jobs/7/events");
        assert_eq!(fill("/api/ticker/events", &[]), "/api/ticker/events");
    }

    #[test]
    fn the_names_of_the_kits_messages_are_their_serde_tags() {
        assert_tags::<StreamControl>();
        assert_tags::<SocketControl<()>>();
        assert_tags::<SocketRequest>();
    }

    #[test]
    #[should_panic(expected = "this name is reserved")]
    fn a_reserved_name_is_found() {
        #[derive(Deserialize, VariantNames)]
        #[serde(tag = "type", rename_all = "snake_case")]
        #[strum(serialize_all = "snake_case")]
        enum Reserved {
            Open,
        }
        assert_names::<Reserved>();
    }

    #[test]
    fn an_enum_without_variants_has_no_names() {
        #[derive(Deserialize, VariantNames)]
        enum Nothing {}
        assert_names::<Nothing>();
        assert!(Nothing::VARIANTS.is_empty());
    }

    #[test]
    #[should_panic(expected = "serde tags and variant names differ")]
    fn a_name_that_is_not_the_serde_tag_is_found() {
        #[derive(Deserialize, VariantNames)]
        #[serde(tag = "type", rename_all = "kebab-case")]
        #[strum(serialize_all = "snake_case")]
        enum Differing {
            TwoWords,
        }
        assert_names::<Differing>();
    }

    #[test]
    #[should_panic(expected = "the enum has no tag")]
    fn an_enum_with_another_tag_is_found() {
        #[derive(Deserialize, VariantNames)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        #[strum(serialize_all = "snake_case")]
        enum Differing {
            Word,
        }
        assert_names::<Differing>();
    }

    #[test]
    fn only_refusals_that_may_succeed_later_are_retried_by_default() {
        for code in [ErrorCode::RateLimited, ErrorCode::Unavailable] {
            assert_eq!(Refusal::of(&code), Refusal::Retry);
        }
        for code in [ErrorCode::InvalidField, ErrorCode::other("too_late")] {
            assert_eq!(Refusal::of(&code), Refusal::Fail);
        }
    }
}
