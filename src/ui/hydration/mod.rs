//! Hydration: the browser takes over the document that the server rendered; a script handles what goes wrong.
//!
//! Hydration expects the nodes of the server's document, and panics on any other. Browser extensions add nodes: a
//! button behind an input, a bar before the content. After a panic the instance of the program is lost, so the app
//! cannot repair this by itself. A script at the beginning of the document, `guard.js`, does it:
//!
//! 1. The app lives in an element of its own, so what is added to `body` beside it does no harm.
//! 2. After a panic while hydrating, the guard loads the page again, once, and remembers it for this tab. From then on
//!    the app does not hydrate: it empties its element and mounts itself afresh, with the first states of the same
//!    document. Nodes that are added later are harmless: the app holds references to its own.
//! 3. If that fails too, or the app panics later, or its files cannot be loaded or run, the guard shows a notice with a
//!    button that loads the page again. The page then works as it does without JavaScript.
//!
//! A notice that a part is missing or late is withdrawn when the app runs after all.

pub mod guard;
#[cfg(feature = "hydrate")]
mod start;

#[cfg(feature = "hydrate")]
pub use self::start::start;
