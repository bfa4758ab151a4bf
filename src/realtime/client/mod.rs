//! The browser half of the kit. It compiles everywhere and runs only inside effects, so nothing here is gated.
//!
//! Decisions are made by pure reducers (`status.rs`, `backoff.rs`, `close.rs`, [`outbox`]); this half executes them.

pub mod connection;
pub mod event_source;
pub mod outbox;
pub mod probe;
pub mod socket;
pub mod status_line;
pub mod storage;

pub use connection::Connection;
pub use event_source::{StreamEvent, use_event_source};
pub use socket::{Socket, SocketEvent, SocketOptions, use_socket, use_socket_with};
pub use status_line::StatusLine;
