//! The guide: which transport to choose, with a live measurement of both.
//!
//! A feed publishes twenty pulses a second (`server/feed.rs`). `server/mod.rs` sends them over an event stream and over
//! a socket. The page (`page/live.rs`) measures both (`page/series.rs`). Its other sections explain how to choose.
//!
//! Each statement of the guide about this server links to the source that shows it (`page/source.rs`). The server
//! serves its own source (`server/sources.rs`).

pub mod page;
#[cfg(feature = "ssr")]
pub mod server;
