//! The server half of the ticker: publishes prices and serves their stream.

pub mod book;
pub mod feeds;
pub mod settings;

use std::{
    collections::BTreeSet,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Extension, Json, Router, extract::State, response::Response, routing::get};
use serde::Deserialize;

use self::{
    book::Book,
    feeds::{Feed, News},
};
use super::{
    MAX_SYMBOLS, SYMBOLS_ROUTE,
    message::{FeedStatus, FirstPrices, Listing, TickerEvent, TickerEvents},
};
use crate::{
    routes::{Feature, Routes, Web},
    session::server::SocketSession,
    ui::first_state::FirstState,
    web::{
        error::ApiError,
        server::{answer::Query, caller::Caller},
    },
};
use realtime::{
    contract::StreamContract,
    position::Position,
    server::{
        Connection, Drain,
        frame::frame,
        sse::{EventStream, ResumeFrom},
        topic::{Delivery, Opening, Topic},
    },
};

/// What an event is about. A topic keeps the newest event of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The status of the source, which every subscriber gets.
    Feed,
    /// A symbol, by its index in the book.
    Symbol(usize),
}

/// The prices of all symbols and their stream. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Ticker {
    topic: Topic<Key>,
    /// A std mutex: it is held for a few copies. Events are published while it is held, so that a snapshot and its
    /// position belong together.
    book: Arc<Mutex<Book>>,
    /// Held by [`Ticker::run`], and released if that panics.
    feed: Arc<tokio::sync::Mutex<Box<dyn Feed>>>,
}

/// The validated request of a client.
struct Wanted {
    /// Indices in the book; `None`: all.
    symbols: Option<BTreeSet<usize>>,
    /// Symbols for which the client has no price yet.
    added: BTreeSet<usize>,
}

impl Ticker {
    pub fn new(mut feed: Box<dyn Feed>, history: usize) -> Self {
        let mut book = Book::new(feed.listings());
        feed.opening().into_iter().for_each(|quote| {
            book.write(quote);
        });
        Self {
            topic: Topic::new(Delivery::LatestPerKey, history),
            book: Arc::new(Mutex::new(book)),
            feed: Arc::new(tokio::sync::Mutex::new(feed)),
        }
    }

    /// Publishes the news of the feed until the server drains. Only one call runs at a time; others return.
    pub async fn run(self, drain: Drain) {
        let Ok(mut feed) = self.feed.try_lock() else {
            return;
        };
        loop {
            tokio::select! {
                news = feed.next() => self.publish(news),
                () = drain.started() => return,
            }
        }
    }

    /// Writes news into the book and publishes it. Prices of symbols that are not listed are left out.
    pub fn publish(&self, news: News) {
        let mut book = self.book();
        match news {
            News::Prices(quotes) => {
                let written = quotes.into_iter().filter_map(|quote| {
                    let index = book.write(quote.clone())?;
                    Some((Key::Symbol(index), TickerEvent::Price(quote)))
                });
                self.topic.publish_all(written);
            }
            News::Status { status, since } => {
                book.set_status(status, since);
                self.topic
                    .publish(Key::Feed, &TickerEvent::Feed { status, since });
            }
        }
    }

    /// Since when the source is lost, in Unix milliseconds; `None` while it is live.
    pub fn stale_since(&self) -> Option<u64> {
        self.book().stale_since()
    }

    /// The newest prices and the position they belong to.
    pub fn first_prices(&self) -> FirstPrices {
        let book = self.book();
        FirstPrices {
            position: self.topic.head(),
            listings: book.listings().to_vec(),
            quotes: book.quotes(|_| true),
            trails: book.trails(),
            stale_since: book.stale_since(),
        }
    }

    /// Opens a client's stream, resumed from `after` if possible.
    fn open(
        &self,
        after: Option<&Position>,
        wanted: Wanted,
        connection: Connection,
    ) -> EventStream<Key> {
        let Wanted { symbols, added } = wanted;
        let filter = move |key: &Key| match (key, &symbols) {
            (Key::Symbol(index), Some(symbols)) => symbols.contains(index),
            _ => true,
        };
        let stated = added.clone();
        let stated = move |key: &Key| matches!(key, Key::Symbol(index) if stated.contains(index));
        // Held until the state is read, so that nothing is published between the state and the start of the reader.
        let book = self.book();
        match self.topic.resume_beside_state(after, filter, stated) {
            Opening::Recovered { reader, replayed } => {
                // Sent at the client's own position, so that the client does not skip the replayed events.
                let snapshot = TickerEvent::Snapshot {
                    quotes: book.quotes(|index| added.contains(&index)),
                };
                let state = (!added.is_empty()).then(|| frame(Some(&reader.written()), &snapshot));
                EventStream {
                    reader,
                    recovered: Some(replayed),
                    state: state.into_iter().collect(),
                    session_ended: None,
                    connection,
                }
            }
            Opening::Fresh(filter) => {
                let position = self.topic.head();
                let quotes = book.quotes(|index| filter(&Key::Symbol(index)));
                let snapshot = TickerEvent::Snapshot { quotes };
                let stale = book.stale_since().map(|since| TickerEvent::Feed {
                    status: FeedStatus::Stale,
                    since,
                });
                let state = [Some(snapshot), stale].into_iter().flatten();
                EventStream {
                    state: state.map(|event| frame(Some(&position), &event)).collect(),
                    reader: self.topic.read_from(position.offset, filter),
                    recovered: None,
                    session_ended: None,
                    connection,
                }
            }
        }
    }

