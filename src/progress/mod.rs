//! Long tasks: a form starts a job, `runner.rs` runs it, `job.rs` keeps its state and publishes each step in a topic of
//! its own, an event stream carries them to `page/`, which moves the bar.
//!
//! A finite, ordered log: whoever watches gets the state, every step missed, exactly one terminal event, and the end.

pub mod message;
pub mod page;
pub mod result;
#[cfg(feature = "ssr")]
pub mod server;
