//! The board: everybody's pointers and one shared text, over one socket.
//!
//! **Pointers** are volatile. `page` sends where the pointer is, the socket carries it to `visitor.rs`, `cursors.rs` keeps the
//! newest place of each, and once a tick all that moved go out in one frame to everybody. A late place is worthless, so nothing
//! is ever queued twice for a slow reader; it gets where everybody is now.
//!
//! **The text** is mergeable. An edit is an update of a CRDT in a binary frame (`protocol.rs`). On the server it passes the
//! guarded function (`scan.rs`, `document.rs`), goes to the others, and within a second into the log (`board.rs`, `store.rs`); then
//! `saved` says so. Updates may come late, doubled and in any order; who was away exchanges state vectors and gets the
//! difference, both ways. Any Yjs client can take part. What may not be lost never is: a queue that is full closes with 4100,
//! and the next exchange repairs it.
//!
//! **Carets and names** are awareness (`awareness.rs`): the newest state of each client, gone with its socket.

#[cfg(test)]
mod fuzzing;
pub mod message;
pub mod page;
pub mod protocol;
#[cfg(feature = "ssr")]
pub mod server;

/// The name of the shared text in its Yjs document: `doc.getText("content")`.
pub const ROOT: &str = "content";
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