    /// Parses the list of symbols in the query parameter `field`. The error names the unknown symbols.
    fn parse_symbols(&self, field: &str, list: &str) -> Result<BTreeSet<usize>, ApiError> {
        let refused = |error: String| ApiError {
            field: Some(field.into()),
            ..ApiError::new(400, error)
        };
        let names = list.split(',').map(|name| name.trim().to_ascii_uppercase());
        let symbols: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
        if symbols.is_empty() {
            return Err(refused(format!(
                "{field}= names none. Leave it out for all symbols, or name some, as in {field}=ACME,INIT."
            )));
        }
        if symbols.len() > MAX_SYMBOLS {
            let count = symbols.len();
            return Err(refused(format!(
                "At most {MAX_SYMBOLS} symbols, not {count}."
            )));
        }
        self.book().indices(&symbols).map_err(|unknown| {
            let unknown = unknown.join(", ");
            refused(format!(
                "Unknown symbols: {unknown}. {SYMBOLS_ROUTE} lists those there are."
            ))
        })
    }

    /// Ignores poisoning: a panic can only have interrupted one write, and every other price is intact.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn routes(web: Web, ticker: Ticker) -> Routes {
    let drain = web.realtime.drain().clone();
    let (fed, first, watched) = (ticker.clone(), ticker.clone(), ticker.clone());
    let state = web.with(ticker);
    let live = Router::new().route(TickerEvents::ROUTE, get(events));
    let plain = Router::new().route(SYMBOLS_ROUTE, get(symbols));
    Routes::default()
        .live(live.with_state(state.clone()))
        .plain(plain.with_state(state))
        .public(&[TickerEvents::ROUTE, SYMBOLS_ROUTE])
        .first_state(move |_path| {
            let ticker = first.clone();
            ready(move || {
                let ticker = ticker.clone();
                FirstState::provide(move |()| ticker.first_prices());
            })
        })
        .background("price feed", move || fed.clone().run(drain.clone()))
        .remark(move || {
            let since = watched.stale_since()?;
            Some(format!(
                "The price feed is stale since {since} (Unix milliseconds)."
            ))
        })
}

#[derive(Deserialize)]
struct EventsQuery {
    symbols: Option<String>,
    added: Option<String>,
}

async fn events(
    State(Feature { web, own: ticker }): State<Feature<Ticker>>,
    Extension(caller): Extension<Caller>,
    connection: Connection,
    // The stream is public. A user with a session may inspect and break their own stream.
    _session: SocketSession,
    Query(query): Query<EventsQuery>,
    ResumeFrom(after): ResumeFrom,
) -> Result<Response, ApiError> {
    let parse = |field, list: String| ticker.parse_symbols(field, &list);
    let symbols = query
        .symbols
        .map(|list| parse("symbols", list))
        .transpose()?;
    // Most clients that send an empty list mean that nothing was added.
    let added = query.added.filter(|list| !list.is_empty());
    let mut added = added.map_or(Ok(BTreeSet::new()), |list| parse("added", list))?;
    if let Some(symbols) = &symbols {
        added.retain(|index| symbols.contains(index));
    }
    let permit = web.limits.permit(caller.address)?;
    let after = after.filter(|_| !connection.has_expired());
    let stream = ticker.open(after.as_ref(), Wanted { symbols, added }, connection);
    Ok(stream.respond(&ticker.topic, &web.realtime, "ticker", permit))
}

async fn symbols(State(state): State<Feature<Ticker>>) -> Json<Vec<Listing>> {
    Json(state.own.book().listings().to_vec())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{FutureExt, future::BoxFuture};

    use super::*;
    use crate::background::Supervisor;

    /// Panics on the first call, returns one price on the second, then waits.
    struct Fragile(u32);

    impl Feed for Fragile {
        fn listings(&self) -> Vec<Listing> {
            let (symbol, name) = ("ACME".into(), "Acme".into());
            vec![Listing {
                symbol,
                name,
                decimals: 2,
            }]
        }

        fn next(&mut self) -> BoxFuture<'_, News> {
            self.0 += 1;
            match self.0 {
                1 => panic!("on purpose"),
                2 => {
                    let quote = super::feeds::quote("ACME", 2.0, 1.0, 1.0, 0);
                    std::future::ready(News::Prices(vec![quote])).boxed()
                }
                _ => std::future::pending().boxed(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_panics_starts_again() {
        let ticker = Ticker::new(Box::new(Fragile(0)), 10);
        let running = ticker.clone();
        Supervisor::default().run("feed", move || running.clone().run(Drain::default()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(ticker.first_prices().quotes.len(), 1);
    }
}
