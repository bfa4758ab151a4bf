//! Tests the feeds other than the simulated one: a file, and an exchange that drops and garbles its messages.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use crate::support::{Event, Events, PATIENCE, Server, free_address};

const EVENTS: &str = "/api/ticker/events";

/// A server that sends the documented messages of Coinbase Exchange, and whatever faults a test needs.
struct Exchange(TcpListener);

struct Subscriber(WebSocketStream<TcpStream>);

impl Exchange {
    async fn listen() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("coinbase:ws://{}/", listener.local_addr().unwrap());
        (Self(listener), url)
    }

    /// The next connection, subscribed as documented.
    async fn subscriber(&self) -> Subscriber {
        let (tcp, _) = timeout(PATIENCE, self.0.accept()).await.unwrap().unwrap();
        let mut socket = accept_async(tcp).await.unwrap();
        let message = timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let subscribe: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!(
            subscribe,
            json!({"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["ticker", "heartbeat"]})
        );
        let mut subscriber = Subscriber(socket);
        subscriber
            .send(json!({"type": "subscriptions", "channels": [{"name": "ticker", "product_ids": ["BTC-USD", "ETH-USD"]}]}))
            .await;
        subscriber
    }
}

impl Subscriber {
    async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn price(&mut self, product: &str, sequence: u64, price: &str) {
        self.send(ticker(product, sequence, price)).await;
    }
}

fn ticker(product: &str, sequence: u64, price: &str) -> Value {
    json!({
        "type": "ticker", "sequence": sequence, "product_id": product, "price": price, "open_24h": "100.00",
        "volume_24h": "245532.79269678", "low_24h": "90", "high_24h": "110", "volume_30d": "9788783.6", "best_bid": "99",
        "best_bid_size": "0.4", "best_ask": "101", "best_ask_size": "1.5", "side": "buy",
        "time": "2022-10-19T23:28:22.061769Z", "trade_id": 370843401, "last_size": "11.4396987"
    })
}

async fn price(events: &mut Events) -> (String, f64) {
    let event = events.expect("price").await;
    (
        event.data["symbol"].as_str().unwrap().to_owned(),
        event.data["price"].as_f64().unwrap(),
    )
}

async fn with_exchange() -> (Server, Exchange) {
    let (exchange, url) = Exchange::listen().await;
    let server = Server::with(|settings| settings.ticker.feed = url.parse().unwrap()).await;
    (server, exchange)
}

#[tokio::test]
async fn an_exchange_that_garbles_drops_and_reconnects_loses_no_last_price() {
    let (server, exchange) = with_exchange().await;
    let mut events = server.stream(EVENTS, &[]).await;
    events.expect("hello").await;
    assert_eq!(events.expect("snapshot").await.data["quotes"], json!([]));

    let mut subscriber = exchange.subscriber().await;
    subscriber.price("BTC-USD", 10, "110.125").await;
    assert_eq!(price(&mut events).await, ("BTC-USD".into(), 110.125));
    // Garbage of every kind, a product without a subscription, and a message out of order: none of them is a price.
    for garbage in [
        r#"{"type":"ticker","price":"#,
        "",
        "[]",
        "null",
        r#"{"type":7}"#,
        "\u{0}",
    ] {
        subscriber.send_text(garbage).await;
    }
    subscriber
        .0
        .send(Message::binary(vec![0xFF; 100]))
        .await
        .unwrap();
    for nonsense in ["", "free", "NaN", "inf", "-1", "0"] {
        subscriber.price("ETH-USD", 11, nonsense).await;
    }
    subscriber.price("DOGE-USD", 12, "5").await;
    subscriber.price("BTC-USD", 9, "1.00").await;
    subscriber.send(json!({"type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": "BTC-USD", "time": "2014-11-07T08:19:28.464459Z"})).await;
    subscriber.send(json!({"type": "something_new"})).await;
    subscriber.price("ETH-USD", 13, "50").await;
    let eth = events.expect("price").await;
    assert_eq!(
        (
            &eth.data["symbol"],
            &eth.data["price"],
            &eth.data["change"],
            &eth.data["change_percent"]
        ),
        (
            &json!("ETH-USD"),
            &json!(50.0),
            &json!(-50.0),
            &json!(-50.0)
        )
    );
    // The decimals are those of the exchange.
    let listed = server.json("/api/ticker/symbols", None).await;
    assert_eq!(
        listed[0],
        json!({"symbol": "BTC-USD", "name": "BTC in USD", "decimals": 3})
    );

    drop(subscriber);
    let stale = events.expect("feed").await;
    assert_eq!(stale.data["status"], "stale");
    assert!(stale.data["since"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(
        server.state.features.ticker.first_prices().stale_since,
        stale.data["since"].as_u64()
    );
    // A new client gets the last prices, and the event that marks them as stale.
    let mut late = server.stream(EVENTS, &[]).await;
    late.expect("hello").await;
    let snapshot = late.expect("snapshot").await;
    assert_eq!(snapshot.data["quotes"].as_array().unwrap().len(), 2);
    let status = late.expect("feed").await;
    assert_eq!((&status.data, &status.id), (&stale.data, &snapshot.id));
    // A client of one symbol gets them too.
    let mut one = server
        .stream(&format!("{EVENTS}?symbols=BTC-USD"), &[])
        .await;
    one.expect("hello").await;
    one.expect("snapshot").await;
    assert_eq!(one.expect("feed").await.data, stale.data);

    // The server reconnects by itself, with the kit's own backoff. Sequence numbers may begin anew.
    let mut subscriber = exchange.subscriber().await;
    subscriber.price("BTC-USD", 1, "111").await;
    for stream in [&mut events, &mut late, &mut one] {
        let live = stream.expect("feed").await;
        assert_eq!(live.data["status"], "live");
        assert_eq!(price(stream).await, ("BTC-USD".into(), 111.0));
    }
    assert_eq!(
        server.state.features.ticker.first_prices().stale_since,
        None
    );
}

#[tokio::test]
async fn an_exchange_that_refuses_the_subscription_is_contacted_again_later() {
    let (server, exchange) = with_exchange().await;
    let mut events = server.stream(EVENTS, &[]).await;
    events.expect("hello").await;
    events.expect("snapshot").await;
    let mut subscriber = exchange.subscriber().await;
    subscriber.send(json!({"type": "error", "message": "Failed to subscribe", "reason": "BTC-USD is not a valid product"})).await;
    assert_eq!(events.expect("feed").await.data["status"], "stale");
    let mut subscriber = exchange.subscriber().await;
    subscriber.price("ETH-USD", 1, "0.00001234").await;
    assert_eq!(events.expect("feed").await.data["status"], "live");
    assert_eq!(price(&mut events).await, ("ETH-USD".into(), 0.000_012_34));
}

#[tokio::test]
async fn an_unreachable_exchange_makes_the_feed_stale_and_the_server_stays_up() {
    let free = free_address();
    let server = Server::with(|settings| {
        settings.ticker.feed = format!("coinbase:ws://{free}/").parse().unwrap()
    })
    .await;
    let mut events = server.stream(EVENTS, &[]).await;
    events.expect("hello").await;
    events.expect("snapshot").await;
    let stale: Event = events.expect("feed").await;
    assert_eq!(stale.data["status"], "stale");
}

#[tokio::test]
async fn a_file_is_replayed_and_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.csv");
    std::fs::write(
        &file,
        "price,symbol,timestamp\n10,AAA,100\nbroken\n20.5,BBB,100\n11,AAA,160\n",
    )
    .unwrap();
    let server = Server::with(|settings| {
        settings.ticker.feed = format!("replay:{}", file.display()).parse().unwrap();
        settings.ticker.speed = 600.0;
    })
    .await;
    let mut events = server.stream(EVENTS, &[]).await;
    events.expect("hello").await;
    let snapshot = events.expect("snapshot").await;
    // The first round may have begun before the stream was open, so the test follows it up to the second.
    let mut seen = snapshot.data["quotes"].as_array().unwrap().len();
    let mut rounds = 0;
    while rounds < 2 {
        let (symbol, price) = price(&mut events).await;
        assert!([("AAA", 10.0), ("BBB", 20.5), ("AAA", 11.0)].contains(&(symbol.as_str(), price)));
        rounds += usize::from(price == 11.0);
        seen += 1;
    }
    assert!((5..=7).contains(&seen), "{seen}");
    let listed = server.json("/api/ticker/symbols", None).await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let unknown = server
        .get(&format!("{EVENTS}?symbols=ACME"))
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), 400);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_an_exchange() {
    let (mut server, exchange) = with_exchange().await;
    let subscriber = exchange.subscriber().await;
    server.shut_down();
    timeout(Duration::from_secs(10), server.ended)
        .await
        .expect("the server ends")
        .unwrap();
    drop(subscriber);
}
