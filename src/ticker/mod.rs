//! The stock ticker: a feed (`feed/`) has a price, `server.rs` writes it into the `book.rs` and publishes it in a topic, an
//! event stream carries it to `page.rs`, which keeps it in `prices.rs` until the next frame, and then writes it into the
//! row of its symbol (`table.rs`) and into the `chart.rs`.
//!
//! Latest value wins: a client that comes back gets every price it missed while the server still has them, else a
//! snapshot; one that cannot keep up gets the newest price of each symbol, never a backlog.

pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;
pub mod trail;

/// Which symbols there are.
pub const SYMBOLS_ROUTE: &str = "/api/ticker/symbols";
/// More symbols than this in one request are a mistake.
pub const MOST_SYMBOLS: usize = 200;
