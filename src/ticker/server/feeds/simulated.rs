//! A feed that advances the simulated market by one step per tick.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Feed, News, market::Market};
use crate::ticker::message::{Listing, Quote};
use realtime::server::now_ms;

/// The number of market steps before the start, and the milliseconds between them: a little more than the four minutes
/// that charts show ([`Trail`](crate::ticker::trail::Trail)), so that the first visitor sees full charts. They do not
/// depend on the pace of the live market, so that the seed alone determines the prices.
const PAST_STEPS: u64 = 500;
const PAST_STEP_MS: u64 = 500;

/// The market and its clock.
pub struct Simulated {
    market: Market,
    tick: Duration,
    /// Created on the first wait, because before it there may be no runtime with a timer.
    ticks: Option<Interval>,
}

impl Simulated {
    pub fn new(seed: u64, tick: Duration) -> Self {
        Self {
            market: Market::new(seed),
            tick,
            ticks: None,
        }
    }
}

impl Feed for Simulated {
    fn listings(&self) -> Vec<Listing> {
        Market::listings()
    }

    fn opening(&mut self) -> Vec<Quote> {
        let now = now_ms();
        let ages = (1..=PAST_STEPS).rev().map(|steps| steps * PAST_STEP_MS);
        let times = ages.map(|age| now.saturating_sub(age));
        let mut past = self.market.run_before(now, times);
        // A symbol that has not traded yet has a price too.
        past.extend(self.market.quotes(now));
        past
    }

    fn go_on_from(&mut self, quotes: &[Quote]) {
        self.market.go_on_from(quotes);
    }

    fn next(&mut self) -> BoxFuture<'_, News> {
        async {
            let ticks = self.ticks.get_or_insert_with(|| {
                let mut ticks = interval_at(Instant::now() + self.tick, self.tick);
                // After the machine was suspended, the market continues and does not catch up in a burst.
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                ticks
            });
            ticks.tick().await;
            News::Prices(self.market.step(now_ms()))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticker::{
        server::book::Book,
        trail::{BUCKET_MS, KEPT},
    };

    fn opening(seed: u64, tick: Duration) -> Vec<Quote> {
        Simulated::new(seed, tick).opening()
    }

    #[test]
    fn the_first_visitor_sees_a_full_chart_of_every_symbol() {
        let mut book = Book::new(Market::listings());
        let opening = opening(1, Duration::from_millis(500));
        assert!(opening.is_sorted_by_key(|quote| quote.at));
        for quote in opening {
            book.write(quote);
        }
        let trails = book.trails();
        assert_eq!(trails.len(), Market::listings().len());
        for trail in trails {
            // The last bucket has just begun, or the first bucket began before the simulated past.
            assert!(trail.prices().len() >= KEPT - 1, "{}", trail.prices().len());
            let (low, high) = trail.range().unwrap();
            assert!(low < high, "it moved");
            let (from, to) = trail.span();
            assert!(from <= now_ms() && to + BUCKET_MS > now_ms());
        }
    }

    #[test]
    fn the_same_seed_has_the_same_past_at_every_pace() {
        let past = |seed, tick_ms| {
            let quotes = opening(seed, Duration::from_millis(tick_ms));
            let without_time = quotes.into_iter().map(|quote| Quote { at: 0, ..quote });
            without_time.collect::<Vec<_>>()
        };
        assert_eq!(past(7, 10), past(7, 86_400_000));
        assert_ne!(past(7, 10), past(8, 10));
    }
}
