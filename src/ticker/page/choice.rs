//! The user's choice of what the page shows, read from and written to the page's address. Pure.

use std::collections::BTreeSet;

use leptos_router::params::ParamsMap;

use crate::{
    ticker::{
        MAX_SYMBOLS,
        message::{Listing, TickerEvents},
    },
    web::parameters::{Spelling, spelling},
};

/// What the page shows. It is kept in the address, so that a link opens the same view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Rows of the table; `None`: all.
    pub symbols: Option<BTreeSet<String>>,
    /// The symbol whose chart is shown; `None`: that of the first row.
    pub chart: Option<String>,
    pub sort: Sort,
    /// Only rows whose symbol or name contains this text are shown.
    pub filter: String,
    /// This tab does not share its stream with other tabs.
    pub own_stream: bool,
}

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    pub by: Column,
    pub descending: bool,
}

/// The columns that a table can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// The order in which the server lists them: by sector.
    #[default]
    Listed,
    Symbol,
    Name,
    Price,
    Change,
    Percent,
    Volume,
}

impl Column {
    const NAMED: [(Self, &'static str); 6] = [
        (Self::Symbol, "symbol"),
        (Self::Name, "name"),
        (Self::Price, "price"),
        (Self::Change, "change"),
        (Self::Percent, "percent"),
        (Self::Volume, "volume"),
    ];

    fn name(self) -> Option<&'static str> {
        let named = Self::NAMED.into_iter().find(|(column, _)| *column == self);
        named.map(|(_, name)| name)
    }

    /// Whether the values of the column change with the prices.
    pub fn moves(self) -> bool {
        !matches!(self, Self::Listed | Self::Symbol | Self::Name)
    }
}

impl Sort {
    /// The order after a press on a column's head: first its natural order, then the reverse, then none.
    pub fn pressed(self, column: Column) -> Self {
        // The natural order of numbers is descending.
        let first = Self {
            by: column,
            descending: column.moves(),
        };
        let other = Self {
            descending: !first.descending,
            ..first
        };
        match self {
            current if current == first => other,
            current if current == other => Self::default(),
            _ => first,
        }
    }

    fn parse(text: &str) -> Self {
        let (name, descending) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let by = Column::NAMED.into_iter().find(|(_, known)| *known == name);
        by.map_or(Self::default(), |(by, _)| Self { by, descending })
    }
}

impl Choice {
    /// Reads the query of an address. Unknown parameters and values are ignored.
    pub fn from_query(query: &ParamsMap) -> Self {
        // Every spelling and every repetition counts: a page cannot refuse an address that a user typed.
        let meant = |name: &str| spelling(name, "symbols") != Spelling::Other;
        let lists = query.into_iter().filter(|(name, _)| meant(name));
        let names = lists.flat_map(|(_, list)| list.split(','));
        let names = names.map(|name| name.trim().to_ascii_uppercase());
        let symbols: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
        Self {
            symbols: Some(symbols).filter(|symbols| !symbols.is_empty()),
            chart: query.get("chart").map(|symbol| symbol.to_ascii_uppercase()),
            sort: query
                .get("sort")
                .map_or(Sort::default(), |sort| Sort::parse(&sort)),
            filter: query.get("filter").unwrap_or_default(),
            own_stream: query.get("stream").as_deref() == Some("own"),
        }
    }

    /// The query of an address, with its question mark; empty for the default choice.
    pub fn to_query(&self) -> String {
        let mut query = ParamsMap::new();
        if let Some(symbols) = &self.symbols {
            let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
            query.insert("symbols", symbols.join(","));
        }
        if let Some(chart) = &self.chart {
            query.insert("chart", chart.clone());
        }
        if let Some(name) = self.sort.by.name() {
            let minus = if self.sort.descending { "-" } else { "" };
            query.insert("sort", format!("{minus}{name}"));
        }
        if !self.filter.is_empty() {
            query.insert("filter", self.filter.clone());
        }
        if self.own_stream {
            query.insert("stream", "own".to_owned());
        }
        // Comma and hyphen need not be escaped in a query, and are easier to read as they are.
        let query = query
            .to_query_string()
            .replace("%2C", ",")
            .replace("%2D", "-");
        if query == "?" { String::new() } else { query }
    }

    /// The chosen symbols that are listed; `None`: all, also if none of the chosen symbols is listed.
    pub fn listed(&self, listings: &[Listing]) -> Option<BTreeSet<String>> {
        let chosen = self.symbols.as_ref()?;
        let listed = listings
            .iter()
            .filter(|listing| chosen.contains(&listing.symbol));
        let listed: BTreeSet<String> = listed.map(|listing| listing.symbol.clone()).collect();
        (!listed.is_empty() && listed.len() < listings.len()).then_some(listed)
    }

