#![doc = include_str!("../README.md")]
//!
//! # Reading order
//!
//! [`position`], [`contract`], [`message`], [`backoff`], [`status`], [`sharing`], [`close`], [`channel`]. Then one half, beginning with
//! `server/topic.rs` or `client/connection.rs`.

#![deny(missing_docs)]

pub mod backoff;
pub mod channel;
pub mod client;
pub mod close;
pub mod contract;
pub mod event_parser;
pub mod id;
pub mod json;
pub mod message;
pub mod position;
pub mod prelude;
mod reasons;
#[cfg(feature = "ssr")]
pub mod server;
pub mod sharing;
pub mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;

/// Derives the names of messages: `#[derive(VariantNames)]` with `#[strum(crate = "realtime::strum")]`. An application that uses
/// this crate has the version that the contracts need.
pub use strum;
