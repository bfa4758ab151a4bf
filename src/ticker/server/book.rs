//! Keeps the newest price and the trail of every symbol, for any feed. Pure.

use std::collections::{BTreeSet, HashMap};

use realtime::server::Mirrored;
use serde::{Deserialize, Serialize};

use crate::ticker::{
    message::{FeedStatus, Listing, Quote, TickerEvent, decimals},
    trail::Trail,
};

/// What an event is about. A topic keeps the newest event of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The status of the source, which every subscriber gets.
    Feed,
    /// A symbol, by its index in the book.
    Symbol(usize),
}

/// The book. Everywhere on the server, a symbol is identified by its index in `listings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Book {
    listings: Vec<Listing>,
    indices: HashMap<String, usize>,
    entries: Vec<Entry>,
    stale_since: Option<u64>,
}

/// A book as it is sent to another node.
#[derive(Serialize, Deserialize)]
struct Stored {
    listings: Vec<Listing>,
    entries: Vec<Entry>,
    stale_since: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Entry {
    quote: Option<Quote>,
    trail: Trail,
}

impl Book {
    pub fn new(listings: Vec<Listing>) -> Self {
        Stored {
            entries: listings.iter().map(|_| Entry::default()).collect(),
            stale_since: None,
            listings,
        }
        .into()
    }

    /// Stores a price. Returns the index of its symbol, or `None` for a symbol that is not listed.
    pub fn write(&mut self, quote: Quote) -> Option<usize> {
        let index = *self.indices.get(&quote.symbol)?;
        let listing = &mut self.listings[index];
        listing.decimals = listing.decimals.max(decimals(quote.price));
        let entry = &mut self.entries[index];
        entry.trail.push(quote.at, quote.price);
        entry.quote = Some(quote);
        Some(index)
    }

    pub fn set_status(&mut self, status: FeedStatus, since: u64) {
        self.stale_since = (status == FeedStatus::Stale).then_some(since);
    }

    /// Since when the source is lost (Unix milliseconds); `None` while it is live.
    pub fn stale_since(&self) -> Option<u64> {
        self.stale_since
    }

    pub fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// The newest price of each wanted symbol that has one, in the order of the listings.
    pub fn quotes(&self, wanted: impl Fn(usize) -> bool) -> Vec<Quote> {
        let entries = self.entries.iter().enumerate();
        let wanted = entries.filter(|(index, _)| wanted(*index));
        wanted
            .filter_map(|(_, entry)| entry.quote.clone())
            .collect()
    }

    /// The last minutes of every symbol, in the order of the listings.
    pub fn trails(&self) -> Vec<Trail> {
        self.entries
            .iter()
            .map(|entry| entry.trail.clone())
            .collect()
    }

    /// The indices of symbols. The error holds the names that are not listed.
    pub fn indices(&self, symbols: &BTreeSet<String>) -> Result<BTreeSet<usize>, Vec<String>> {
        let (known, unknown): (Vec<_>, Vec<_>) = symbols
            .iter()
            .map(|symbol| {
                self.indices
                    .get(symbol)
                    .copied()
                    .ok_or_else(|| symbol.clone())
            })
            .partition(Result::is_ok);
        if unknown.is_empty() {
            Ok(known.into_iter().flatten().collect())
        } else {
            Err(unknown.into_iter().filter_map(Result::err).collect())
        }
    }
}

impl From<Stored> for Book {
    fn from(stored: Stored) -> Self {
        let Stored {
            listings,
            mut entries,
            stale_since,
        } = stored;
        // Another node may be of another version.
        entries.resize(listings.len(), Entry::default());
        let indices = listings.iter().enumerate();
        Self {
            indices: indices
                .map(|(index, listing)| (listing.symbol.clone(), index))
                .collect(),
            listings,
            entries,
            stale_since,
        }
    }
}

impl From<Book> for Stored {
    fn from(book: Book) -> Self {
        Self {
            listings: book.listings,
            entries: book.entries,
            stale_since: book.stale_since,
        }
    }
}

impl Mirrored for Book {
    type Event = TickerEvent;
    type Key = Key;

    fn apply(&mut self, event: TickerEvent) -> Option<Key> {
        match event {
            TickerEvent::Price(quote) => self.write(quote).map(Key::Symbol),
            TickerEvent::Feed { status, since } => {
                self.set_status(status, since);
                Some(Key::Feed)
            }
            TickerEvent::Snapshot { .. } => None,
        }
    }

    fn key(&self, event: &TickerEvent) -> Option<Key> {
        match event {
            TickerEvent::Price(quote) => self.indices.get(&quote.symbol).copied().map(Key::Symbol),
            TickerEvent::Feed { .. } => Some(Key::Feed),
            TickerEvent::Snapshot { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticker::server::feeds::quote;

    #[test]
    fn a_price_replaces_the_one_before_and_a_finer_one_shows_its_digits() {
        let listing = |symbol: &str| Listing {
            symbol: symbol.into(),
            name: symbol.into(),
            decimals: 2,
        };
        let mut book = Book::new(vec![listing("A"), listing("B")]);
        assert_eq!(book.quotes(|_| true), []);
        assert_eq!(book.write(quote("B", 1.5, 1.0, 0.0, 1)), Some(1));
        assert_eq!(book.write(quote("B", 0.000_25, 1.0, 0.0, 2)), Some(1));
        assert_eq!(book.write(quote("C", 1.0, 1.0, 0.0, 3)), None);
        let prices: Vec<f64> = book
            .quotes(|_| true)
            .iter()
            .map(|quote| quote.price)
            .collect();
        assert_eq!(prices, [0.000_25]);
        assert_eq!(book.quotes(|index| index == 0), []);
        let decimals: Vec<u8> = book
            .listings()
            .iter()
            .map(|listing| listing.decimals)
            .collect();
        assert_eq!(decimals, [2, 5]);
    }

    #[test]
    fn a_book_is_the_same_at_another_node() {
        let mut book = Book::new(crate::ticker::server::feeds::market::Market::listings());
        book.write(quote("ACME", 1.25, 1.0, 2.0, 5_000));
        book.set_status(FeedStatus::Stale, 7);
        let json = serde_json::to_string(&book).unwrap();
        assert_eq!(serde_json::from_str::<Book>(&json).unwrap(), book);
    }

    #[test]
    fn unknown_symbols_are_named() {
        let book = Book::new(crate::ticker::server::feeds::market::Market::listings());
        let symbols = |list: &[&str]| list.iter().map(|name| name.to_string()).collect();
        assert_eq!(book.indices(&symbols(&["INIT", "ACME"])), Ok([0, 4].into()));
        let unknown = book.indices(&symbols(&["ACME", "WHAT", "NOPE"]));
        assert_eq!(unknown, Err(vec!["NOPE".into(), "WHAT".into()]));
    }
}