    /// The chosen symbols that are not listed.
    pub fn unknown(&self, listings: &[Listing]) -> Vec<String> {
        let known = |symbol: &&String| listings.iter().any(|listing| &listing.symbol == *symbol);
        let chosen = self.symbols.iter().flatten();
        chosen.filter(|symbol| !known(symbol)).cloned().collect()
    }

    /// Selects or deselects a symbol. The last one stays selected, because a stream needs at least one symbol.
    pub fn toggle(&mut self, symbol: &str, listings: &[Listing]) {
        let all = || {
            listings
                .iter()
                .map(|listing| listing.symbol.clone())
                .collect()
        };
        let mut symbols = self.listed(listings).unwrap_or_else(all);
        let removed = symbols.len() > 1 && symbols.remove(symbol);
        if !removed {
            symbols.insert(symbol.to_owned());
        }
        self.symbols = (symbols.len() < listings.len()).then_some(symbols);
    }
}

/// Tracks for which symbols the page holds a price that is valid at its position in the stream.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    wanted: Option<BTreeSet<String>>,
    /// Symbols with a valid price. `None`: all, as the server renders them.
    held: Option<BTreeSet<String>>,
    /// The number of replayed prices still to come after a resume; `None` if the position is that of the snapshot. A
    /// snapshot that is sent on a resume is newer than the position until all replayed prices and one more have been
    /// received.
    replays: Option<usize>,
}

impl Subscription {
    /// The stream for these symbols. Symbols without a valid price are listed as added, so that the server sends them
    /// at once.
    pub fn want(&mut self, wanted: Option<BTreeSet<String>>, listings: &[Listing]) -> TickerEvents {
        // More symbols than a request may name: the stream carries all, and the table shows the chosen ones.
        let wanted = wanted.filter(|wanted| wanted.len() <= MAX_SYMBOLS);
        let added = match &self.held {
            None => vec![],
            Some(held) => {
                let all = || {
                    listings
                        .iter()
                        .map(|listing| listing.symbol.clone())
                        .collect()
                };
                let wanted = wanted.clone().unwrap_or_else(all);
                wanted.difference(held).cloned().collect()
            }
        };
        // A symbol that is not wanted now falls behind, so it counts as added when it is wanted again.
        if let Some(wanted) = &wanted {
            self.held = Some(match self.held.take() {
                Some(held) => held.intersection(wanted).cloned().collect(),
                None => wanted.clone(),
            });
        }
        self.wanted = wanted.clone();
        TickerEvents {
            symbols: wanted.map(|wanted| wanted.into_iter().collect()),
            added,
        }
    }

    /// Handles the `hello` of the wanted stream. `replayed` missed prices follow, or a snapshot if it could not be
    /// resumed.
    pub fn greeted(&mut self, recovered: bool, replayed: usize) {
        self.replays = recovered.then_some(replayed);
    }

    /// Handles a snapshot on the wanted stream.
    pub fn state_received(&mut self) {
        if self.replays.is_none() {
            self.held = self.wanted.clone();
        }
    }

