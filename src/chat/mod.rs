//! The chat: `page/` puts a message into its outbox, a socket carries it to `visitor.rs`, `log.rs` stores it at the next
//! offset of its room, `hall.rs` tells it to every member, and only then its sender gets the acknowledgement. What the
//! browser knows of it all is `state.rs`, and of one room's messages `transcript.rs`.
//!
//! A durable, ordered log: an acknowledged message is on disk, stands in the room exactly once and in the same order for
//! everybody, across reconnects and restarts. A member who comes back gets what was missed, however much, or is told that
//! it is no longer kept. Presence and typing live in memory; read marks are saved once a second.

pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;

use crate::web::text_rules::{has_nul, has_visible_character};

/// Longest text in characters.
pub const TEXT_LENGTH: usize = 4_000;
/// The sentence for a text out of bounds.
pub const TEXT_RULE: &str = "A message has 1 to 4000 characters and is not blank.";
/// The sentence for a text with a NUL.
pub const NUL_RULE: &str =
    "A message cannot hold the character NUL (U+0000). Take it out and send it again.";
/// The sentence for a room name out of bounds.
pub const ROOM_RULE: &str = "A room's name has 1 to 32 characters of a-z, 0-9 and the hyphen.";
/// Most messages in one page of history; fewer where they are long.
pub const HISTORY_LIMIT: usize = 200;
/// Rooms that are always there.
pub const ROOMS: [&str; 3] = ["lobby", "rust", "random"];

/// Whether a room can have this name.
pub fn is_room_name(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

/// Longest search in characters.
pub const SEARCH_CHARACTERS: usize = 200;

/// Checks a text that somebody wants to send; the error is a sentence.
pub fn check_text(text: &str) -> Result<(), &'static str> {
    if has_nul(text) {
        Err(NUL_RULE)
    } else if is_sendable(text) {
        Ok(())
    } else {
        Err(TEXT_RULE)
    }
}

fn is_sendable(text: &str) -> bool {
    (1..=TEXT_LENGTH).contains(&text.chars().count()) && has_visible_character(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_are_short_and_plain() {
        assert!(
            ["a", "lobby", "room-7", &"x".repeat(32)]
                .into_iter()
                .all(is_room_name)
        );
        assert!(
            !["", "Lobby", "a/b", "a b", "ä", &"x".repeat(33)]
                .into_iter()
                .any(is_room_name)
        );
    }

    #[test]
    fn a_text_with_a_nul_is_refused_and_says_so() {
        for text in ["\0", "a\0b", "\0http://a.example\0"] {
            assert_eq!(check_text(text), Err(NUL_RULE));
        }
        assert_eq!(check_text("\u{1b}[31m\u{fffe}"), Ok(()));
        assert_eq!(check_text(" "), Err(TEXT_RULE));
    }

    #[test]
    fn texts_are_not_blank_and_not_endless() {
        assert!(
            ["a", " a ", &"ü".repeat(4_000)]
                .into_iter()
                .all(is_sendable)
        );
        assert!(
            ![
                "",
                "  \n\t",
                "\u{200b}",
                "\u{ad}\u{2800}",
                "\u{3164}",
                &"x".repeat(4_001)
            ]
            .into_iter()
            .any(is_sendable)
        );
    }
}
