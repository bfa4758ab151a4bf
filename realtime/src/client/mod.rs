//! The browser half of the kit. It compiles for every target and runs only inside effects, so it needs no feature gate.
//!
//! Pure reducers and functions make the decisions (`status.rs`, `sharing.rs`, `backoff.rs`, `close.rs`, [`outbox`], `uplink.rs`). The other
//! modules execute them, on what `platform/` takes from the browser.

pub mod channel;
pub mod coalesce;
pub mod config;
pub mod connection;
pub mod credential;
pub mod live_text;
pub mod observer;
pub mod outbox;
pub(crate) mod platform;
pub mod probe;
pub mod status_line;
mod stream;
pub mod tab_storage;
mod task;
#[cfg(test)]
mod tests;
mod transports;
mod uplink;
pub mod use_channel;
pub mod use_event_source;
pub mod use_socket;
pub mod words;

pub use self::coalesce::{Alarm, Coalesce};
pub use self::config::ClientConfig;
pub use self::connection::{Connection, Faults};
pub use self::credential::Credential;
pub use self::live_text::{live_text, text_content};
pub use self::probe::AbortOnDrop;
pub use self::status_line::{STATUS_LINE_CSS, StatusLine, countdown};
pub use self::transports::shared::tabs_can_share;
pub use self::use_channel::{ChannelHandle, ChannelUpdate, use_channel, use_channel_with_options};
pub use self::use_event_source::{
    Sharing, StreamEvent, StreamOptions, use_event_source, use_event_source_with_options,
    use_latest, use_latest_with_options,
};
pub use self::use_socket::{
    Socket, SocketEvent, SocketOptions, use_socket, use_socket_with_options,
};
pub use self::words::StatusWords;
