//! A client's position in a history: an epoch and an offset, printed `<epoch>-<offset>`.
//!
//! Positions are comparable only within one epoch. A new epoch means that the history of the old one is gone. If a client
//! reconnects with a position of an old epoch, the server answers `recovered: false` instead of continuing wrongly.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The first invalid offset: JavaScript numbers are exact integers only below 2^53.
pub const OFFSET_LIMIT: u64 = 1 << 53;

/// Longest epoch in characters.
const EPOCH_LENGTH: usize = 32;

/// Identifies one unbroken history: `[0-9a-z]{1,32}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(Arc<str>);

/// A position in a history. Its holder has received everything up to and including `offset`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The history that the offset belongs to.
    pub epoch: Epoch,
    /// The number of the last event received, below [`OFFSET_LIMIT`]; 0 before the first.
    #[serde(deserialize_with = "offset_below_limit")]
    pub offset: u64,
}

/// Why a text is not a position. The message describes the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// The epoch is empty, longer than 32 characters, or contains others than `0-9` and `a-z`.
    #[error("an epoch is 1 to 32 characters of 0-9 and a-z")]
    Epoch,
    /// The offset is not a decimal number below [`OFFSET_LIMIT`].
    #[error("an offset is a whole number from 0 to 9007199254740991")]
    Offset,
    /// The text contains no hyphen between an epoch and an offset.
    #[error("a position is an epoch, a hyphen and an offset, as in k3j9x0-17")]
    Shape,
}

impl Epoch {
    /// Parses an epoch, refusing anything but `[0-9a-z]{1,32}`.
    pub fn new(text: &str) -> Result<Self, PositionError> {
        let fits = (1..=EPOCH_LENGTH).contains(&text.len());
        if fits
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'))
        {
            Ok(Self(text.into()))
        } else {
            Err(PositionError::Epoch)
        }
    }

    /// A new epoch: the first 48 bits of a random UUID, all of which are random. It is short, because every event carries
    /// it.
    pub fn random() -> Self {
        let (high, middle, ..) = uuid::Uuid::new_v4().as_fields();
        Self(format!("{high:08x}{middle:04x}").into())
    }

    /// The 1 to 32 characters of the epoch, as they are sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Position {
    /// The position after the event number `offset` of this history. `offset` must be below [`OFFSET_LIMIT`], which is
    /// not checked here.
    pub fn new(epoch: Epoch, offset: u64) -> Self {
        Self { epoch, offset }
    }
}

impl PartialOrd for Position {
    /// `None` across epochs: positions of different epochs have no order.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| self.offset.cmp(&other.offset))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, offset) = text.split_once('-').ok_or(PositionError::Shape)?;
        let epoch = Epoch::new(epoch)?;
        // `u64::from_str` accepts a leading plus. An id that this server did not issue must not parse.
        let digits = offset.bytes().all(|byte| byte.is_ascii_digit());
        match offset.parse::<u64>() {
            Ok(offset) if digits && offset < OFFSET_LIMIT => Ok(Self { epoch, offset }),
            _ => Err(PositionError::Offset),
        }
    }
}

impl TryFrom<String> for Epoch {
    type Error = PositionError;

    fn try_from(text: String) -> Result<Self, PositionError> {
        Self::new(&text)
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.0.as_ref().to_owned()
    }
}

fn offset_below_limit<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let offset = u64::deserialize(deserializer)?;
    if offset < OFFSET_LIMIT {
        Ok(offset)
    } else {
        Err(serde::de::Error::custom(PositionError::Offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn a_position_prints_as_it_parses() {
        for text in [
            "0-0",
            "k3j9x0-17",
            "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-9007199254740991",
        ] {
            assert_eq!(position(text).to_string(), text);
        }
    }

    #[test]
    fn an_invalid_position_is_refused_with_the_expected_form() {
        for (text, error) in [
            ("", PositionError::Shape),
            ("abc", PositionError::Shape),
            ("-1", PositionError::Epoch),
            ("ABC-1", PositionError::Epoch),
            ("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-1", PositionError::Epoch),
            ("abc-", PositionError::Offset),
            ("abc--1", PositionError::Offset),
            ("abc-+1", PositionError::Offset),
            ("abc-1.0", PositionError::Offset),
            ("abc-9007199254740992", PositionError::Offset),
            ("abc-99999999999999999999999", PositionError::Offset),
            ("abc-1\n", PositionError::Offset),
        ] {
            assert_eq!(text.parse::<Position>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn positions_compare_only_within_one_epoch() {
        assert!(position("a-1") < position("a-2"));
        assert_eq!(position("a-1").partial_cmp(&position("b-2")), None);
    }

    #[test]
    fn json_refuses_what_text_refuses() {
        assert!(serde_json::from_str::<Position>(r#"{"epoch":"A","offset":1}"#).is_err());
        assert!(
            serde_json::from_str::<Position>(r#"{"epoch":"a","offset":9007199254740992}"#).is_err()
        );
        assert!(serde_json::from_str::<Position>(r#"{"epoch":"a","offset":-1}"#).is_err());
        assert_eq!(
            serde_json::from_str::<Position>(r#"{"epoch":"a","offset":1}"#).unwrap(),
            position("a-1")
        );
    }

    #[test]
    fn random_epochs_are_valid_and_differ() {
        let (one, two) = (Epoch::random(), Epoch::random());
        assert!(Epoch::new(one.as_str()).is_ok());
        assert_ne!(one, two);
    }
}
