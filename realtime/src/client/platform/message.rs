//! What a connection and the window report.

/// An event of an event stream.
pub struct NamedEvent {
    pub name: String,
    pub data: String,
    /// The last event id; empty if there is none.
    pub id: String,
}

/// A message of a socket.
#[derive(Clone)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
}

/// What changed about the page.
#[derive(Clone, Copy)]
pub enum Change {
    /// The browser reports a network, or none.
    Network,
    /// The page became visible or hidden.
    Visibility,
    /// The page is shown, for the first time or again (`pageshow`).
    Shown,
    /// The page is put away (`pagehide`).
    Hidden,
}
