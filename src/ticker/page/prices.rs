//! Holds the page's prices: one signal per symbol, written at most once per animation frame.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    time::Duration,
};

use leptos::prelude::*;

use crate::ticker::{
    message::{FirstPrices, Quote, decimals},
    trail::Trail,
};
use realtime::client::Coalesce;

/// Charts are drawn and rows are sorted at most this often (milliseconds); nobody reads faster.
const DRAW_INTERVAL_MS: f64 = 1_000.0;
/// A price flashes at most this often (milliseconds): three times a second, the limit of WCAG 2.3.1. Each flash is an
/// animation that the browser has to make, so that one in each frame would cost more than the prices themselves.
const FLASH_INTERVAL_MS: f64 = 1_000.0 / 3.0;

/// The state of a row: its price, and the look of the last change.
#[derive(Clone, Default, PartialEq)]
pub struct Row {
    pub quote: Option<Quote>,
    /// The maximum number of digits after the point that its prices have had so far.
    decimals: u8,
    /// A CSS class that restarts its animation: two names for each direction, which alternate.
    pub flash: &'static str,
    /// When that animation began (Unix milliseconds).
    flashed_at: f64,
}

/// The signals of a symbol. They are reference-counted, because the component that requests them first may be disposed
/// first, as a chart that shows another symbol.
#[derive(Clone, Default)]
pub struct Shown {
    pub row: ArcRwSignal<Row>,
    pub trail: ArcRwSignal<Trail>,
}

/// All prices. A handle that is copied into components.
#[derive(Clone, Copy)]
pub struct Prices {
    shown: StoredValue<HashMap<String, Shown>>,
    pending: StoredValue<Pending>,
    /// The animation frame that writes the pending changes.
    frame: Coalesce,
    /// The timer that requests a frame when the next drawing is due.
    drawing: Coalesce,
    /// Counts the drawings. Views that depend on all prices track it.
    pub round: RwSignal<u32>,
    /// The number of events so far.
    pub count: RwSignal<u64>,
}

