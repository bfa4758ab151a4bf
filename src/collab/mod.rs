//! The board: the pointers of all peers and one shared text, over one socket.
//!
//! **Pointers** are volatile. The page sends its pointer's position to `server/connection.rs`. `server/pointers.rs`
//! keeps the newest position of each pointer. Once a tick, all positions that changed are sent to every peer in one
//! frame. An old position is worthless, so moves never pile up in a slow reader's queue: that reader gets the current
//! positions instead.
//!
//! **The text** is mergeable. An edit is a CRDT update in a binary frame (`protocol.rs`). The server checks and applies
//! it (`server/update_validation.rs`, `server/document.rs`), sends it to the other peers, and writes it to the log within a second
//! (`server/board.rs`, `server/store.rs`). Then it sends `saved`. Updates may arrive late, twice and in any order.
//! After a disconnect, client and server exchange state vectors, and each sends the other the difference. Any Yjs
//! client can take part. No update is lost: a full queue closes its socket with 4100, and the next exchange delivers
//! what is missing.
//!
//! **Carets and names** are awareness (`server/awareness.rs`): the newest state of each client, removed when its socket
//! closes.

#[cfg(test)]
mod fuzzing;
pub mod message;
pub mod page;
pub mod protocol;
#[cfg(feature = "ssr")]
pub mod server;

/// The name of the shared text in its Yjs document: `doc.getText("content")`.
pub const ROOT: &str = "content";
/// The document of a request that names none.
pub const FIRST_DOCUMENT: &str = "welcome";
/// The rule for document names, shown when a name violates it.
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
