//! The browser half of the kit. It compiles everywhere and runs only inside effects, so nothing here is gated.
//!
//! Decisions are made by pure reducers (`status.rs`, `sharing.rs`, `backoff.rs`, `close.rs`, [`outbox`]); this half executes them.

pub mod armed;
pub mod connection;
pub mod event_source;
pub mod live_text;
pub mod outbox;
pub mod probe;
pub mod shared_stream;
pub mod socket;
pub mod status_line;
pub mod storage;
pub mod tap;

pub use armed::{Alarm, Armed};
pub use connection::Connection;
pub use event_source::{Sharing, StreamEvent, StreamOptions, use_event_source};
pub use live_text::{live_text, text_content};
pub use probe::Renewals;
pub use shared_stream::tabs_can_share;
pub use socket::{Socket, SocketEvent, SocketOptions, use_socket, use_socket_with};
pub use status_line::{StatusLine, countdown};
