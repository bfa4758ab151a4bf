//! The markup of a part that many pages have in common.

use std::sync::{Arc, OnceLock};

use leptos::tachys::view::Position;

/// A part of a page as it was rendered for the first of the pages that have it.
#[derive(Debug)]
pub struct Markup {
    /// What the renderer wrote.
    pub html: String,
    /// Where the renderer stood before the part: the marks between nodes depend on it.
    pub before: Position,
    /// Where the renderer stood after the part.
    pub after: Position,
    compressed: OnceLock<Vec<u8>>,
}

/// Holds the markup once it is rendered.
pub type MarkupSlot = Arc<OnceLock<Arc<Markup>>>;

impl Markup {
    /// Markup that is not compressed yet.
    pub fn new(html: String, before: Position, after: Position) -> Self {
        Self {
            html,
            before,
            after,
            compressed: OnceLock::new(),
        }
    }

    /// The part as `compress` returns it. Several pages may call that at once where none has before; all get the same.
    pub fn compressed(&self, compress: impl FnOnce(&str) -> Vec<u8>) -> &[u8] {
        self.compressed.get_or_init(|| compress(&self.html))
    }
}
