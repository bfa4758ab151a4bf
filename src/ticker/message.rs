//! Messages and stream contract of the ticker.

use serde::{Deserialize, Serialize};

use super::{MAX_SYMBOLS, trail::Trail};
use crate::ui::numbers::{MOST_DECIMALS, decimals_of};
use realtime::{contract::StreamContract, position::Position, strum::VariantNames};

/// The event stream of prices, for all symbols or for the named ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TickerEvents {
    /// `None`: all symbols.
    pub symbols: Option<Vec<String>>,
    /// Requested symbols for which the client has no price yet. The server sends their prices even when the stream
    /// resumes.
    pub added: Vec<String>,
}

/// The price of one symbol.
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

realtime::tagged! {
    /// Server to client.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum TickerEvent {
        /// The newest price of every requested symbol. Sent after a `hello` that did not recover, and for added symbols.
        Snapshot { quotes: Vec<Quote> },
        /// A price has changed.
        Price(Quote),
        /// The source of the prices was lost (`stale`) or is back (`live`). Also sent after a snapshot while the source is
        /// lost.
        Feed {
            status: FeedStatus,
            /// Unix milliseconds.
            since: u64,
        },
    }
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

/// The maximum number of digits after the point that a number on the wire has.
pub const MAX_DECIMALS: u8 = MOST_DECIMALS as u8;

/// Digits after the point of a number, at most [`MAX_DECIMALS`].
pub fn decimals(value: f64) -> u8 {
    decimals_of(value) as u8
}

/// The first state of the page, and the position from which the browser continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstPrices {
    pub position: Position,
    pub listings: Vec<Listing>,
    pub quotes: Vec<Quote>,
    /// The last minutes of each symbol, in the order of `listings`.
    pub trails: Vec<Trail>,
    /// Since when the source of the prices is lost (Unix milliseconds); `None` while it is live.
    pub stale_since: Option<u64>,
}

impl StreamContract for TickerEvents {
    const NAME: &'static str = "ticker";
    const ROUTE: &'static str = "/api/ticker/events";

    type Event = TickerEvent;

    fn url(&self) -> String {
        self.url_with(&self.added)
    }

    /// The added symbols have their price by now. What they miss from here on is replayed like everything else.
    fn settled_url(&self) -> String {
        self.url_with(&[])
    }

    /// All filters read one history. If more symbols were added than a request may name, the stream starts anew with a
    /// snapshot of all.
    fn continues(&self, _previous: &Self) -> bool {
        self.added.len() <= MAX_SYMBOLS
    }

    fn is_state(event: &TickerEvent) -> bool {
        matches!(
            event,
            TickerEvent::Snapshot { .. } | TickerEvent::Feed { .. }
        )
    }
}

impl TickerEvents {
    fn url_with(&self, added: &[String]) -> String {
        let symbols = self
            .symbols
            .as_ref()
            .map(|symbols| format!("symbols={}", symbols.join(",")));
        let added = (1..=MAX_SYMBOLS)
            .contains(&added.len())
            .then(|| format!("added={}", added.join(",")));
        let query: Vec<String> = symbols.into_iter().chain(added).collect();
        if query.is_empty() {
            Self::ROUTE.into()
        } else {
            format!("{}?{}", Self::ROUTE, query.join("&"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_after_the_point_are_counted_as_they_print() {
        assert_eq!(decimals(182.4), 1);
        assert_eq!(decimals(0.000_012_34), 8);
        assert_eq!(decimals(3.0), 0);
    }
}
