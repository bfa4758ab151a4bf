//! The server half of the ticker: publishes prices and serves their stream.

pub mod book;
pub mod feeds;
pub mod settings;

use std::{
    collections::BTreeSet,
    future::ready,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Json, Router, extract::State, response::Response, routing::get};
use serde::Deserialize;

use self::{
    book::{Book, Key},
    feeds::{Feed, News},
};
use super::{
    MAX_SYMBOLS, SYMBOLS_ROUTE,
    message::{FeedStatus, FirstPrices, Listing, TickerEvent, TickerEvents},
};
use crate::{
    bus::{SharedBus, carrier::BusCarrier},
    routes::{Feature, Routes, Web},
    session::server::SocketSession,
    ui::first_state::{FirstState, Prepared},
    web::{error::ApiError, server::answer::Query},
};
use realtime::{
    contract::StreamContract,
    position::Position,
    server::{Delivery, Drain, Mirror, Selection, StreamRequest, Topic},
};

/// The prices of all symbols and their stream. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Ticker {
    topic: Topic<Book, Key>,
    /// Held by [`Ticker::run`], and released if that panics.
    feed: Arc<tokio::sync::Mutex<Box<dyn Feed>>>,
    /// `None` on one server.
    cluster: Option<Arc<Cluster>>,
    /// What a page began with last. All pages until the next event share it.
    first: Arc<Mutex<Option<Arc<Prepared<FirstPrices>>>>>,
}

/// What the nodes of a cluster need: one of them runs the feed, the others mirror its prices.
struct Cluster {
    bus: SharedBus,
    mirror: Mirror<Book>,
}

/// The key for which the nodes compete, and the subject of the mirrored prices.
const OWNED: &str = "ticker";
/// How long the owner of the prices may be silent before the operator is told.
const SILENT: Duration = Duration::from_secs(10);

/// The validated request of a client.
struct Wanted {
    /// Indices in the book; `None`: all.
    symbols: Option<BTreeSet<usize>>,
    /// Symbols for which the client has no price yet.
    added: BTreeSet<usize>,
}

impl Ticker {
    pub fn new(mut feed: Box<dyn Feed>, history: usize, bus: &SharedBus) -> Self {
        let mut book = Book::new(feed.listings());
        feed.opening().into_iter().for_each(|quote| {
            book.write(quote);
        });
        let topic = Topic::new(book, Delivery::LatestPerKey, history);
        let cluster = bus.node().map(|_| {
            Arc::new(Cluster {
                mirror: Mirror::new(topic.clone(), BusCarrier::new(bus.clone(), OWNED)),
                bus: bus.clone(),
            })
        });
        Self {
            topic,
            feed: Arc::new(tokio::sync::Mutex::new(feed)),
            cluster,
            first: Arc::default(),
        }
    }

    /// Takes over the prices that another node has published so far, if there is one, so that no page begins with others.
    async fn prepare(self) {
        if let Some(cluster) = &self.cluster {
            cluster.mirror.catch_up().await;
        }
    }

    /// Publishes the news of the feed until the server drains; in a cluster only while this node owns the prices, and it
    /// mirrors them otherwise. Only one call runs at a time; others return.
    pub async fn run(self, drain: Drain) {
        let Ok(mut feed) = self.feed.try_lock() else {
            return;
        };
        let Some(cluster) = &self.cluster else {
            tokio::select! {
                () = self.run_feed(&mut **feed) => {}
                () = drain.started() => {}
            }
            return;
        };
        let mut lease = cluster.bus.lease(OWNED);
        loop {
            let term = tokio::select! {
                term = lease.owned_term() => term,
                // It ends with the bus.
                () = cluster.mirror.follow() => return,
                () = drain.started() => break,
            };
            feed.go_on_from(&self.topic.read(|book, _| book.quotes(|_| true)));
            tokio::select! {
                // First: it begins the epoch of this owner.
                biased;
                () = cluster.mirror.own(term) => {}
                () = lease.lost(term) => {}
                () = drain.started() => break,
                () = self.run_feed(&mut **feed) => {}
            }
        }
        // At once, so that the prices go on elsewhere while this node drains.
        lease.release().await;
    }

    async fn run_feed(&self, feed: &mut dyn Feed) {
        loop {
            let news = feed.next().await;
            self.publish(news);
        }
    }

    /// Writes news into the book and publishes it. Prices of symbols that are not listed are left out.
    pub fn publish(&self, news: News) {
        self.topic.publish_all(|book| match news {
            News::Prices(quotes) => {
                let written = quotes.into_iter().filter_map(|quote| {
                    let index = book.write(quote.clone())?;
                    Some((Key::Symbol(index), TickerEvent::Price(quote)))
                });
                written.collect()
            }
            News::Status { status, since } => {
                book.set_status(status, since);
                vec![(Key::Feed, TickerEvent::Feed { status, since })]
            }
        });
    }

    /// Since when the source is lost, in Unix milliseconds; `None` while it is live.
    pub fn stale_since(&self) -> Option<u64> {
        self.topic.read(|book, _| book.stale_since())
    }

