//! The sources of prices: the trait of a feed, and the setting that selects one of three.

pub mod coinbase;
pub mod market;
pub mod replay;
pub mod simulated;

use std::{path::PathBuf, str::FromStr};

use futures::future::BoxFuture;

use crate::ticker::message::{FeedStatus, Listing, MAX_DECIMALS, Quote};

/// A source of prices.
pub trait Feed: Send {
    /// Every symbol for which the feed may have a price.
    fn listings(&self) -> Vec<Listing>;

    /// The prices that are known before the feed starts, oldest first. Called once, before the first [`Feed::next`].
    fn opening(&mut self) -> Vec<Quote> {
        vec![]
    }

    /// Another node published these prices last, and this one goes on. A source of its own needs them not.
    fn go_on_from(&mut self, _quotes: &[Quote]) {}

    /// Waits for the next news. Called repeatedly until the server drains. A source that is down waits and retries
    /// within this call, and reports its status.
    fn next(&mut self) -> BoxFuture<'_, News>;
}

/// What a source reports.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Prices that changed, oldest first.
    Prices(Vec<Quote>),
    /// The source was lost or came back at `since` (Unix milliseconds).
    Status { status: FeedStatus, since: u64 },
}

/// The setting `--feed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedSetting {
    /// Simulated, from the given seed or a random one.
    Simulated { seed: Option<u64> },
    /// Read from a CSV file, in an endless loop.
    Replay { file: PathBuf },
    /// The `ticker` channel of Coinbase Exchange at this address.
    Coinbase { url: String },
}

impl FromStr for FeedSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "simulated" => Ok(Self::Simulated { seed: None }),
            Some(("simulated", seed)) => match seed.parse() {
                Ok(seed) => Ok(Self::Simulated { seed: Some(seed) }),
                Err(_) => Err(
                    "the SEED of simulated:SEED is a whole number from 0 to 18446744073709551615"
                        .into(),
                ),
            },
            Some(("replay", file)) if !file.is_empty() => Ok(Self::Replay { file: file.into() }),
            Some(("replay", _)) => Err("replay:FILE.csv names a file".into()),
            Some(("coinbase", url)) => match url.parse::<axum::http::Uri>() {
                Ok(uri)
                    if matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some() =>
                {
                    Ok(Self::Coinbase { url: url.into() })
                }
                _ => Err("coinbase: is followed by the address of a socket, as in \
                          coinbase:wss://ws-feed.exchange.coinbase.com"
                    .into()),
            },
            _ => Err(
                "a feed is simulated, simulated:SEED, replay:FILE.csv or coinbase:wss://HOST/PATH"
                    .into(),
            ),
        }
    }
}

/// Normalises a symbol for addresses and queries: upper case, without commas. The error is a sentence.
pub fn symbol(text: &str) -> Result<String, String> {
    let symbol = text.trim().to_ascii_uppercase();
    let fits = (1..=16).contains(&symbol.len());
    if fits
        && symbol
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    {
        Ok(symbol)
    } else {
        Err("a symbol is 1 to 16 of A-Z, 0-9, point, hyphen and underscore".into())
    }
}

/// Rounds to `decimals` digits after the point. Never returns -0, which would print as a loss.
pub fn round(value: f64, decimals: u8) -> f64 {
    let scale = 10_f64.powi(i32::from(decimals));
    let rounded = (value * scale).round() / scale;
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// Beyond this, a sum of volumes or a percentage is not a number that a page could show.
const LARGEST: f64 = 1e15;

/// Parses a number as sources print it; `None` if it is no number, or too large for a page to show.
pub fn number(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.abs() <= LARGEST)
}

/// Makes a quote from a price and the opening price that it is compared with.
pub fn quote(symbol: &str, price: f64, open: f64, volume: f64, at: u64) -> Quote {
    let percent = (price / open - 1.0) * 100.0;
    Quote {
        symbol: symbol.into(),
        price: round(price, MAX_DECIMALS),
        change: round(price - open, MAX_DECIMALS),
        change_percent: round(percent.clamp(-LARGEST, LARGEST), 2),
        volume: round(volume, MAX_DECIMALS),
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_setting_parses_or_says_what_one_is() {
        let parse = |text: &str| text.parse::<FeedSetting>();
        assert_eq!(
            parse("simulated:7"),
            Ok(FeedSetting::Simulated { seed: Some(7) })
        );
        assert_eq!(
            parse("replay:a:b.csv"),
            Ok(FeedSetting::Replay {
                file: "a:b.csv".into()
            })
        );
        let url = "wss://ws-feed.exchange.coinbase.com".to_owned();
        assert_eq!(
            parse(&format!("coinbase:{url}")),
            Ok(FeedSetting::Coinbase { url })
        );
        for (text, needle) in [
            ("", "a feed is"),
            ("magic", "a feed is"),
            ("simulated:x", "SEED"),
            ("replay:", "names a file"),
            ("coinbase:", "address of a socket"),
            ("coinbase:https://a.example", "address of a socket"),
            ("coinbase:wss://", "address of a socket"),
        ] {
            assert!(parse(text).unwrap_err().contains(needle), "{text}");
        }
    }

    #[test]
    fn every_number_of_a_quote_is_a_number_on_the_wire() {
        assert_eq!(number("1e301"), None);
        let hostile = [
            quote("A", 1e15, 1e-300, 1.0, 0),
            quote("A", 1e-300, 1e15, 1e15, 0),
        ];
        for quote in hostile {
            let json = serde_json::to_string(&quote).unwrap();
            assert!(!json.contains("null"), "{json}");
        }
    }

    #[test]
    fn small_prices_keep_their_digits() {
        let quote = quote("X-Y", 0.000_012_34, 0.000_012, 0.1 + 0.2, 5);
        assert_eq!((quote.change, quote.volume), (0.000_000_34, 0.3));
        assert_eq!(
            round(-0.000_000_001, 8).to_string(),
            "0",
            "no loss that is none"
        );
    }
}
