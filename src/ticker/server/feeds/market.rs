//! Simulates a stock market from a seed; the same seed gives the same prices.
//!
//! Each price follows a geometric Brownian motion. Its noise is shared in part by the market and by the sector. The
//! price reverts towards its start, so that it is believable after a week too.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::round;
use crate::ticker::message::{Listing, Quote};

const DECIMALS: u8 = 2;
/// The weights of the noise that the whole market shares, that the sector shares, and that is a price's own. Their
/// squares sum to 1.
const MARKET_SHARE: f64 = 0.5;
const SECTOR_SHARE: f64 = 0.6;
const OWN_SHARE: f64 = 0.624_5;
/// Relative movement of a step for a company of volatility 1.
const STEP: f64 = 0.0009;
/// The part of its distance from the start that a price loses in each step, on the logarithmic scale.
const MEAN_REVERSION: f64 = 0.0004;
/// The probability that a symbol trades in a step.
const TRADE_PROBABILITY: f64 = 0.45;
/// A day in milliseconds. The market never closes; its day begins at midnight UTC.
const DAY_MS: u64 = 86_400_000;

/// The market.
#[derive(Debug)]
pub struct Market {
    random: ChaCha8Rng,
    stocks: Vec<Stock>,
    /// The number of sectors.
    sectors: usize,
    /// The day of the last step, in days since 1970; `None` before the first step.
    day: Option<u64>,
}

#[derive(Debug)]
struct Stock {
    company: &'static Company,
    price: f64,
    /// The price at the day's open.
    open: f64,
    /// Traded since the day's open.
    volume: f64,
}

#[derive(Debug)]
struct Company {
    symbol: &'static str,
    name: &'static str,
    sector: usize,
    open: f64,
    volatility: f64,
}

impl Market {
    pub fn new(seed: u64) -> Self {
        let stocks = COMPANIES
            .iter()
            .map(|company| Stock {
                company,
                price: company.open,
                open: company.open,
                volume: 0.0,
            })
            .collect();
        let sectors = COMPANIES
            .iter()
            .map(|company| company.sector + 1)
            .max()
            .unwrap_or(0);
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            stocks,
            sectors,
            day: None,
        }
    }

    /// All symbols, in the order of the table.
    pub fn listings() -> Vec<Listing> {
        let listing = |company: &Company| Listing {
            symbol: company.symbol.into(),
            name: company.name.into(),
            decimals: DECIMALS,
        };
        COMPANIES.iter().map(listing).collect()
    }

    /// The newest price of every symbol.
    pub fn quotes(&self, at: u64) -> Vec<Quote> {
        self.stocks.iter().map(|stock| stock.quote(at)).collect()
    }

    /// Simulates steps at times before `now`, and returns their quotes, oldest first. All of them belong to the day of
    /// `now`; otherwise change and volume would depend on the hour of the start.
    pub fn run_before(&mut self, now: u64, times: impl Iterator<Item = u64>) -> Vec<Quote> {
        self.day = Some(now / DAY_MS);
        times.flat_map(|at| self.trade(at)).collect()
    }

    /// Advances the market by one step. Returns the quotes that changed, in the order of the table.
    pub fn step(&mut self, at: u64) -> Vec<Quote> {
        let day = at / DAY_MS;
        if self.day.replace(day).is_some_and(|before| before != day) {
            self.stocks.iter_mut().for_each(Stock::begin_day);
        }
        self.trade(at)
    }

    /// Sets the prices to these: those of another market that this one replaces.
    pub fn go_on_from(&mut self, quotes: &[Quote]) {
        for quote in quotes {
            let mut stocks = self.stocks.iter_mut();
            let stock = stocks.find(|stock| stock.company.symbol == quote.symbol);
            if let Some(stock) = stock {
                stock.price = quote.price;
                stock.open = round(quote.price - quote.change, DECIMALS).max(0.01);
                stock.volume = quote.volume;
            }
        }
    }

    fn trade(&mut self, at: u64) -> Vec<Quote> {
        let market: f64 = self.random.sample(StandardNormal);
        let sectors: Vec<f64> = (0..self.sectors)
            .map(|_| self.random.sample(StandardNormal))
            .collect();
        let mut changed = vec![];
        for stock in &mut self.stocks {
            let own: f64 = self.random.sample(StandardNormal);
            let trades = self.random.random_bool(TRADE_PROBABILITY);
            let lot = self.random.random_range(1..=40) as f64 * 25.0;
            if !trades {
                continue;
            }
            let company = stock.company;
            let noise =
                MARKET_SHARE * market + SECTOR_SHARE * sectors[company.sector] + OWN_SHARE * own;
            let step = noise * company.volatility * STEP
                - MEAN_REVERSION * (stock.price / company.open).ln();
            // The lowest price is a cent: companies of this market do not fail.
            let price = round(stock.price * step.exp(), DECIMALS).max(0.01);
            stock.volume += lot;
            stock.price = price;
            changed.push(stock.quote(at));
        }
        changed
    }
}

