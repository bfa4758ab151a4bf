//! The stock ticker: `market.rs` makes a price, `server.rs` publishes it in a topic, an event stream carries it to
//! `page.rs`, which writes it into the row of its symbol.
//!
//! Latest value wins: a client that comes back gets every price it missed while the server still has them, else a
//! snapshot; one that cannot keep up gets the newest price of each symbol, never a backlog.

#[cfg(feature = "ssr")]
pub mod market;
pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;

/// Which symbols there are.
pub const SYMBOLS_ROUTE: &str = "/api/ticker/symbols";
