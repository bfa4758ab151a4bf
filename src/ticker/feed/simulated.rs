//! The simulated market, one step a tick.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Feed, News};
use crate::{
    realtime::server::now_ms,
    ticker::{
        market::Market,
        message::{Listing, Quote},
    },
};

/// The market and its clock.
pub struct Simulated {
    market: Market,
    tick: Duration,
    /// Made with the first wait: before it there may be no runtime to keep the time.
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

    fn opening(&self) -> Vec<Quote> {
        self.market.quotes(now_ms())
    }

    fn next(&mut self) -> BoxFuture<'_, News> {
        async {
            let ticks = self.ticks.get_or_insert_with(|| {
                let mut ticks = interval_at(Instant::now() + self.tick, self.tick);
                // After a pause of the machine the market goes on; it does not catch up in a burst.
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                ticks
            });
            ticks.tick().await;
            News::Prices(self.market.step(now_ms()))
        }
        .boxed()
    }
}
