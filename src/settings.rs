//! Every setting: its flag, its environment variable, its default. A bad value ends the start with one sentence.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;

use crate::{
    realtime::server::Timing,
    ticker::{
        MOST_SYMBOLS,
        feed::{FeedSetting, symbol},
    },
};

/// Server-Sent Events and WebSocket side by side, each where it is right.
#[derive(Clone, Debug, Parser)]
#[command(name = "wirewise", version, about)]
pub struct Settings {
    /// Where to listen.
    #[arg(
        long,
        env = "LEPTOS_SITE_ADDR",
        default_value = "127.0.0.1:3000",
        value_name = "ADDRESS:PORT"
    )]
    pub addr: SocketAddr,

    /// The folder that `cargo leptos build` filled for the browser.
    #[arg(
        long,
        env = "LEPTOS_SITE_ROOT",
        default_value = "target/site",
        value_name = "FOLDER"
    )]
    pub site_root: PathBuf,

    /// Where the server keeps what must survive it.
    #[arg(
        long,
        env = "WIREWISE_DATA_DIR",
        default_value = "data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,

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

    /// Between two heartbeats of an event stream, in milliseconds.
    #[arg(long, env = "WIREWISE_HEARTBEAT_MS", default_value_t = 15_000, value_name = "MS", value_parser = milliseconds(100))]
    pub heartbeat_ms: u64,

    /// Between two pings that a socket's client is asked for, in milliseconds.
    #[arg(long, env = "WIREWISE_CLIENT_PING_MS", default_value_t = 30_000, value_name = "MS", value_parser = milliseconds(100))]
    pub client_ping_ms: u64,

    /// Between two Ping control frames of the server, in milliseconds.
    #[arg(long, env = "WIREWISE_PING_MS", default_value_t = 25_000, value_name = "MS", value_parser = milliseconds(100))]
    pub ping_ms: u64,

    /// A socket that was silent for this long is closed, in milliseconds.
    #[arg(long, env = "WIREWISE_IDLE_MS", default_value_t = 60_000, value_name = "MS", value_parser = milliseconds(100))]
    pub idle_ms: u64,

    /// Events that a ring in memory holds for clients that come back.
    #[arg(long, env = "WIREWISE_HISTORY", default_value_t = 10_000, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub history: u32,

    /// How long the server may take to leave, in milliseconds.
    #[arg(long, env = "WIREWISE_DRAIN_MS", default_value_t = 5_000, value_name = "MS", value_parser = milliseconds(0))]
    pub drain_ms: u64,

    /// Jobs that run at the same time; 64 more may wait.
    #[arg(long, env = "WIREWISE_MAX_JOBS", default_value_t = 4, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_jobs: u32,

    /// Origins of other sites that may call the API with credentials, as in `https://app.example.com`.
    #[arg(long = "allowed-origin", env = "WIREWISE_ALLOWED_ORIGINS", value_delimiter = ',', value_name = "ORIGIN", value_parser = origin)]
    pub allowed_origins: Vec<String>,

    /// Open connections in total.
    #[arg(long, env = "WIREWISE_MAX_CONNECTIONS", default_value_t = 15_000, value_name = "CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Open streams and sockets of one address; 0 means any number.
    #[arg(
        long,
        env = "WIREWISE_MAX_CONNECTIONS_PER_IP",
        default_value_t = 256,
        value_name = "CONNECTIONS"
    )]
    pub max_connections_per_ip: u32,

    /// Text messages a second that one user may send; twice as many in a burst.
    #[arg(long, env = "WIREWISE_MESSAGES_PER_SECOND", default_value_t = 20, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub messages_per_second: u32,

    /// Requests a second to `/api/` that are no streams, of one address; twice as many in a burst.
    #[arg(long, env = "WIREWISE_REQUESTS_PER_SECOND", default_value_t = 50, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests_per_second: u32,

    /// Take a client's address, scheme and host from `X-Forwarded-For`, `-Proto` and `-Host`. Only behind a proxy that sets them.
    #[arg(long, env = "WIREWISE_TRUST_PROXY", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub trust_proxy: bool,

    /// Signs sessions: at least 32 characters. Without it a secret is made once and kept in the data folder.
    #[arg(long, env = "WIREWISE_SECRET", value_name = "SECRET", hide_env_values = true, value_parser = secret)]
    pub secret: Option<String>,

    /// What to log, as tracing's `EnvFilter` reads it: `info`, `wirewise=debug`, …
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    pub log: String,

    /// How a log line looks.
    #[arg(
        long,
        env = "WIREWISE_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Settings {
    /// The intervals of streams and sockets.
    pub fn timing(&self) -> Timing {
        Timing {
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            client_ping: Duration::from_millis(self.client_ping_ms),
            ping: Duration::from_millis(self.ping_ms),
            idle: Duration::from_millis(self.idle_ms),
        }
    }

    /// All defaults, for tests that change a few.
    pub fn defaults() -> Self {
        Self::parse_from(["wirewise"])
    }
}

