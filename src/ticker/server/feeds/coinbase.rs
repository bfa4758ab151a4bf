//! A feed of real prices: the public `ticker` channel of Coinbase Exchange.
//!
//! Protocol: <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>. One subscribe message names the channels
//! `ticker` (a message for each trade) and `heartbeat` (a message a second for each product, so that silence means a
//! dead connection).

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

use super::{Feed, News, number, quote};
use crate::ticker::message::{FeedStatus, Listing, Quote};
use realtime::{backoff::Backoff, server::now_ms};

/// The limit for connecting and subscribing; an attempt that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Heartbeats arrive every second, so a connection that is silent for this long is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that lasted this long proves that the exchange is healthy: the attempt counter is reset to zero.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// The maximum number of bytes that a message may have; a ticker message has about 500.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes that are read at once: some messages. The whole buffer is zeroed before each read, by default 128 KiB.
const READ_BUFFER: usize = 8 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The exchange as a feed.
pub struct Coinbase {
    url: String,
    products: Vec<String>,
    link: Option<Link>,
    /// News that was received and is not returned yet: at most a status and a price.
    ready: VecDeque<News>,
    /// Failed attempts since the last connection that lasted for [`STABLE_AFTER`].
    failures: u32,
    live: bool,
    /// When the exchange last sent a price or, while the feed is live, a heartbeat (Unix milliseconds).
    last_received_at: u64,
}

/// An open connection with its subscription.
struct Link {
    socket: Socket,
    since: Instant,
    /// The newest sequence number of each product. A message with a lower number is outdated.
    sequences: HashMap<String, u64>,
}

/// The messages of the exchange that matter here.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ExchangeMessage {
    Ticker(Ticker),
    Heartbeat,
    Error {
        message: String,
        #[serde(default)]
        reason: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Ticker {
    product_id: String,
    sequence: u64,
    price: String,
    open_24h: String,
    volume_24h: String,
}

impl Coinbase {
    pub fn new(url: &str, products: &[String]) -> Self {
        Self {
            url: url.into(),
            products: products.to_vec(),
            link: None,
            ready: VecDeque::new(),
            failures: 0,
            live: true,
            last_received_at: now_ms(),
        }
    }

    async fn news(&mut self) -> News {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return news;
            }
            match &mut self.link {
                Some(link) => match timeout(SILENCE_TIMEOUT, link.socket.next()).await {
                    Ok(Some(Ok(Message::Text(text)))) => self.handle(&text),
                    // A control frame or a binary message carries no news.
                    Ok(Some(Ok(_))) => {}
                    Ok(Some(Err(error))) => self.handle_loss(&error.to_string()),
                    Ok(None) => self.handle_loss("the exchange closed the connection"),
                    Err(_) => self.handle_loss("nothing was received for 10 s"),
                },
                None => self.connect().await,
            }
        }
    }

    async fn connect(&mut self) {
        if self.failures > 0 {
            let delay = Backoff::default().delay_ms(self.failures - 1, false, rand::random());
            sleep(Duration::from_millis(delay)).await;
        }
        match timeout(CONNECT_TIMEOUT, subscribe(&self.url, &self.products)).await {
            Ok(Ok(socket)) => {
                self.link = Some(Link {
                    socket,
                    since: Instant::now(),
                    sequences: HashMap::new(),
                })
            }
            Ok(Err(error)) => self.handle_loss(&error.to_string()),
            Err(_) => self.handle_loss("no answer within 10 s"),
        }
    }

    /// Handles a message. An invalid one is counted and skipped: the next message of that product is newer anyway.
    fn handle(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(ExchangeMessage::Ticker(ticker)) => match self.quote(&ticker) {
                Some(quote) => {
                    self.last_received_at = now_ms();
                    // Only a price proves that the feed is live again.
                    if !std::mem::replace(&mut self.live, true) {
                        tracing::info!(url = self.url, "the price feed is back");
                        self.ready.push_back(News::Status {
                            status: FeedStatus::Live,
                            since: self.last_received_at,
                        });
                    }
                    self.ready.push_back(News::Prices(vec![quote]));
                }
                None => skipped("not a price, or older than the one before"),
            },
            Ok(ExchangeMessage::Heartbeat) if self.live => self.last_received_at = now_ms(),
            Ok(ExchangeMessage::Error { message, reason }) => {
                self.handle_loss(&format!("{message}: {reason}"))
            }
            Ok(ExchangeMessage::Heartbeat | ExchangeMessage::Other) => {}
            Err(error) => skipped(&error.to_string()),
        }
    }

    fn quote(&mut self, ticker: &Ticker) -> Option<Quote> {
        let price = number(&ticker.price).filter(|price| *price > 0.0)?;
        let open = number(&ticker.open_24h).filter(|open| *open > 0.0)?;
        let volume = number(&ticker.volume_24h)?;
        if !self.products.contains(&ticker.product_id) {
            return None;
        }
        let sequences = &mut self.link.as_mut()?.sequences;
        let newest = sequences.entry(ticker.product_id.clone()).or_default();
        if ticker.sequence <= *newest {
            return None;
        }
        *newest = ticker.sequence;
        Some(quote(&ticker.product_id, price, open, volume, now_ms()))
    }

    /// Handles a lost connection or a failed attempt. The next attempt waits.
    fn handle_loss(&mut self, reason: &str) {
        tracing::warn!(url = self.url, reason, "the price feed is lost");
        let lasted = self.link.take().map(|link| link.since.elapsed());
        if lasted.is_some_and(|lasted| lasted >= STABLE_AFTER) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        if std::mem::replace(&mut self.live, false) {
            self.ready.push_back(News::Status {
                status: FeedStatus::Stale,
                since: self.last_received_at,
            });
        }
    }
}

