//! Decides whether work on a document runs in place or on a thread for blocking work.

/// Work on more bytes than this runs on a thread for blocking work, so that it does not delay other connections.
pub const INLINE_BYTES: usize = 32 * 1024;
