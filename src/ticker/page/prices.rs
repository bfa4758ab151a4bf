//! The prices of the page: a signal a symbol, written at most once an animation frame, however many events come.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use leptos::prelude::*;

use crate::ticker::{
    message::{FirstPrices, Quote, decimals},
    trail::Trail,
};
use realtime::client::Coalesce;

/// Charts are drawn, and rows are put in order, this often at most (milliseconds): nobody reads faster.
const DRAWN_EVERY_MS: f64 = 1_000.0;

/// A row: its price, and how the last change looks.
#[derive(Clone, Default, PartialEq)]
pub struct Row {
    pub quote: Option<Quote>,
    /// Digits after the point that its prices had so far, at most.
    decimals: u8,
    /// A class that restarts its animation: two names for each direction, taken in turn.
    pub flash: &'static str,
}

/// What a symbol shows. Counted references: whoever asks first may be gone first, as a chart that shows another symbol.
#[derive(Clone, Default)]
pub struct Shown {
    pub row: ArcRwSignal<Row>,
    pub trail: ArcRwSignal<Trail>,
}

/// All prices. Copied into components.
#[derive(Clone, Copy)]
pub struct Prices {
    shown: StoredValue<HashMap<String, Shown>>,
    news: StoredValue<News>,
    /// The next frame writes what came.
    frame: Coalesce,
    /// A frame is asked for when the next drawing is due.
    drawing: Coalesce,
    /// Counts the drawings: what depends on all prices follows it.
    pub round: RwSignal<u32>,
    /// Events so far.
    pub count: RwSignal<u64>,
}

/// What came since the last frame: the newest price of each symbol, so that a hidden tab, which has no frames, gathers no
/// more than that.
#[derive(Default)]
struct News {
    quotes: HashMap<String, Quote>,
    trails: HashMap<String, Trail>,
    /// Symbols whose trail changed since it was drawn.
    moved: HashSet<String>,
    count: u64,
    drawn_at: f64,
}

impl Prices {
    pub fn new(first: Option<&FirstPrices>) -> Self {
        let this = Self {
            shown: StoredValue::new(HashMap::new()),
            news: StoredValue::new(News::default()),
            frame: Coalesce::new(),
            drawing: Coalesce::new(),
            round: RwSignal::new(0),
            count: RwSignal::new(0),
        };
        let Some(first) = first else { return this };
        for (listing, trail) in first.listings.iter().zip(&first.trails) {
            let shown = this.of(&listing.symbol);
            shown.trail.set(trail.clone());
            this.news.update_value(|news| {
                news.trails.insert(listing.symbol.clone(), trail.clone());
            });
        }
        for quote in &first.quotes {
            this.of(&quote.symbol).row.set(Row {
                quote: Some(quote.clone()),
                ..Row::default()
            });
        }
        this
    }

    /// What a symbol shows, made when it is first asked for.
    pub fn of(self, symbol: &str) -> Shown {
        if let Some(shown) = self.shown.with_value(|shown| shown.get(symbol).cloned()) {
            return shown;
        }
        let made = Shown::default();
        self.shown.update_value(|shown| {
            shown.insert(symbol.to_owned(), made.clone());
        });
        made
    }

    /// Begins to count anew: what follows is another history.
    pub fn restart_count(self) {
        self.news.update_value(|news| news.count = 0);
    }

    /// A price changed.
    pub fn event(self, quote: Quote) {
        self.news.update_value(|news| news.count += 1);
        self.take(quote);
    }

    /// A price, by an event or with a snapshot.
    pub fn take(self, quote: Quote) {
        self.news.try_update_value(|news| {
            let trail = news.trails.entry(quote.symbol.clone()).or_default();
            if trail.push(quote.at, quote.price) {
                news.moved.insert(quote.symbol.clone());
            }
            news.quotes.insert(quote.symbol.clone(), quote);
        });
        self.write_soon();
    }

    fn write_soon(self) {
        if self.frame.arm() {
            request_animation_frame(move || self.write());
        }
    }

    /// Writes what came since the last frame.
    fn write(self) {
        if !self.frame.fired() {
            // The page is gone.
            return;
        }
        let now = js_sys::Date::now();
        let taken = self.news.try_update_value(|news| {
            let draw = now - news.drawn_at >= DRAWN_EVERY_MS;
            let mut trails = vec![];
            if draw {
                news.drawn_at = now;
                for symbol in news.moved.drain() {
                    trails.extend(
                        news.trails
                            .get(&symbol)
                            .cloned()
                            .map(|trail| (symbol, trail)),
                    );
                }
            }
            // Should nothing come any more, what is not drawn yet still is.
            let wait = DRAWN_EVERY_MS - (now - news.drawn_at);
            let wait = (!news.moved.is_empty()).then_some(wait);
            let quotes = std::mem::take(&mut news.quotes);
            (quotes, trails, draw, wait, news.count)
        });
        let Some((quotes, trails, draw, wait, count)) = taken else {
            return;
        };
        for quote in quotes.into_values() {
            self.of(&quote.symbol.clone())
                .row
                .update(|row| row.show(quote));
        }
        for (symbol, trail) in trails {
            self.of(&symbol).trail.set(trail);
        }
        self.count.set(count);
        if draw {
            self.round.update(|round| *round = round.wrapping_add(1));
        }
        if let Some(wait) = wait {
            self.draw_in(wait);
        }
    }

    fn draw_in(self, wait_ms: f64) {
        if self.drawing.arm() {
            let draw = move || {
                if self.drawing.fired() {
                    self.write_soon();
                }
            };
            set_timeout(draw, Duration::from_millis(wait_ms.ceil() as u64));
        }
    }
}

impl Row {
    /// Digits after the point to print its prices with: those that were `listed`, unless one had more since.
    pub fn decimals(&self, listed: u8) -> usize {
        self.decimals.max(listed).into()
    }

    fn show(&mut self, quote: Quote) {
        let before = self
            .quote
            .as_ref()
            .map_or(quote.price, |before| before.price);
        self.flash = match (quote.price.total_cmp(&before), self.flash) {
            (std::cmp::Ordering::Greater, "up") => "up again",
            (std::cmp::Ordering::Greater, _) => "up",
            (std::cmp::Ordering::Less, "down") => "down again",
            (std::cmp::Ordering::Less, _) => "down",
            (std::cmp::Ordering::Equal, flash) => flash,
        };
        self.decimals = self.decimals.max(decimals(quote.price));
        self.quote = Some(quote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_shown_with_all_its_digits_even_if_none_was_known_when_the_page_was_rendered() {
        let quote = |price| Quote {
            symbol: "SHIB-USD".into(),
            price,
            change: 0.0,
            change_percent: 0.0,
            volume: 0.0,
            at: 0,
        };
        let mut row = Row::default();
        assert_eq!(row.decimals(2), 2);
        row.show(quote(0.000_012_34));
        row.show(quote(0.1));
        assert_eq!(row.decimals(2), 8);
    }

    #[test]
    fn a_symbol_outlives_whoever_asked_for_it_first() {
        let page = Owner::new();
        let prices = page.with(|| Prices::new(None));
        let chart = page.with(Owner::new);
        let first = chart.with(|| prices.of("ACME"));
        first.row.update(|row| row.flash = "up");
        chart.cleanup();
        // The chart is gone, with all that it owned.
        assert_eq!(prices.of("ACME").row.get_untracked().flash, "up");
    }
}
