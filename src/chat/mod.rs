//! The chat: durable, ordered message rooms over one WebSocket.
//!
//! A room is a channel of the kit. A message passes these steps: `page/` puts it into the outbox, the socket carries it to
//! `server/connection.rs`, `server/log.rs` stores it at the next offset of its room, the channel queues it for every live
//! member, and only then the sender gets the acknowledgement. The browser's state of all rooms is `page/model/mod.rs`, the
//! messages of one room are in `page/model/transcript.rs`.
//!
//! The log is durable and ordered: an acknowledged message is on disk, and is in the room exactly once and in the same
//! order for every member, across reconnects and restarts. A member that reconnects gets everything it missed, however
//! much that is, or the information that it is no longer kept (`recovered: false`). Presence and typing are kept in
//! memory only; read marks are saved once a second.

pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;

use crate::web::text_rules::{has_nul, has_visible_character};

/// Longest text of a message, in characters.
pub const TEXT_LENGTH: usize = 4_000;
/// The sentence for a text out of bounds.
pub const TEXT_RULE: &str = "A message has 1 to 4000 characters and is not blank.";
/// The sentence for a text with a NUL.
pub const NUL_RULE: &str =
    "A message cannot hold the character NUL (U+0000). Take it out and send it again.";
/// The sentence for a room name out of bounds.
pub const ROOM_RULE: &str = "A room's name has 1 to 32 characters of a-z, 0-9 and the hyphen.";
/// Most messages in one page of history; a page of long messages has fewer.
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

/// Checks the text of a message before it is sent; the error is a sentence.
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
