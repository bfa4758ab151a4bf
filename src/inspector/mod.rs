//! The inspector: shows every frame of a page's connection, its cost and the state machine, and has buttons that break
//! the connection on purpose.
//!
//! The kit reports what a connection sees to an observer ([`TraceEvent`]). `page/log.rs` keeps the last of it, bounded
//! in number and bytes. The views are updated a few times a second, so that a thousand frames a second cost what four
//! do. A press on a fault button sends a request to the server (`server/mod.rs`), which finds the connection by its
//! name and breaks it. `page/fault_run.rs` then follows the connection, and reports when the expected has happened.
//!
//! Watching changes nothing: the page gets what it would get without the inspector. The frames of an event stream are
//! encoded again from the fields that script sees. The bytes themselves are in the raw tab, which opens a stream of its
//! own.
//!
//! [`TraceEvent`]: realtime::client::observer::TraceEvent

pub mod counterpart;
pub mod framing;
pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;
