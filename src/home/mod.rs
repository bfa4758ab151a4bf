//! The guide: a feed publishes twenty pulses a second (`feed.rs`), `server.rs` carries them over an event stream and over a
//! socket, and the page (`live.rs`) measures both (`lane.rs`); around it stands what there is to know before choosing one.
//!
//! Whatever this server does, as the guide says, links to the source that shows it (`source.rs`); the server shows its own
//! source (`sources.rs`).

pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;
