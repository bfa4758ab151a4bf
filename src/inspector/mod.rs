//! The inspector: every frame of a page's connection as it comes and goes, what it costs, the state machine at work, and
//! buttons that break the connection on purpose.
//!
//! A frame's way: the kit tells whoever watches a connection what it sees ([`TraceEvent`]); `log.rs` keeps the last of
//! it, bounded in number and bytes; a few times a second the views show what changed, so that a thousand frames a second
//! cost what four do. A press on a fault button asks the server (`server.rs`), which finds the connection by its name and
//! breaks it; `trial.rs` follows what happens then, and says when it did what was to be expected.
//!
//! Watching changes nothing: the page gets what it would get without. What it shows of an event stream is encoded again from
//! the fields that script sees; the bytes themselves are in the raw tab, which opens a stream of its own.
//!
//! [`TraceEvent`]: realtime::client::observer::TraceEvent

pub mod framing;
pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;
