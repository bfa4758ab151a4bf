//! Publishes prices and serves their stream.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Extension, Json, Router, extract::State, response::Response, routing::get};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    SYMBOLS_ROUTE,
    market::{FeedSetting, Market},
    message::{FirstPrices, Listing, Quote, TickerEvent, TickerEvents},
};
use crate::{
    api::{ApiError, answer::Query, origin::Caller},
    realtime::{
        contract::StreamContract,
        position::Position,
        server::{
            Drain, now_ms,
            sse::{EventStream, ResumeFrom, frame},
            topic::{Delivery, Opening, Topic},
        },
    },
    server::AppState,
};

/// More symbols than this in one request are a mistake.
const MOST_SYMBOLS: usize = 200;

/// The prices of all symbols and their stream. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Ticker {
    topic: Topic<String>,
    /// A std mutex: it is held for one step. Published under it, so that a snapshot and its position belong together.
    market: Arc<Mutex<Market>>,
    listings: Arc<Vec<Listing>>,
}

impl Ticker {
    pub fn new(feed: &FeedSetting, history: usize) -> Self {
        let FeedSetting::Simulated { seed } = feed;
        let market = Market::new(seed.unwrap_or_else(rand::random));
        let topic = Topic::new(Delivery::LatestPerKey, history);
        Self {
            topic,
            market: Arc::new(Mutex::new(market)),
            listings: Arc::new(Market::listings()),
        }
    }

    /// Moves the market every `tick` until the server leaves.
    pub async fn run(self, tick: Duration, drain: Drain) {
        let mut ticks = interval_at(Instant::now() + tick, tick);
        // After a pause of the machine the market goes on; it does not catch up in a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.step(now_ms()),
                () = drain.started() => return,
            }
        }
    }

    /// Moves the market once and publishes what changed.
    pub fn step(&self, at: u64) {
        let mut market = self.market();
        let changed = market.step(at);
        self.topic.publish_all(
            changed
                .into_iter()
                .map(|quote| (quote.symbol.clone(), TickerEvent::Price(quote))),
        );
    }

    /// The newest prices and the position they belong to.
    pub fn first_prices(&self) -> FirstPrices {
        let (position, quotes) = self.snapshot(|_| true);
        FirstPrices {
            position,
            listings: self.listings.to_vec(),
            quotes,
        }
    }

    fn snapshot(&self, wanted: impl Fn(&String) -> bool) -> (Position, Vec<Quote>) {
        let market = self.market();
        let mut quotes = market.quotes(now_ms());
        quotes.retain(|quote| wanted(&quote.symbol));
        (self.topic.head(), quotes)
    }

    /// Checks a list of symbols as it stands in a query; the error names those that are unknown.
    fn parse_symbols(&self, list: &str) -> Result<BTreeSet<String>, ApiError> {
        let symbols: BTreeSet<String> = list
            .split(',')
            .map(|symbol| symbol.trim().to_ascii_uppercase())
            .collect();
        if list.trim().is_empty() {
            let error = "symbols= names none. Leave it out for all symbols, or name some, as in symbols=ACME,INIT.";
            return Err(ApiError {
                field: Some("symbols".into()),
                ..ApiError::new(400, error)
            });
        }
        if symbols.len() > MOST_SYMBOLS {
            let error = format!("At most {MOST_SYMBOLS} symbols, not {}.", symbols.len());
            return Err(ApiError {
                field: Some("symbols".into()),
                ..ApiError::new(400, error)
            });
        }
        let known = |symbol: &&String| {
            self.listings
                .iter()
                .any(|listing| &listing.symbol == *symbol)
        };
        let unknown: Vec<&str> = symbols
            .iter()
            .filter(|symbol| !known(symbol))
            .map(String::as_str)
            .collect();
        if unknown.is_empty() {
            return Ok(symbols);
        }
        let error = format!(
            "Unknown symbols: {}. {SYMBOLS_ROUTE} lists those there are.",
            unknown.join(", ")
        );
        Err(ApiError {
            field: Some("symbols".into()),
            ..ApiError::new(400, error)
        })
    }

    /// A panic while the lock was held can only have been within one step: the prices before it stand.
    fn market(&self) -> MutexGuard<'_, Market> {
        self.market.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(TickerEvents::ROUTE, get(events))
        .route(SYMBOLS_ROUTE, get(symbols))
}

#[derive(Deserialize)]
struct Wanted {
    symbols: Option<String>,
    added: Option<String>,
}

async fn events(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
    ResumeFrom(after): ResumeFrom,
) -> Result<Response, ApiError> {
    let ticker = &state.ticker;
    let symbols = wanted
        .symbols
        .map(|list| ticker.parse_symbols(&list))
        .transpose()?;
    let added = wanted
        .added
        .filter(|list| !list.is_empty())
        .map(|list| ticker.parse_symbols(&list))
        .transpose()?;
    let place = state.limits.place(caller.address)?;
    let filter = move |symbol: &String| {
        symbols
            .as_ref()
            .is_none_or(|symbols| symbols.contains(symbol))
    };
    let stream = match ticker.topic.resume(after.as_ref(), filter) {
        Opening::Recovered { reader, replayed } => {
            // At the client's own position: a price that follows in the replay may be older than this one or the same.
            let added = added.map(|added| ticker.snapshot(|symbol| added.contains(symbol)).1);
            let state = added
                .map(|quotes| frame(Some(&reader.written()), &TickerEvent::Snapshot { quotes }));
            EventStream {
                reader,
                recovered: Some(replayed),
                state: state.into_iter().collect(),
                session_ended: None,
            }
        }
        Opening::Fresh(filter) => {
            let (position, quotes) = ticker.snapshot(&filter);
            let snapshot = frame(Some(&position), &TickerEvent::Snapshot { quotes });
            let reader = ticker.topic.read_from(position.offset, filter);
            EventStream {
                reader,
                recovered: None,
                state: vec![snapshot],
                session_ended: None,
            }
        }
    };
    Ok(stream.respond(&ticker.topic, &state.realtime, "ticker", place))
}

async fn symbols(State(state): State<AppState>) -> Json<Vec<Listing>> {
    Json(state.ticker.listings.to_vec())
}
