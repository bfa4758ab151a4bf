//! Tests the price stream: how it opens, how it resumes after a break, and what it refuses.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    process::Process,
    support::{Event, Remote, Server, parse},
};

const EVENTS: &str = "/api/ticker/events";

/// Reads `hello` and, unless it recovered, the snapshot. Returns the offset at which the stream stands.
async fn opened(events: &mut super::support::Events) -> (Event, u64) {
    let hello = events.expect("hello").await;
    let offset = hello.data["offset"].as_u64().unwrap();
    if hello.data["recovered"] == false {
        assert_eq!(hello.id, None, "a first hello moves no position");
        let snapshot = events.expect("snapshot").await;
        assert_eq!(snapshot.offset(), offset);
    }
    (hello, offset)
}

#[tokio::test]
async fn a_stream_opens_with_hello_and_a_snapshot() {
    let server = Server::start().await;
    server.step(1);
    let mut events = server.stream(EVENTS, &[]).await;
    let header = |name: &str| events.response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("access-control-allow-origin"), "*");
    assert!(!events.response.headers().contains_key("content-encoding"));
    let (hello, _) = opened(&mut events).await;
    assert_eq!(
        events.head.as_deref(),
        Some(": wirewise ticker\nretry: 2000\n")
    );
    assert_eq!(
        (
            &hello.data["replayed"],
            &hello.data["heartbeat_ms"],
            &hello.data["connections"]
        ),
        (&0.into(), &15_000.into(), &1.into())
    );
    assert!(hello.data["connection"].as_str().unwrap().len() >= 8);
    server.step(1);
    let price = events.expect("price").await;
    assert_eq!(price.data["type"], "price");
    assert!(price.data["price"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_client_that_asks_for_compression_gets_none_on_a_stream() {
    let server = Server::start().await;
    let mut events = server
        .stream(EVENTS, &[("accept-encoding", "gzip, br")])
        .await;
    assert!(!events.response.headers().contains_key("content-encoding"));
    opened(&mut events).await;
}

#[tokio::test]
async fn resuming_while_prices_run_leaves_no_gap_and_no_duplicate() {
    let server = Arc::new(Server::start().await);
    let publisher = tokio::spawn({
        let server = server.clone();
        async move {
            for _ in 0..300 {
                server.step(1);
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
        }
    });
    let mut events = server.stream(EVENTS, &[]).await;
    events.expect("hello").await;
    let snapshot = events.expect("snapshot").await;
    let quote = |data: &Value| {
        (
            data["symbol"].as_str().unwrap().to_owned(),
            data["price"].as_f64().unwrap(),
        )
    };
    let mut held: HashMap<String, f64> = snapshot.data["quotes"]
        .as_array()
        .unwrap()
        .iter()
        .map(quote)
        .collect();
    let (mut id, mut offset, mut round) = (snapshot.id.clone().unwrap(), snapshot.offset(), 0);
    while !publisher.is_finished()
        || offset < server.state.features.ticker.first_prices().position.offset
    {
        let behind = server.state.features.ticker.first_prices().position.offset - offset;
        // A different number of events each time, so that the cuts fall at different places.
        for _ in 0..((round * 7) % 31 + 1).min(behind) {
            let price = events.expect("price").await;
            assert!(price.offset() > offset, "{} after {offset}", price.offset());
            let (symbol, value) = quote(&price.data);
            held.insert(symbol, value);
            offset = price.offset();
            id = price.id.unwrap();
            if offset == server.state.features.ticker.first_prices().position.offset {
                break;
            }
        }
        drop(events);
        // Uses the header and the query in turn.
        events = match round % 2 {
            0 => server.stream(EVENTS, &[("last-event-id", &id)]).await,
            _ => {
                server
                    .stream(&format!("{EVENTS}?last_event_id={id}"), &[])
                    .await
            }
        };
        let hello = events.expect("hello").await;
        assert_eq!(
            (&hello.data["recovered"], hello.id.as_deref()),
            (&true.into(), Some(id.as_str()))
        );
        round += 1;
    }
    let newest = server.state.features.ticker.first_prices().quotes;
    let newest: HashMap<String, f64> = newest
        .into_iter()
        .map(|quote| (quote.symbol, quote.price))
        .collect();
    assert!(round > 5, "only {round} cuts");
    assert_eq!(held, newest);
}

#[tokio::test]
async fn the_header_takes_precedence_over_the_query() {
    let server = Server::start().await;
    server.step(5);
    let mut first = server.stream(EVENTS, &[]).await;
    opened(&mut first).await;
    server.step(1);
    let id = first.expect("price").await.id.unwrap();
    // A browser that reconnects by itself repeats its address and adds the newer header.
    let path = format!("{EVENTS}?last_event_id=foreign-1");
    let mut events = server.stream(&path, &[("last-event-id", &id)]).await;
    assert_eq!(events.expect("hello").await.data["recovered"], true);
}

#[tokio::test]
async fn ids_that_are_foreign_future_or_garbage_start_anew_and_are_no_error() {
    let server = Server::start().await;
    server.step(3);
    let mut events = server.stream(EVENTS, &[]).await;
    let (hello, offset) = opened(&mut events).await;
    let epoch = hello.data["epoch"].as_str().unwrap().to_owned();
    let future = format!("{epoch}-{}", offset + 1);
    let endless = format!("{epoch}-9007199254740991");
    for id in [
        "",
        "garbage",
        "zzzz-1",
        "-1",
        "🦀",
        "a-b-c",
        &future,
        &endless,
        &"x".repeat(3_000),
    ] {
        let mut events = server.stream(EVENTS, &[("last-event-id", id)]).await;
        assert_eq!(opened(&mut events).await.0.data["recovered"], false, "{id}");
    }
    let mut events = server
        .stream(&format!("{EVENTS}?last_event_id=%00%0a"), &[])
        .await;
    assert_eq!(opened(&mut events).await.0.data["recovered"], false);
}

#[tokio::test]
async fn a_replay_longer_than_the_cap_becomes_a_snapshot() {
    let server = Server::start().await;
    let start = format!("{}", server.state.features.ticker.first_prices().position);
    server.step(40);
    let mut events = server.stream(EVENTS, &[("last-event-id", &start)]).await;
    let hello = events.expect("hello").await;
    let missed = hello.data["replayed"].as_u64().unwrap();
    assert!(hello.data["recovered"] == true && missed > 100);
    server.step(400);
    let mut events = server.stream(EVENTS, &[("last-event-id", &start)]).await;
    assert_eq!(opened(&mut events).await.0.data["recovered"], false);
    // The cap applies after filtering: one symbol of 24 has missed less than the cap.
    let mut events = server
        .stream(
            &format!("{EVENTS}?symbols=ACME"),
            &[("last-event-id", &start)],
        )
        .await;
    let hello = events.expect("hello").await;
    assert_eq!(hello.data["recovered"], true);
    for _ in 0..hello.data["replayed"].as_u64().unwrap() {
        assert_eq!(events.expect("price").await.data["symbol"], "ACME");
    }
}

#[tokio::test]
async fn a_filtered_stream_carries_only_its_symbols_and_keeps_its_position() {
    let server = Server::with(|settings| settings.heartbeat_ms = 100).await;
    let mut events = server
        .stream(&format!("{EVENTS}?symbols=acme,INIT"), &[])
        .await;
    let hello = events.expect("hello").await;
    let snapshot = events.expect("snapshot").await;
    let symbols = |quotes: &Value| {
        quotes
            .as_array()
            .unwrap()
            .iter()
            .map(|quote| quote["symbol"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(symbols(&snapshot.data["quotes"]), ["ACME", "INIT"]);
    server.step(20);
    let head = server.state.features.ticker.first_prices().position.offset;
    loop {
        let event = events.next().await.unwrap();
        match event.name.as_str() {
            "price" => assert!(["ACME", "INIT"].contains(&event.data["symbol"].as_str().unwrap())),
            "heartbeat" if event.offset() == head => break,
            "heartbeat" => assert!(event.offset() < head),
            other => panic!("{other}"),
        }
    }
    assert_eq!(hello.data["connections"], 1);
}

#[tokio::test]
async fn an_added_symbol_has_its_price_at_once_although_the_rest_resumes() {
    let server = Server::start().await;
    let position = server
        .state
        .features
        .ticker
        .first_prices()
        .position
        .to_string();
    let path = format!("{EVENTS}?symbols=ACME,INIT&added=INIT");
    let mut events = server.stream(&path, &[("last-event-id", &position)]).await;
    assert_eq!(events.expect("hello").await.data["recovered"], true);
    let snapshot = events.expect("snapshot").await;
    assert_eq!(snapshot.data["quotes"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot.data["quotes"][0]["symbol"], "INIT");
    assert_eq!(
        snapshot.id.as_deref(),
        Some(position.as_str()),
        "it does not move the position"
    );
}

#[tokio::test]
async fn symbols_that_cannot_be_served_are_refused_with_a_sentence() {
    let server = Server::start().await;
    let many = (0..201)
        .map(|number| format!("S{number}"))
        .collect::<Vec<_>>()
        .join(",");
    for (query, needle) in [
        ("symbols=ACME,NOPE,WHAT", "NOPE, WHAT"),
        ("symbols=", "Leave it out"),
        ("symbols=%20", "Leave it out"),
        ("symbols=,", "Leave it out"),
        (&format!("symbols={many}") as &str, "At most 200"),
        ("symbols=ACME&added=NOPE", "NOPE"),
    ] {
        let response = server
            .get(&format!("{EVENTS}?{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{query}");
        let answer: Value = response.json().await.unwrap();
        assert!(
            answer["error"].as_str().unwrap().contains(needle),
            "{answer}"
        );
        let field = query.rsplit('&').next().unwrap().split('=').next();
        assert_eq!(answer["field"].as_str(), field);
    }
    let listed = server.json("/api/ticker/symbols", None).await;
    assert_eq!(listed.as_array().unwrap().len(), 24);
    assert_eq!(listed[0]["symbol"], "ACME");
    assert_eq!(listed[0]["decimals"], 2);
}

#[tokio::test]
async fn symbols_are_accepted_in_any_spelling_and_never_mistaken_for_all() {
    let server = Server::start().await;
    for query in [
        "symbols[]=ACME",
        "symbols%5B%5D=ACME",
        "Symbols=acme",
        "symbols=ACME&_=17&utm_source=x",
    ] {
        let mut events = server.stream(&format!("{EVENTS}?{query}"), &[]).await;
        events.expect("hello").await;
        let snapshot = events.expect("snapshot").await;
        let quotes = snapshot.data["quotes"].as_array().unwrap();
        assert_eq!(quotes.len(), 1, "{query}");
        assert_eq!(quotes[0]["symbol"], "ACME");
    }
    for (query, field) in [
        ("symbol=ACME", "symbol"),
        ("symbols=ACME&symbols=INIT", "symbols"),
        ("simbols=ACME", "simbols"),
    ] {
        let response = server
            .get(&format!("{EVENTS}?{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{query}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["field"], field);
        assert!(
            answer["error"].as_str().unwrap().contains("\"symbols\""),
            "{answer}"
        );
    }
    // A polyfill spells the position in its own way, and adds it to an address that already has one.
    let position = server.state.features.ticker.first_prices().position;
    for query in [
        format!("lastEventId={position}"),
        format!("last_event_id=x-1&lastEventId={position}"),
    ] {
        let mut events = server.stream(&format!("{EVENTS}?{query}"), &[]).await;
        assert_eq!(
            events.expect("hello").await.data["recovered"],
            true,
            "{query}"
        );
    }
}

/// What a client holds after a cut: its id and its prices, from a prefix of the stream's bytes.
fn held_after(prefix: &str, after_id: Option<&str>) -> (Option<String>, Vec<u64>) {
    let (mut id, mut prices) = (after_id.map(str::to_owned), vec![]);
    let complete = prefix.rfind("\n\n").map_or("", |end| &prefix[..end]);
    for event in complete.split("\n\n").filter_map(parse) {
        if let Some(new) = &event.id {
            id = Some(new.clone());
        }
        if event.name == "price" {
            prices.push(event.offset());
        }
    }
    (id, prices)
}

/// The first bytes of a stream up to and including the last replayed event.
async fn opening_bytes(server: &Server, id: Option<&str>, until: &str) -> String {
    let headers: Vec<(&str, &str)> = id.map(|id| ("last-event-id", id)).into_iter().collect();
    let mut events = server.stream(EVENTS, &headers).await;
    let mut text = String::new();
    while !text.contains(until) || !text.ends_with("\n\n") {
        text.push_str(
            std::str::from_utf8(&events.response.chunk().await.unwrap().unwrap()).unwrap(),
        );
    }
    text
}

#[tokio::test]
async fn a_cut_after_every_byte_of_hello_and_replay_loses_nothing_and_doubles_nothing() {
    let server = Server::start().await;
    server.step(2);
    let start = server.state.features.ticker.first_prices().position;
    server.step(1);
    let head = server.state.features.ticker.first_prices().position;
    let missed: Vec<u64> = (start.offset + 1..=head.offset).collect();
    assert!(missed.len() > 3);
    let opening = opening_bytes(&server, Some(&start.to_string()), &format!("id: {head}\n")).await;
    for cut in 0..=opening.len() {
        let (id, mut prices) = held_after(&opening[..cut], Some(&start.to_string()));
        let id = id.unwrap();
        let mut events = server.stream(EVENTS, &[("last-event-id", &id)]).await;
        let hello = events.expect("hello").await;
        assert_eq!(hello.data["recovered"], true, "cut after byte {cut}");
        for _ in 0..hello.data["replayed"].as_u64().unwrap() {
            prices.push(events.expect("price").await.offset());
        }
        assert_eq!(prices, missed, "cut after byte {cut}");
    }
}

#[tokio::test]
async fn a_cut_within_a_first_opening_starts_anew_unless_the_snapshot_was_seen() {
    let server = Server::start().await;
    server.step(1);
    let head = server
        .state
        .features
        .ticker
        .first_prices()
        .position
        .to_string();
    let opening = opening_bytes(&server, None, "event: snapshot").await;
    for cut in 0..=opening.len() {
        let (id, _) = held_after(&opening[..cut], None);
        assert_eq!(
            id.is_some(),
            cut == opening.len(),
            "only the whole snapshot gives a position; cut after byte {cut}"
        );
        if let Some(id) = id {
            assert_eq!(id, head);
        }
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_first_thousand_prices_in_two_processes() {
    let (one, two, other) = tokio::join!(
        first_thousand_prices("42"),
        first_thousand_prices("42"),
        first_thousand_prices("43")
    );
    assert_eq!(one, two);
    assert_ne!(one, other);
}

/// The first thousand prices of a process of its own, field by field except for the time.
async fn first_thousand_prices(seed: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (path, feed) = (folder.path().to_owned(), format!("simulated:{seed}"));
    let start = move || {
        // The ring is large enough to keep them.
        let flags = ["--feed", &feed, "--tick-ms", "10", "--history", "100000"];
        Process::start(&path, &flags)
    };
    let process = spawn_blocking(start).await.unwrap();
    let server = Remote::new(process.addr);
    let mut live = server.stream(EVENTS, &[]).await;
    let (hello, mut published) = opened(&mut live).await;
    while published < 1_000 {
        published = live.expect("price").await.offset();
    }
    // The market ran before any client connected, and live events may be conflated, but a replay has every single
    // price. More than a thousand missed prices become a snapshot, so each symbol is read separately.
    let epoch = hello.data["epoch"].as_str().unwrap();
    let mut prices = BTreeMap::new();
    for listing in server
        .json("/api/ticker/symbols", None)
        .await
        .as_array()
        .unwrap()
    {
        let symbol = listing["symbol"].as_str().unwrap();
        let path = format!("{EVENTS}?symbols={symbol}&last_event_id={epoch}-0");
        let mut events = server.stream(&path, &[]).await;
        let hello = events.expect("hello").await;
        assert_eq!(hello.data["recovered"], true, "{hello:?}");
        for _ in 0..hello.data["replayed"].as_u64().unwrap() {
            let mut price = events.expect("price").await;
            price.data.as_object_mut().unwrap().remove("at").unwrap();
            prices.insert(price.offset(), price.data);
        }
    }
    let first = prices.into_iter().take(1_000);
    let (offsets, prices): (Vec<u64>, Vec<Value>) = first.unzip();
    assert_eq!(offsets, (1..=1_000).collect::<Vec<_>>());
    prices
}
