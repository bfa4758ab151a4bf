//! The guide: which transport to choose, with a live measurement of both.
//!
//! A feed publishes twenty pulses a second (`server/feed.rs`). `server/mod.rs` sends them over an event stream and over
//! a socket. The page (`page/measurement.rs`) measures both (`page/series.rs`). Its other sections explain how to choose.
//! Most of them are texts, which only the server renders (`server/texts`).
//!
//! Each statement of the guide about this server links to the source that shows it (`server/texts/source.rs`). The server
//! serves its own source (`server/sources.rs`).

pub mod page;
#[cfg(feature = "ssr")]
pub mod server;

/// The ids of the elements whose content is the server's.
pub const INTRODUCTION: &str = "guide-introduction";
pub const MEASURED: &str = "guide-measured";
pub const TEXTS: &str = "guide-texts";