    /// Handles a price on the wanted stream.
    pub fn price_received(&mut self) {
        match self.replays.map(|left| left.checked_sub(1)) {
            Some(Some(left)) => self.replays = Some(left),
            Some(None) => {
                self.replays = None;
                self.held = self.wanted.clone();
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use realtime::contract::StreamContract;

    fn set(symbols: &[&str]) -> Option<BTreeSet<String>> {
        Some(symbols.iter().map(|symbol| symbol.to_string()).collect())
    }

    fn listings() -> Vec<Listing> {
        let listing = |symbol: &&str| Listing {
            symbol: symbol.to_string(),
            name: symbol.to_string(),
            decimals: 2,
        };
        ["A", "B", "C"].iter().map(listing).collect()
    }

    #[test]
    fn a_choice_is_read_back_from_its_address() {
        let choice = Choice {
            symbols: set(&["A", "B"]),
            chart: Some("B".into()),
            sort: Sort {
                by: Column::Percent,
                descending: true,
            },
            filter: "a & b".into(),
            own_stream: true,
        };
        let query = choice.to_query();
        assert!(
            query.starts_with("?symbols=A,B&chart=B&sort=-percent&filter=a"),
            "{query}"
        );
        let mut params = ParamsMap::new();
        for (name, value) in [
            ("symbols", " b,A,,"),
            ("chart", "b"),
            ("sort", "-percent"),
            ("filter", "a & b"),
            ("stream", "own"),
        ] {
            params.insert(name, value.to_owned());
        }
        assert_eq!(Choice::from_query(&params), choice);
        for name in ["symbols[]", "Symbols", "symbol"] {
            let mut params = ParamsMap::new();
            params.insert(name, "a".to_owned());
            params.insert(name, "b".to_owned());
            params.insert("_", "c".to_owned());
            let expected = set(&["A", "B"]);
            assert_eq!(Choice::from_query(&params).symbols, expected, "{name}");
        }
        assert_eq!(Choice::default().to_query(), "");
        let mut strange = ParamsMap::new();
        strange.insert("sort", "-luck".to_owned());
        strange.insert("symbols", ",".to_owned());
        assert_eq!(Choice::from_query(&strange), Choice::default());
    }

    #[test]
    fn toggling_every_symbol_is_all_and_the_last_one_stays() {
        let mut choice = Choice::default();
        choice.toggle("B", &listings());
        assert_eq!(choice.symbols, set(&["A", "C"]));
        choice.toggle("A", &listings());
        choice.toggle("C", &listings());
        assert_eq!(choice.symbols, set(&["C"]));
        choice.toggle("A", &listings());
        choice.toggle("B", &listings());
        assert_eq!(choice.symbols, None);
    }

    #[test]
    fn symbols_that_are_not_listed_are_left_out_and_named() {
        let choice = Choice {
            symbols: set(&["A", "X"]),
            ..Choice::default()
        };
        assert_eq!(choice.listed(&listings()), set(&["A"]));
        assert_eq!(choice.unknown(&listings()), ["X"]);
        let strange = Choice {
            symbols: set(&["X"]),
            ..Choice::default()
        };
        assert_eq!(strange.listed(&listings()), None);
    }

    #[test]
    fn a_head_pressed_again_reverses_the_order_and_then_resets_it() {
        let sort = Sort::default().pressed(Column::Price);
        assert_eq!((sort.by, sort.descending), (Column::Price, true));
        assert!(!sort.pressed(Column::Price).descending);
        assert_eq!(
            sort.pressed(Column::Price).pressed(Column::Price),
            Sort::default()
        );
        assert!(!sort.pressed(Column::Name).descending);
    }

    #[test]
    fn more_symbols_than_a_request_may_name_are_asked_for_as_all() {
        let listings: Vec<Listing> = (0..=2 * MAX_SYMBOLS)
            .map(|number| Listing {
                symbol: format!("S{number:03}"),
                name: String::new(),
                decimals: 2,
            })
            .collect();
        let first = |count: usize| {
            let names = listings.iter().take(count);
            Some(names.map(|listing| listing.symbol.clone()).collect())
        };
        let mut subscription = Subscription::default();
        let most = subscription.want(first(MAX_SYMBOLS), &listings);
        assert_eq!(most.symbols.map(|symbols| symbols.len()), Some(MAX_SYMBOLS));
        let more = subscription.want(first(MAX_SYMBOLS + 1), &listings);
        assert_eq!(more.symbols, None);
        // So many added symbols cannot be named either: the stream starts anew, with a snapshot of all.
        assert!(more.added.len() > MAX_SYMBOLS);
        assert!(!more.continues(&TickerEvents::default()));
        assert_eq!(more.url(), TickerEvents::ROUTE);
    }

    #[test]
    fn an_added_symbol_stays_added_until_its_price_is_received() {
        let mut subscription = Subscription::default();
        let listings = listings();
        assert_eq!(subscription.want(None, &listings).added, [""; 0]);
        assert_eq!(subscription.want(set(&["A"]), &listings).added, [""; 0]);
        assert_eq!(subscription.want(set(&["A", "B"]), &listings).added, ["B"]);
        // Changed again before the snapshot of B was received: B is still missing.
        assert_eq!(
            subscription.want(set(&["A", "B", "C"]), &listings).added,
            ["B", "C"]
        );
        // B is not valid at the position either while replayed prices, older than the snapshot, are still to come.
        subscription.greeted(true, 1);
        subscription.state_received();
        subscription.price_received();
        assert_eq!(
            subscription.want(set(&["A", "B", "C"]), &listings).added,
            ["B", "C"]
        );
        subscription.price_received();
        assert_eq!(
            subscription.want(set(&["A", "C"]), &listings).added,
            [""; 0]
        );
        // B fell behind in the meantime.
        assert_eq!(subscription.want(None, &listings).added, ["B"]);
    }
}
