//! The settings of the ticker.

use std::time::Duration;

use clap::Args;

use super::feeds::{
    Feed, FeedSetting, coinbase::Coinbase, replay::Replay, simulated::Simulated, symbol,
};
use crate::{ticker::MAX_SYMBOLS, web::server::units::milliseconds};

#[derive(Args, Clone, Debug)]
pub struct TickerSettings {
    /// Where prices come from: `simulated`, or `simulated:SEED` for the same prices each time; `replay:FILE.csv` with the
    /// columns timestamp, symbol, price and perhaps volume; `coinbase:wss://ws-feed.exchange.coinbase.com`.
    #[arg(
        long,
        env = "WIREWISE_FEED",
        default_value = "simulated",
        value_name = "FEED"
    )]
    pub feed: FeedSetting,

    /// How fast a file is replayed, times real time.
    #[arg(long, env = "WIREWISE_SPEED", default_value = "60", value_name = "TIMES", value_parser = speed)]
    pub speed: f64,

    /// What to ask the exchange for.
    #[arg(long, env = "WIREWISE_PRODUCTS", default_value = "BTC-USD,ETH-USD", value_name = "PRODUCTS", value_parser = products)]
    pub products: Products,

    /// Between two rounds of simulated prices, in milliseconds.
    #[arg(long, env = "WIREWISE_TICK_MS", default_value_t = 500, value_name = "MS", value_parser = milliseconds(1))]
    pub tick_ms: u64,
}

impl TickerSettings {
    /// Opens the source of prices. The error is a sentence.
    pub fn open_feed(&self) -> Result<Box<dyn Feed>, String> {
        match &self.feed {
            FeedSetting::Simulated { seed } => {
                let seed = seed.unwrap_or_else(rand::random);
                let tick = Duration::from_millis(self.tick_ms);
                Ok(Box::new(Simulated::new(seed, tick)))
            }
            FeedSetting::Replay { file } => Ok(Box::new(Replay::open(file, self.speed)?)),
            FeedSetting::Coinbase { url } => Ok(Box::new(Coinbase::new(url, &self.products))),
        }
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok();
    speed
        .filter(|speed| (0.001..=1_000_000.0).contains(speed))
        .ok_or_else(|| "a speed is a number from 0.001 to 1000000, as in 60".into())
}

/// The products of an exchange, without duplicates, in the order given.
pub type Products = std::sync::Arc<[String]>;

fn products(text: &str) -> Result<Products, String> {
    let mut products = vec![];
    for product in text.split(',') {
        let product = symbol(product)
            .ok()
            .filter(|product| product.contains('-'))
            .ok_or("products are named as in BTC-USD,ETH-USD")?;
        if !products.contains(&product) {
            products.push(product);
        }
    }
    match products.len() {
        1..=MAX_SYMBOLS => Ok(products.into()),
        count => Err(format!("at most {MAX_SYMBOLS} products, not {count}")),
    }
}