    /// For how long the node that owns the prices has been silent, if that is too long.
    fn silence(&self) -> Option<Duration> {
        let cluster = self.cluster.as_ref()?;
        Some(cluster.mirror.silence()).filter(|silence| *silence >= SILENT)
    }

    /// The newest prices and the position they belong to.
    pub fn first_prices(&self) -> FirstPrices {
        self.topic.read(first_prices)
    }

    /// The same for a page: made once for each position, and shared by all pages that begin there.
    fn shared_first_prices(&self) -> Arc<Prepared<FirstPrices>> {
        self.topic.read(|book, position| {
            // While the topic is read its position stands, and no other page reads it. A poisoned lock is used all the same:
            // what it holds is replaced as a whole.
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(first) = first
                .as_ref()
                .filter(|first| first.state().position == position)
            {
                return first.clone();
            }
            let made = Arc::new(first_prices(book, position).into());
            first.insert(made).clone()
        })
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
        let indices = self.topic.read(|book, _| book.indices(&symbols));
        indices.map_err(|unknown| {
            let unknown = unknown.join(", ");
            refused(format!(
                "Unknown symbols: {unknown}. {SYMBOLS_ROUTE} lists those there are."
            ))
        })
    }
}

impl Wanted {
    fn selection(self) -> Selection<Key> {
        let Self { symbols, added } = self;
        let selection = Selection::of(move |key| match (key, &symbols) {
            (Key::Symbol(index), Some(symbols)) => symbols.contains(index),
            _ => true,
        });
        if added.is_empty() {
            return selection;
        }
        selection
            .with_state_of(move |key| matches!(key, Key::Symbol(index) if added.contains(index)))
    }
}

fn first_prices(book: &Book, position: Position) -> FirstPrices {
    FirstPrices {
        position,
        listings: book.listings().to_vec(),
        quotes: book.quotes(|_| true),
        trails: book.trails(),
        stale_since: book.stale_since(),
    }
}

/// The prices of the symbols that a client wants, and the status of the source where it is not live.
fn snapshot(book: &Book, includes: &dyn Fn(&Key) -> bool) -> Vec<TickerEvent> {
    let quotes = book.quotes(|index| includes(&Key::Symbol(index)));
    let stale = book.stale_since().filter(|_| includes(&Key::Feed));
    let stale = stale.map(|since| TickerEvent::Feed {
        status: FeedStatus::Stale,
        since,
    });
    let snapshot = TickerEvent::Snapshot { quotes };
    [Some(snapshot), stale].into_iter().flatten().collect()
}

pub fn routes(web: Web, ticker: Ticker) -> Routes {
    let drain = web.realtime.drain().clone();
    let (fed, first, watched) = (ticker.clone(), ticker.clone(), ticker.clone());
    let prepared = ticker.clone();
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
                FirstState::provide_prepared(move |()| ticker.shared_first_prices());
            })
        })
        .before_start(prepared.prepare())
        .background("price feed", move || fed.clone().run(drain.clone()))
        .remark(move || {
            if let Some(silence) = watched.silence() {
                let seconds = silence.as_secs();
                return Some(format!(
                    "The node that has the price feed has been silent for {seconds} s."
                ));
            }
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
    State(Feature { own: ticker, .. }): State<Feature<Ticker>>,
    // The stream is public. A user with a session may inspect and break their own stream.
    _session: SocketSession,
    Query(query): Query<EventsQuery>,
    stream: StreamRequest<TickerEvents>,
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
    let wanted = Wanted { symbols, added };
    if let (Some(cluster), Some(after)) = (&ticker.cluster, stream.after()) {
        cluster.mirror.reach(after).await;
    }
    Ok(stream.respond_with(&ticker.topic, wanted.selection(), snapshot))
}

async fn symbols(State(state): State<Feature<Ticker>>) -> Json<Vec<Listing>> {
    Json(state.own.topic.read(|book, _| book.listings().to_vec()))
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::BoxFuture};

    use super::*;
    use crate::background::Supervisor;

    fn bus() -> SharedBus {
        let folder = tempfile::tempdir().unwrap();
        Arc::new(crate::bus::embedded::Embedded::open(folder.path()).unwrap())
    }

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

    #[tokio::test]
    async fn pages_share_their_first_state_until_the_next_event_and_none_is_stale() {
        let ticker = Ticker::new(Box::new(Fragile(0)), 10, &bus());
        let first = ticker.shared_first_prices();
        assert!(Arc::ptr_eq(&first, &ticker.shared_first_prices()));
        assert_eq!(*first.state(), ticker.first_prices());
        let news = [
            News::Prices(vec![super::feeds::quote("ACME", 2.0, 1.0, 1.0, 9)]),
            News::Status {
                status: FeedStatus::Stale,
                since: 7,
            },
        ];
        for news in news {
            let before = ticker.shared_first_prices();
            ticker.publish(news);
            let after = ticker.shared_first_prices();
            assert_ne!(before.state(), after.state());
            assert_eq!(*after.state(), ticker.first_prices());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_panics_starts_again() {
        let ticker = Ticker::new(Box::new(Fragile(0)), 10, &bus());
        let running = ticker.clone();
        Supervisor::default().run("feed", move || running.clone().run(Drain::default()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(ticker.first_prices().quotes.len(), 1);
    }
}
