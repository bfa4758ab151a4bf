//! The stock ticker: live prices over an event stream, where the latest value wins.
//!
//! A feed (`server/feeds/`) produces prices. `server/mod.rs` writes each price into the book (`server/book.rs`) and
//! publishes it in a topic, and an event stream carries it to the browser. There `page/mod.rs` passes it to
//! `page/prices.rs`, which keeps it until the next animation frame. The frame updates the row of the symbol
//! (`page/table.rs`) and the chart (`page/chart.rs`).
//!
//! A client that reconnects gets every price that it missed while the server still holds them, otherwise a snapshot. A
//! client that cannot keep up gets the newest price of each symbol, never a backlog.

pub mod message;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;
pub mod trail;

/// Lists the symbols (GET).
pub const SYMBOLS_ROUTE: &str = "/api/ticker/symbols";
/// A request that names more symbols than this is refused as a mistake.
pub const MAX_SYMBOLS: usize = 200;
