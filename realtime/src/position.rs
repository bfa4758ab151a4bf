//! Where a client is in a history: an epoch and an offset, printed `<epoch>-<offset>`.
//!
//! Two positions compare only within one epoch. A new epoch says "the history behind the old one is gone": a client that
//! comes with an old one is told so (`recovered: false`) instead of being given a wrong continuation.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The first offset that is no longer one: JavaScript numbers are exact below 2^53.
pub const OFFSET_LIMIT: u64 = 1 << 53;

/// Longest epoch in characters.
const EPOCH_LENGTH: usize = 32;

/// Names one unbroken history: `[0-9a-z]{1,32}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(Arc<str>);

/// A place in a history. Everything up to and including `offset` has been seen by whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    pub epoch: Epoch,
    #[serde(deserialize_with = "offset_below_limit")]
    pub offset: u64,
}

/// Why a text is no position. It says what a position looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    #[error("an epoch is 1 to 32 characters of 0-9 and a-z")]
    Epoch,
    #[error("an offset is a whole number from 0 to 9007199254740991")]
    Offset,
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

    /// An epoch nobody has seen: the first 48 bits of a random UUID, which are random all. Short, because every event
    /// carries it.
    pub fn random() -> Self {
        let (high, middle, ..) = uuid::Uuid::new_v4().as_fields();
        Self(format!("{high:08x}{middle:04x}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Position {
    pub fn new(epoch: Epoch, offset: u64) -> Self {
        Self { epoch, offset }
    }
}

impl PartialOrd for Position {
    /// `None` across epochs: neither is before the other.
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
        // `u64::from_str` takes a leading plus; an id that is not ours must not parse as one that is.
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
    fn what_is_no_position_says_what_one_is() {
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