impl Feed for Coinbase {
    fn listings(&self) -> Vec<Listing> {
        let listing = |product: &String| Listing {
            symbol: product.clone(),
            name: product.replace('-', " in "),
            // The book raises this as soon as a price has more digits.
            decimals: 2,
        };
        self.products.iter().map(listing).collect()
    }

    fn next(&mut self) -> BoxFuture<'_, News> {
        self.news().boxed()
    }
}

async fn subscribe(url: &str, products: &[String]) -> Result<Socket, tungstenite::Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let (mut socket, _) = connect_async_with_config(url, Some(config), true).await?;
    let subscribe =
        json!({"type": "subscribe", "product_ids": products, "channels": ["ticker", "heartbeat"]});
    socket.send(Message::text(subscribe.to_string())).await?;
    Ok(socket)
}

fn skipped(reason: &str) {
    metrics::counter!("wirewise_feed_skipped").increment(1);
    tracing::debug!(reason, "a message of the exchange is skipped");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKER: &str = r#"{"type":"ticker","sequence":37475248783,"product_id":"ETH-USD","price":"1285.22","open_24h":"1310.79","volume_24h":"245532.79269678","low_24h":"1280.52","high_24h":"1313.8","volume_30d":"9788783.60117027","best_bid":"1285.04","best_bid_size":"0.46688654","best_ask":"1285.27","best_ask_size":"1.56637040","side":"buy","time":"2022-10-19T23:28:22.061769Z","trade_id":370843401,"last_size":"11.4396987"}"#;

    fn parse(text: &str) -> ExchangeMessage {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_documented_messages_are_read() {
        let ExchangeMessage::Ticker(ticker) = parse(TICKER) else {
            panic!("no ticker")
        };
        assert_eq!(
            (ticker.product_id.as_str(), ticker.price.as_str()),
            ("ETH-USD", "1285.22")
        );
        assert!(matches!(
            parse(
                r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}"#
            ),
            ExchangeMessage::Heartbeat
        ));
        assert!(matches!(
            parse(
                r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["ETH-USD"]}]}"#
            ),
            ExchangeMessage::Other
        ));
        assert!(matches!(
            parse(
                r#"{"type":"error","message":"Failed to subscribe","reason":"X-Y is not a valid product"}"#
            ),
            ExchangeMessage::Error { .. }
        ));
    }
}