/// The changes since the last frame. Only the newest price of each symbol is kept, so that a hidden tab, which gets no
/// frames, does not gather more than that.
#[derive(Default)]
struct Pending {
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
            pending: StoredValue::new(Pending::default()),
            frame: Coalesce::new(),
            drawing: Coalesce::new(),
            round: RwSignal::new(0),
            count: RwSignal::new(0),
        };
        let Some(first) = first else { return this };
        for (listing, trail) in first.listings.iter().zip(&first.trails) {
            let shown = this.of(&listing.symbol);
            shown.trail.set(trail.clone());
            this.pending.update_value(|pending| {
                pending.trails.insert(listing.symbol.clone(), trail.clone());
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

    /// The signals of a symbol, created on first use.
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

    /// Restarts the count, because the following events belong to another history.
    pub fn restart_count(self) {
        self.pending.update_value(|pending| pending.count = 0);
    }

    /// Counts and applies a price event.
    pub fn event(self, quote: Quote) {
        self.pending.update_value(|pending| pending.count += 1);
        self.apply(quote);
    }

    /// Applies a price of an event or of a snapshot.
    pub fn apply(self, quote: Quote) {
        self.pending.try_update_value(|pending| {
            let trail = pending.trails.entry(quote.symbol.clone()).or_default();
            if trail.push(quote.at, quote.price) {
                pending.moved.insert(quote.symbol.clone());
            }
            pending.quotes.insert(quote.symbol.clone(), quote);
        });
        self.write_soon();
    }

    fn write_soon(self) {
        if self.frame.schedule() {
            request_animation_frame(move || self.write());
        }
    }

    /// Writes the changes since the last frame.
    fn write(self) {
        if !self.frame.run() {
            // The page is gone.
            return;
        }
        let now = js_sys::Date::now();
        let changes = self.pending.try_update_value(|pending| {
            let draw = now - pending.drawn_at >= DRAW_INTERVAL_MS;
            let mut trails = vec![];
            if draw {
                pending.drawn_at = now;
                for symbol in pending.moved.drain() {
                    trails.extend(
                        pending
                            .trails
                            .get(&symbol)
                            .cloned()
                            .map(|trail| (symbol, trail)),
                    );
                }
            }
            // If no more events are received, the rest is still drawn, after this wait.
            let wait = DRAW_INTERVAL_MS - (now - pending.drawn_at);
            let wait = (!pending.moved.is_empty()).then_some(wait);
            let quotes = std::mem::take(&mut pending.quotes);
            (quotes, trails, draw, wait, pending.count)
        });
        let Some((quotes, trails, draw, wait, count)) = changes else {
            return;
        };
        for quote in quotes.into_values() {
            self.of(&quote.symbol.clone())
                .row
                .update(|row| row.show(quote, now));
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
        if self.drawing.schedule() {
            let draw = move || {
                if self.drawing.run() {
                    self.write_soon();
                }
            };
            set_timeout(draw, Duration::from_millis(wait_ms.ceil() as u64));
        }
    }
}

impl Row {
    /// Digits after the point with which its prices are printed: as `listed`, unless a price has had more since.
    pub fn decimals(&self, listed: u8) -> usize {
        self.decimals.max(listed).into()
    }

    fn show(&mut self, quote: Quote, now: f64) {
        let before = self
            .quote
            .as_ref()
            .map_or(quote.price, |before| before.price);
        if now - self.flashed_at >= FLASH_INTERVAL_MS {
            self.flash(quote.price.total_cmp(&before), now);
        }
        self.decimals = self.decimals.max(decimals(quote.price));
        self.quote = Some(quote);
    }

    fn flash(&mut self, change: Ordering, now: f64) {
        self.flash = match (change, self.flash) {
            (Ordering::Greater, "up") => "up again",
            (Ordering::Greater, _) => "up",
            (Ordering::Less, "down") => "down again",
            (Ordering::Less, _) => "down",
            (Ordering::Equal, _) => return,
        };
        self.flashed_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(price: f64) -> Quote {
        Quote {
            symbol: "SHIB-USD".into(),
            price,
            change: 0.0,
            change_percent: 0.0,
            volume: 0.0,
            at: 0,
        }
    }

    #[test]
    fn a_price_is_shown_with_all_its_digits_even_if_none_was_known_when_the_page_was_rendered() {
        let mut row = Row::default();
        assert_eq!(row.decimals(2), 2);
        row.show(quote(0.000_012_34), 0.0);
        row.show(quote(0.1), 0.0);
        assert_eq!(row.decimals(2), 8);
    }

    #[test]
    fn a_price_flashes_three_times_a_second_however_often_it_changes() {
        let mut row = Row::default();
        let start = 1_000_000.0;
        let mut flashes = vec![];
        for frame in 0..120 {
            let before = row.flash;
            row.show(
                quote(f64::from(frame)),
                start + f64::from(frame) * 1_000.0 / 60.0,
            );
            if row.flash != before {
                flashes.push(row.flash);
            }
        }
        assert_eq!(
            flashes,
            ["up", "up again", "up", "up again", "up", "up again"]
        );
        row.show(quote(1.0), start + 1_990.0);
        assert_eq!(
            row.flash, "up again",
            "it began less than a third of a second ago"
        );
        row.show(quote(0.5), start + 3_000.0);
        assert_eq!(row.flash, "down");
    }

    #[test]
    fn the_signals_of_a_symbol_outlive_the_component_that_requested_them() {
        let page = Owner::new();
        let prices = page.with(|| Prices::new(None));
        let chart = page.with(Owner::new);
        let first = chart.with(|| prices.of("ACME"));
        first.row.update(|row| row.flash = "up");
        chart.cleanup();
        // The chart is disposed with everything that it owned.
        assert_eq!(prices.of("ACME").row.get_untracked().flash, "up");
    }
}
