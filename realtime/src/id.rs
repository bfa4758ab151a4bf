//! A client-generated UUID that keeps the client's spelling.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use uuid::{Uuid, fmt::Hyphenated};

/// A UUID with its original spelling: upper case, without hyphens, in braces, or as a URN. A client that compares strings
/// recognizes its id only in its own spelling; all other code compares [`SpelledId::value`]s. The usual spelling (lower case,
/// with hyphens) is not stored, so it costs nothing.
#[derive(Clone, Debug)]
pub struct SpelledId {
    value: Uuid,
    /// `None` for the usual spelling.
    spelling: Option<Box<str>>,
}

impl SpelledId {
    /// An id with a spelling that [`SpelledId::spelling`] returned earlier.
    pub fn new(value: Uuid, spelling: Option<Box<str>>) -> Self {
        Self { value, spelling }
    }

    /// The UUID itself, by which ids are compared whatever their spelling.
    pub fn value(&self) -> Uuid {
        self.value
    }

    /// The spelling, unless it is the usual one.
    pub fn spelling(&self) -> Option<&str> {
        self.spelling.as_deref()
    }
}

impl From<Uuid> for SpelledId {
    fn from(value: Uuid) -> Self {
        Self::new(value, None)
    }
}

impl std::str::FromStr for SpelledId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        // `uuid` knows the prefix of a URN in lower case only. It is case-insensitive (RFC 8141, section 2).
        const URN: &str = "urn:uuid:";
        let prefix = text.get(..URN.len());
        let value: Uuid = match prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(URN)) {
            true => text[URN.len()..].parse::<Hyphenated>()?.into_uuid(),
            false => text.parse()?,
        };
        let mut usual = Uuid::encode_buffer();
        let usual: &str = value.as_hyphenated().encode_lower(&mut usual);
        Ok(Self::new(value, (text != usual).then(|| text.into())))
    }
}

impl Display for SpelledId {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.spelling {
            Some(spelling) => spelling.fmt(formatter),
            None => self.value.fmt(formatter),
        }
    }
}

/// Compares the values, not the spellings.
impl PartialEq for SpelledId {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for SpelledId {}

impl Serialize for SpelledId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpelledId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The wording of the crate uuid, which the socket replaces by a plain sentence.
        let describe = |error| D::Error::custom(format_args!("UUID parsing failed: {error}"));
        String::deserialize(deserializer)?.parse().map_err(describe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "0192a5b4-9c1e-7def-8abc-0123456789ab";

    #[test]
    fn an_id_compares_by_value_and_prints_in_its_original_spelling() {
        let usual: SpelledId = USUAL.parse().unwrap();
        assert_eq!((usual.spelling(), &*usual.to_string()), (None, USUAL));
        for spelling in [
            USUAL.to_uppercase(),
            USUAL.replace('-', ""),
            format!("{{{USUAL}}}"),
            format!("urn:uuid:{USUAL}"),
            format!("URN:UUID:{}", USUAL.to_uppercase()),
        ] {
            let json = serde_json::to_string(&spelling).unwrap();
            let id: SpelledId = serde_json::from_str(&json).unwrap();
            assert_eq!(id, usual);
            assert_eq!(id.spelling(), Some(&*spelling));
            assert_eq!(serde_json::to_string(&id).unwrap(), json);
            assert_eq!(id.to_string(), spelling);
        }
        for wrong in ["no uuid", "urn:uuid:", "urn:uuid:urn:uuid:", "urn:uuidé"] {
            assert!(wrong.parse::<SpelledId>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<SpelledId>("7").is_err());
    }
}