/// No interval is longer than a day, so that none overflows where it is added to a clock.
fn milliseconds(least: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=86_400_000)
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok();
    speed
        .filter(|speed| (0.001..=1_000_000.0).contains(speed))
        .ok_or_else(|| "a speed is a number from 0.001 to 1000000, as in 60".into())
}

/// The products of an exchange, each once, in the order they were given.
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
        1..=MOST_SYMBOLS => Ok(products.into()),
        count => Err(format!("at most {MOST_SYMBOLS} products, not {count}")),
    }
}

fn origin(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let uri: axum::http::Uri = text
        .parse()
        .map_err(|_| "an origin looks like https://app.example.com".to_owned())?;
    match (uri.scheme_str(), uri.authority(), uri.path()) {
        (Some("http" | "https"), Some(_), "/" | "") => Ok(text.to_ascii_lowercase()),
        _ => Err("an origin is a scheme and a host, as in https://app.example.com".into()),
    }
}

fn secret(text: &str) -> Result<String, String> {
    if text.len() >= 32 {
        Ok(text.to_owned())
    } else {
        Err("a secret has at least 32 characters".into())
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "a log filter looks like info or wirewise=debug ({error})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let all = [&["wirewise"], arguments].concat();
        Settings::try_parse_from(all)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn a_bad_value_is_refused_with_the_setting_and_what_it_takes() {
        for (arguments, needles) in [
            (["--addr", "here"], ["--addr", "here"]),
            (["--tick-ms", "0"], ["--tick-ms", "1..=86400000"]),
            (["--heartbeat-ms", "soon"], ["--heartbeat-ms", "soon"]),
            (["--feed", "magic"], ["--feed", "simulated"]),
            (["--feed", "simulated:x"], ["--feed", "SEED"]),
            (["--feed", "replay:"], ["--feed", "names a file"]),
            (["--feed", "coinbase:here"], ["--feed", "wss://"]),
            (["--speed", "fast"], ["--speed", "from 0.001"]),
            (["--speed", "0"], ["--speed", "from 0.001"]),
            (["--speed", "NaN"], ["--speed", "from 0.001"]),
            (["--products", ""], ["--products", "BTC-USD,ETH-USD"]),
            (["--products", "BTC"], ["--products", "BTC-USD,ETH-USD"]),
            (["--secret", "short"], ["--secret", "at least 32"]),
            (
                ["--allowed-origin", "example.com"],
                ["--allowed-origin", "https://app.example.com"],
            ),
            (["--log-format", "xml"], ["--log-format", "json"]),
            (["--log", "=="], ["--log", "wirewise=debug"]),
            (
                ["--max-connections", "0"],
                ["--max-connections", "1..=1000000"],
            ),
        ] {
            let text = refusal(&arguments);
            assert!(needles.iter().all(|needle| text.contains(needle)), "{text}");
        }
    }

    #[test]
    fn origins_are_a_list() {
        let settings = Settings::try_parse_from([
            "wirewise",
            "--allowed-origin",
            "https://A.example,http://b:8080/",
        ])
        .unwrap();
        assert_eq!(
            settings.allowed_origins,
            ["https://a.example", "http://b:8080"]
        );
    }

    #[test]
    fn trust_proxy_is_a_flag_or_a_value() {
        for (arguments, expected) in [
            (&["--trust-proxy"][..], true),
            (&["--trust-proxy", "false"], false),
            (&[], false),
        ] {
            let all = [&["wirewise"], arguments].concat();
            assert_eq!(Settings::try_parse_from(all).unwrap().trust_proxy, expected);
        }
    }
}
