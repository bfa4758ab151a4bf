//! Long tasks: a form starts a job, `runner.rs` runs it, `job.rs` keeps its state and publishes each step in a topic of
//! its own, an event stream carries them to `page/`, which moves the bar.
//!
//! A finite, ordered log: whoever watches gets the state, every step missed, exactly one terminal event, and the end.

#[cfg(feature = "ssr")]
pub mod checksum;
#[cfg(feature = "ssr")]
pub mod form;
#[cfg(feature = "ssr")]
pub mod job;
pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod race;
#[cfg(feature = "ssr")]
mod rate;
pub mod result;
#[cfg(feature = "ssr")]
pub mod runner;
#[cfg(feature = "ssr")]
pub mod server;
#[cfg(feature = "ssr")]
pub mod store;
#[cfg(feature = "ssr")]
pub mod task;
#[cfg(feature = "ssr")]
pub mod upload;
