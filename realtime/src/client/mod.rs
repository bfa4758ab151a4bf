//! The browser half of the kit. It compiles for every target and runs only inside effects, so it needs no feature gate.
//!
//! Pure reducers and functions make the decisions (`status.rs`, `sharing.rs`, `backoff.rs`, `close.rs`, [`outbox`]). The other
//! modules execute them.

pub mod coalesce;
pub mod connection;
pub mod live_text;
pub mod observer;
pub mod outbox;
pub mod probe;
pub mod status_line;
mod stream;
pub mod tab_storage;
mod transports;
pub mod use_event_source;
pub mod use_socket;
pub mod words;

pub use self::coalesce::{Alarm, Coalesce};
pub use self::connection::Connection;
pub use self::live_text::{live_text, text_content};
pub use self::probe::Renewals;
pub use self::status_line::{STATUS_LINE_CSS, StatusLine, countdown};
pub use self::transports::shared::tabs_can_share;
pub use self::use_event_source::{Sharing, StreamEvent, StreamOptions, use_event_source};
pub use self::use_socket::{Socket, SocketEvent, SocketOptions, use_socket, use_socket_with};
pub use self::words::StatusWords;
