//! What crosses the wire for the ticker.

use serde::{Deserialize, Serialize};

use crate::realtime::{contract::StreamContract, position::Position};

/// The event stream of prices, all symbols or the named ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TickerEvents {
    /// `None`: all.
    pub symbols: Option<Vec<String>>,
    /// Those of `symbols` for which the client has no price yet; it gets one even when the rest resumes.
    pub added: Vec<String>,
}

/// One price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    pub symbol: String,
    pub price: f64,
    /// Since the day's open.
    pub change: f64,
    pub change_percent: f64,
    /// Traded since the day's open.
    pub volume: f64,
    /// Unix milliseconds.
    pub at: u64,
}

/// Server to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TickerEvent {
    /// The newest price of every wanted symbol: after a `hello` that did not recover, and for added symbols.
    Snapshot { quotes: Vec<Quote> },
    /// A price has changed.
    Price(Quote),
    /// The source of the prices went (`stale`) or came back (`live`).
    Feed {
        status: FeedStatus,
        /// Unix milliseconds.
        since: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedStatus {
    Live,
    Stale,
}

/// A symbol that can be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub symbol: String,
    pub name: String,
    /// Digits after the point in its price.
    pub decimals: u8,
}

/// What the server renders first, and where the browser continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstPrices {
    pub position: Position,
    pub listings: Vec<Listing>,
    pub quotes: Vec<Quote>,
}

impl StreamContract for TickerEvents {
    const ROUTE: &'static str = "/api/ticker/events";
    const EVENTS: &'static [&'static str] = &["snapshot", "price", "feed"];
    const STATES: &'static [&'static str] = &["snapshot"];

    type Event = TickerEvent;

    fn url(&self) -> String {
        let symbols = self
            .symbols
            .as_ref()
            .map(|symbols| format!("symbols={}", symbols.join(",")));
        let added = (!self.added.is_empty()).then(|| format!("added={}", self.added.join(",")));
        let query: Vec<String> = symbols.into_iter().chain(added).collect();
        if query.is_empty() {
            Self::ROUTE.into()
        } else {
            format!("{}?{}", Self::ROUTE, query.join("&"))
        }
    }

    /// All filters read one history.
    fn continues(&self, _previous: &Self) -> bool {
        true
    }
}