impl Stock {
    /// Starts a day: change and volume are counted from here.
    fn begin_day(&mut self) {
        self.open = self.price;
        self.volume = 0.0;
    }

    fn quote(&self, at: u64) -> Quote {
        let open = self.open;
        Quote {
            symbol: self.company.symbol.into(),
            price: self.price,
            change: round(self.price - open, DECIMALS),
            change_percent: round((self.price / open - 1.0) * 100.0, DECIMALS),
            volume: self.volume,
            at,
        }
    }
}

const fn company(
    symbol: &'static str,
    name: &'static str,
    sector: usize,
    open: f64,
    volatility: f64,
) -> Company {
    Company {
        symbol,
        name,
        sector,
        open,
        volatility,
    }
}

/// Invented companies in six sectors: machines, software, energy, health, food, transport.
const COMPANIES: [Company; 24] = [
    company("ACME", "Acme Instruments", 0, 182.40, 1.0),
    company("BOLT", "Bolt & Brace", 0, 46.15, 0.9),
    company("CRNK", "Crankshaft Works", 0, 73.80, 1.1),
    company("GEAR", "Geartooth Group", 0, 128.05, 0.8),
    company("INIT", "Initech Systems", 1, 311.20, 1.5),
    company("LOOP", "Loopback Labs", 1, 88.64, 1.9),
    company("NULL", "Null Island Software", 1, 24.02, 2.3),
    company("QBIT", "Qubit Foundry", 1, 540.75, 2.1),
    company("AMPR", "Ampere Grid", 2, 64.30, 1.0),
    company("SOLR", "Solaria Power", 2, 37.92, 1.6),
    company("TIDE", "Tidewater Energy", 2, 19.48, 1.3),
    company("VOLT", "Voltaic Storage", 2, 142.66, 1.7),
    company("CELL", "Cellgate Biologics", 3, 96.11, 1.8),
    company("GENE", "Genewell Therapeutics", 3, 211.35, 2.0),
    company("MEDI", "Medisphere", 3, 58.72, 0.9),
    company("VITA", "Vitalis Care", 3, 133.90, 0.7),
    company("BEAN", "Bean & Barrow", 4, 41.26, 0.8),
    company("CORN", "Cornfield Foods", 4, 29.87, 0.6),
    company("OAKS", "Oaks Dairy", 4, 52.44, 0.5),
    company("SALT", "Saltmarsh Provisions", 4, 17.09, 0.7),
    company("HARB", "Harbor Lines", 5, 77.53, 1.0),
    company("JETS", "Jetstream Air", 5, 34.81, 1.6),
    company("RAIL", "Railhead Freight", 5, 165.28, 0.8),
    company("ROAD", "Roadway Logistics", 5, 92.37, 0.9),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(seed: u64, steps: u64) -> Vec<Quote> {
        let mut market = Market::new(seed);
        (0..steps).flat_map(|at| market.step(at)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_first_thousand_prices() {
        let (one, two) = (prices(7, 200), prices(7, 200));
        assert!(one.len() >= 1_000, "{}", one.len());
        assert_eq!(one, two);
        assert_ne!(one, prices(8, 200));
    }

    #[test]
    fn a_week_of_steps_stays_believable() {
        // A week at two steps a second.
        let mut market = Market::new(1);
        for at in 0..1_209_600 {
            market.step(at);
        }
        for (quote, company) in market.quotes(0).iter().zip(&COMPANIES) {
            let ratio = quote.price / company.open;
            assert!(
                (0.3..3.0).contains(&ratio),
                "{} stands at {ratio} of its open",
                quote.symbol
            );
        }
    }

    #[test]
    fn change_and_volume_begin_anew_each_day_and_prices_go_on() {
        let mut market = Market::new(1);
        (0..100).for_each(|at| drop(market.step(at)));
        let evening = market.quotes(100);
        assert!(evening.iter().all(|quote| quote.volume > 0.0));
        let morning = market.step(DAY_MS);
        for quote in &morning {
            let before = evening.iter().find(|before| before.symbol == quote.symbol);
            let moved = round(quote.price - before.unwrap().price, DECIMALS);
            assert_eq!(quote.change, moved);
            assert!(quote.volume <= 1_000.0, "one lot");
        }
    }

    #[test]
    fn prices_before_the_start_belong_to_its_day_at_any_hour() {
        let before = |now: u64| {
            let mut market = Market::new(7);
            let past = market.run_before(now, now - 100..now);
            assert_eq!(past.first().map(|quote| quote.at), Some(now - 100));
            let live = market.step(now);
            let without_time = past
                .into_iter()
                .chain(live)
                .map(|quote| Quote { at: 0, ..quote });
            without_time.collect::<Vec<_>>()
        };
        // A moment after midnight, when half of the past belongs to the day before.
        assert_eq!(before(9 * DAY_MS + 50), before(9 * DAY_MS + 5_000_000));
    }

    #[test]
    fn a_sector_moves_together() {
        let mut market = Market::new(3);
        let (mut same, mut other) = (vec![], vec![]);
        let mut before = market.quotes(0);
        for at in 0..4_000 {
            market.step(at);
            let now = market.quotes(at);
            let moved: Vec<f64> = now
                .iter()
                .zip(&before)
                .map(|(now, before)| (now.price / before.price).ln())
                .collect();
            // GEAR with ACME (one sector), GEAR with VITA (another), where both traded.
            if moved[3] != 0.0 && moved[0] != 0.0 {
                same.push((moved[3], moved[0]));
            }
            if moved[3] != 0.0 && moved[15] != 0.0 {
                other.push((moved[3], moved[15]));
            }
            before = now;
        }
        let (same, other) = (correlation(&same), correlation(&other));
        assert!(
            same > other + 0.15,
            "within a sector {same:.2}, across {other:.2}"
        );
    }

    fn correlation(pairs: &[(f64, f64)]) -> f64 {
        let count = pairs.len() as f64;
        let mean = |pick: fn(&(f64, f64)) -> f64| pairs.iter().map(pick).sum::<f64>() / count;
        let (left, right) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let sum = |term: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(term).sum::<f64>();
        let both = sum(&|pair| (pair.0 - left) * (pair.1 - right));
        let (one, two) = (
            sum(&|pair| (pair.0 - left).powi(2)),
            sum(&|pair| (pair.1 - right).powi(2)),
        );
        both / (one * two).sqrt()
    }

    #[test]
    fn symbols_are_unique_and_decimals_few() {
        let listings = Market::listings();
        let symbols: std::collections::HashSet<_> =
            listings.iter().map(|listing| &listing.symbol).collect();
        assert_eq!(symbols.len(), COMPANIES.len());
        for quote in prices(5, 50) {
            for number in [quote.price, quote.change, quote.change_percent] {
                let printed = number.to_string();
                let digits = printed
                    .split_once('.')
                    .map_or(0, |(_, digits)| digits.len());
                assert!(digits <= 2, "{printed}");
            }
        }
    }
}
