//! Long tasks on the server, whose progress an event stream carries to any number of tabs.
//!
//! A form starts a job. `server/runner.rs` runs it. `server/job.rs` keeps its state and publishes each step in the
//! job's own topic. An event stream carries the steps to `page/`, which moves the bar.
//!
//! The stream is a finite, ordered log: a subscriber gets the state, every step that it missed, exactly one terminal
//! event, and the end of the stream.

pub mod message;
pub mod page;
pub mod result;
#[cfg(feature = "ssr")]
pub mod server;
