//! Which work on a document is done in place, and which on a thread for blocking work.

/// Work on more bytes than this goes to a thread of its own, so that it does not hold up other connections.
pub const INLINE_BYTES: usize = 32 * 1024;
