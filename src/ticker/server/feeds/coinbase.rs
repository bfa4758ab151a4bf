//! Real prices: the public `ticker` channel of Coinbase Exchange.
//!
//! Protocol: <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>. One subscribe message names the channels
//! `ticker` (a message a trade) and `heartbeat` (one a second and product, so that silence means a dead connection).

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

/// A connection that does not stand by then never will.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// Heartbeats come every second: nothing for so long, and the connection is dead.
const SILENCE: Duration = Duration::from_secs(10);
/// A connection that stood this long proves the exchange well: the attempt counter falls back to zero.
const STABLE: Duration = Duration::from_secs(10);
/// A ticker message has some 500 bytes.
const MOST_BYTES: usize = 64 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The exchange as a source.
pub struct Coinbase {
    url: String,
    products: Vec<String>,
    link: Option<Link>,
    /// What was heard and not handed out yet: at most a status and a price.
    ready: VecDeque<News>,
    /// Failed attempts since a connection last stood for [`STABLE`].
    failures: u32,
    live: bool,
    /// When the exchange last said something (Unix milliseconds).
    heard_at: u64,
}

/// A connection that is subscribed.
struct Link {
    socket: Socket,
    since: Instant,
    /// The newest sequence number of each product. What comes out of order is older news.
    sequences: HashMap<String, u64>,
}

/// What the exchange says, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
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
            heard_at: now_ms(),
        }
    }

    async fn news(&mut self) -> News {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return news;
            }
            match &mut self.link {
                Some(link) => match timeout(SILENCE, link.socket.next()).await {
                    Ok(Some(Ok(Message::Text(text)))) => self.hear(&text),
                    // A control frame or something binary: no news.
                    Ok(Some(Ok(_))) => {}
                    Ok(Some(Err(error))) => self.lose(&error.to_string()),
                    Ok(None) => self.lose("the exchange closed the connection"),
                    Err(_) => self.lose("nothing came for 10 s"),
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
        match timeout(CONNECTS_WITHIN, subscribe(&self.url, &self.products)).await {
            Ok(Ok(socket)) => {
                self.link = Some(Link {
                    socket,
                    since: Instant::now(),
                    sequences: HashMap::new(),
                })
            }
            Ok(Err(error)) => self.lose(&error.to_string()),
            Err(_) => self.lose("no answer within 10 s"),
        }
    }

    /// Takes a message. Garbage is counted and skipped: the next message of that product is newer anyway.
    fn hear(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(Said::Ticker(ticker)) => match self.quote(&ticker) {
                Some(quote) => {
                    self.heard_at = now_ms();
                    // Only a price proves that prices come again.
                    if !std::mem::replace(&mut self.live, true) {
                        tracing::info!(url = self.url, "the price feed is back");
                        self.ready.push_back(News::Status {
                            status: FeedStatus::Live,
                            since: self.heard_at,
                        });
                    }
                    self.ready.push_back(News::Prices(vec![quote]));
                }
                None => skipped("a price that is none, or older than the one before"),
            },
            Ok(Said::Heartbeat) if self.live => self.heard_at = now_ms(),
            Ok(Said::Error { message, reason }) => self.lose(&format!("{message}: {reason}")),
            Ok(Said::Heartbeat | Said::Other) => {}
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

    /// The connection, or the attempt, is gone: the next attempt waits.
    fn lose(&mut self, reason: &str) {
        tracing::warn!(url = self.url, reason, "the price feed is lost");
        let stood = self.link.take().map(|link| link.since.elapsed());
        if stood.is_some_and(|stood| stood >= STABLE) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        if std::mem::replace(&mut self.live, false) {
            self.ready.push_back(News::Status {
                status: FeedStatus::Stale,
                since: self.heard_at,
            });
        }
    }
}

impl Feed for Coinbase {
    fn listings(&self) -> Vec<Listing> {
        let listing = |product: &String| Listing {
            symbol: product.clone(),
            name: product.replace('-', " in "),
            // More, as soon as a price has more.
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
        .max_message_size(Some(MOST_BYTES))
        .max_frame_size(Some(MOST_BYTES));
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

    fn said(text: &str) -> Said {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_documented_messages_are_read() {
        let Said::Ticker(ticker) = said(TICKER) else {
            panic!("no ticker")
        };
        assert_eq!(
            (ticker.product_id.as_str(), ticker.price.as_str()),
            ("ETH-USD", "1285.22")
        );
        assert!(matches!(
            said(
                r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}"#
            ),
            Said::Heartbeat
        ));
        assert!(matches!(
            said(
                r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["ETH-USD"]}]}"#
            ),
            Said::Other
        ));
        assert!(matches!(
            said(
                r#"{"type":"error","message":"Failed to subscribe","reason":"X-Y is not a valid product"}"#
            ),
            Said::Error { .. }
        ));
    }
}
