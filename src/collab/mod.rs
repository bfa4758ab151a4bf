//! The board: `page.rs` sends where the pointer is, a socket carries it to `server.rs`, `cursors.rs` keeps the newest
//! place of each, and once a tick all that moved go out in one frame to everybody.
//!
//! Volatile: a late place is worthless, so nothing is ever queued twice for a slow reader; it gets where everybody is now.

pub mod client;
#[cfg(feature = "ssr")]
pub mod cursors;
pub mod message;
pub mod page;
pub mod position;
pub mod presence;
pub mod protocol;
pub mod saving;
#[cfg(feature = "ssr")]
pub mod server;
pub mod shown;
pub mod splice;
pub mod text;
pub mod words;

/// The document of a visitor who names none.
pub const FIRST_DOCUMENT: &str = "welcome";
/// The sentence for a name out of bounds.
pub const DOCUMENT_RULE: &str =
    "A document's name has 1 to 64 characters of a-z, 0-9 and the hyphen.";

/// Whether a document can have this name.
pub fn is_document_name(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_names_are_short_and_plain() {
        assert!(
            ["a", "welcome", "notes-7", &"x".repeat(64)]
                .into_iter()
                .all(is_document_name)
        );
        assert!(
            !["", "Notes", "a/b", "a b", "ä", &"x".repeat(65)]
                .into_iter()
                .any(is_document_name)
        );
    }
}
