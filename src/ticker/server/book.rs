//! The newest price of every symbol, whatever feed it comes from. Pure.

use std::collections::{BTreeSet, HashMap};

use crate::ticker::{
    message::{FeedStatus, Listing, Quote, decimals},
    trail::Trail,
};

/// What the book keeps; the place of a symbol in `listings` names it everywhere on the server.
#[derive(Debug)]
pub struct Book {
    listings: Vec<Listing>,
    places: HashMap<String, usize>,
    pages: Vec<Page>,
    stale_since: Option<u64>,
}

#[derive(Debug, Default)]
struct Page {
    quote: Option<Quote>,
    trail: Trail,
}

impl Book {
    pub fn new(listings: Vec<Listing>) -> Self {
        let places = listings.iter().enumerate();
        Self {
            places: places
                .map(|(place, listing)| (listing.symbol.clone(), place))
                .collect(),
            pages: listings.iter().map(|_| Page::default()).collect(),
            stale_since: None,
            listings,
        }
    }

    /// Writes a price down. Says where, or `None` for a symbol that is not listed.
    pub fn write(&mut self, quote: Quote) -> Option<usize> {
        let place = *self.places.get(&quote.symbol)?;
        let listing = &mut self.listings[place];
        listing.decimals = listing.decimals.max(decimals(quote.price));
        let page = &mut self.pages[place];
        page.trail.push(quote.at, quote.price);
        page.quote = Some(quote);
        Some(place)
    }

    pub fn set_status(&mut self, status: FeedStatus, since: u64) {
        self.stale_since = (status == FeedStatus::Stale).then_some(since);
    }

    /// Since when the source is gone; `None` while it is there.
    pub fn stale_since(&self) -> Option<u64> {
        self.stale_since
    }

    pub fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// The newest price of each wanted symbol that has one, in the order of the listings.
    pub fn quotes(&self, wanted: impl Fn(usize) -> bool) -> Vec<Quote> {
        let pages = self.pages.iter().enumerate();
        let wanted = pages.filter(|(place, _)| wanted(*place));
        wanted.filter_map(|(_, page)| page.quote.clone()).collect()
    }

    /// The last minutes of every symbol, in the order of the listings.
    pub fn trails(&self) -> Vec<Trail> {
        self.pages.iter().map(|page| page.trail.clone()).collect()
    }

    /// The places of symbols; else the names that are not listed.
    pub fn places(&self, symbols: &BTreeSet<String>) -> Result<BTreeSet<usize>, Vec<String>> {
        let (known, unknown): (Vec<_>, Vec<_>) = symbols
            .iter()
            .map(|symbol| {
                self.places
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
        assert_eq!(book.quotes(|place| place == 0), []);
        let decimals: Vec<u8> = book
            .listings()
            .iter()
            .map(|listing| listing.decimals)
            .collect();
        assert_eq!(decimals, [2, 5]);
    }

    #[test]
    fn unknown_symbols_are_named() {
        let book = Book::new(crate::ticker::server::feeds::market::Market::listings());
        let symbols = |list: &[&str]| list.iter().map(|name| name.to_string()).collect();
        assert_eq!(book.places(&symbols(&["INIT", "ACME"])), Ok([0, 4].into()));
        let unknown = book.places(&symbols(&["ACME", "WHAT", "NOPE"]));
        assert_eq!(unknown, Err(vec!["NOPE".into(), "WHAT".into()]));
    }
}
