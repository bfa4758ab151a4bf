//! Tests prices and jobs at nodes that share a NATS server: any node shows them, and a client resumes at any.

use realtime::contract::StreamContract;
use serde_json::Value;
use uuid::Uuid;
use wirewise::{
    bus::Health,
    progress::{
        message::{JobKind, JobStatus, Progress},
        server::job::JobRecord,
    },
    settings::Settings,
    ticker::message::{FirstPrices, TickerEvents},
};

use crate::{
    nodes::{Nats, until},
    support::{Event, Events, Guest, Server},
    upload::{Sending, upload},
};

const PRICES: &str = "/api/ticker/events?symbols=ACME";

fn prices(node: &Server) -> FirstPrices {
    node.state.features.ticker.first_prices()
}

/// Waits until two nodes are at the same position.
async fn agree(one: &Server, two: &Server) {
    let both = async || (prices(one).position, prices(two).position);
    until(both, |(one, two)| one == two).await;
}

/// A stream of prices, its `hello`, and the price that it begins with if it does not resume.
async fn open(node: &Server, after: Option<&str>) -> (Events, Event) {
    let headers: Vec<_> = after.map(|id| ("last-event-id", id)).into_iter().collect();
    let mut stream = node.stream(PRICES, &headers).await;
    let hello = stream.expect("hello").await;
    (stream, hello)
}

#[tokio::test]
async fn a_ticker_client_sees_each_price_once_whichever_node_it_comes_back_to() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    agree(&one, &two).await;
    let (mut stream, hello) = open(&two, None).await;
    assert_eq!(hello.data["recovered"], false);
    let snapshot = stream.expect("snapshot").await;
    let mut last = snapshot.id.clone().unwrap();
    let mut seen = vec![];
    for round in 0..10 {
        one.step(20);
        if round == 9 {
            // The last one gets the rest.
            agree(&one, &two).await;
        }
        let node = if round % 2 == 0 { &one } else { &two };
        let (mut stream, hello) = open(node, Some(&last)).await;
        assert_eq!(hello.data["recovered"], true);
        let replayed = hello.data["replayed"].as_u64().unwrap();
        for _ in 0..replayed {
            let price = stream.expect("price").await;
            seen.push(price.offset());
            last = price.id.unwrap();
        }
    }
    agree(&one, &two).await;
    let (mut whole, hello) = open(&two, snapshot.id.as_deref()).await;
    let mut all = vec![];
    for _ in 0..hello.data["replayed"].as_u64().unwrap() {
        all.push(whole.expect("price").await.offset());
    }
    assert_eq!(seen, all, "each price once, in order");
    assert!(seen.len() > 50, "{} prices", seen.len());
}

#[tokio::test]
async fn a_live_client_gets_the_prices_of_the_owner_at_another_node() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    agree(&one, &two).await;
    let mut here = one.stream(TickerEvents::ROUTE, &[]).await;
    let mut there = two.stream(TickerEvents::ROUTE, &[]).await;
    for stream in [&mut here, &mut there] {
        stream.expect("hello").await;
        stream.expect("snapshot").await;
    }
    // Of the 24 symbols about half trade in a step.
    one.step(1);
    for _ in 0..3 {
        assert_eq!(here.expect("price").await, there.expect("price").await);
    }
}

#[tokio::test]
async fn when_the_owner_drains_another_node_goes_on_under_a_new_epoch() {
    let nats = Nats::start().await;
    let (mut one, two) = (nats.node().await, nats.node().await);
    agree(&one, &two).await;
    one.step(5);
    agree(&one, &two).await;
    let before = prices(&two);
    let (mut stream, _) = open(&two, None).await;
    let snapshot = stream.expect("snapshot").await;
    one.shut_down();
    // The stream ends, because its history does.
    while stream.next().await.is_some() {}
    let (mut stream, hello) = open(&two, snapshot.id.as_deref()).await;
    assert_eq!(hello.data["recovered"], false);
    let after = stream.expect("snapshot").await;
    assert_ne!(prices(&two).position.epoch, before.position.epoch);
    assert_eq!(
        after.data["quotes"], snapshot.data["quotes"],
        "the prices go on from where they were"
    );
    two.step(10);
    stream.expect("price").await;
}

async fn countdown(node: &Server, guest: &Guest, steps: &str, step_ms: &str) -> String {
    let form = [
        ("kind", "countdown"),
        ("steps", steps),
        ("step_ms", step_ms),
    ];
    node.start_job(guest, &form).await
}

/// Watches a job to the end of its stream.
async fn watched(node: &Server, guest: &Guest, id: &str) -> Vec<Event> {
    let path = format!("/api/jobs/{id}/events");
    let bearer = guest.bearer();
    let stream = node.stream(&path, &[("authorization", &bearer)]).await;
    stream.rest().await
}

async fn status_after(node: &Server, guest: &Guest, id: &str, last: &str) -> u16 {
    let request = node.get(&format!("/api/jobs/{id}/events"));
    let request = request
        .header("authorization", guest.bearer())
        .header("last-event-id", last);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_job_is_watched_at_any_node_and_its_end_is_the_end_at_each() {
    let nats = Nats::start().await;
    let (one, two, three) = (nats.node().await, nats.node().await, nats.node().await);
    let guest = one.guest().await;
    let id = countdown(&one, &guest, "10", "50").await;
    // It is in the list of every node once its start is answered.
    let listed = two.json("/api/jobs", Some(&guest)).await;
    assert_eq!(listed[0]["id"], *id);
    let (here, there) = tokio::join!(watched(&one, &guest, &id), watched(&two, &guest, &id));
    for events in [&here, &there] {
        let done: Vec<u64> = events
            .iter()
            .filter(|event| event.name == "progress")
            .map(|event| event.data["done"].as_u64().unwrap())
            .collect();
        assert!(done.is_sorted() && done.last() == Some(&10), "{done:?}");
        assert_eq!(events.last().unwrap().name, "done");
    }
    let end = here.last().unwrap();
    assert_eq!(Some(end), there.last(), "the same event under the same id");
    let last = end.id.as_deref().unwrap();
    for node in [&one, &two, &three] {
        let status = async || status_after(node, &guest, &id, last).await;
        until(status, |status| *status == 204).await;
        let listed = node.json("/api/jobs", Some(&guest)).await;
        assert_eq!(listed[0]["id"], *id);
        assert_eq!(listed[0]["status"], "done");
    }
    // A node that starts later knows it too.
    let late = nats.node().await;
    assert_eq!(status_after(&late, &guest, &id, last).await, 204);
}

#[tokio::test]
async fn a_watcher_resumes_at_another_node_and_sees_each_step_once() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let guest = one.guest().await;
    let id = countdown(&one, &guest, "40", "60").await;
    let path = format!("/api/jobs/{id}/events");
    let bearer = guest.bearer();
    let (mut last, mut offsets, mut ended) = (None::<String>, vec![], false);
    for round in 0.. {
        let node = if round % 2 == 0 { &two } else { &one };
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(last.as_deref().map(|last| ("last-event-id", last)));
        let mut stream = node.stream(&path, &headers).await;
        let hello = stream.expect("hello").await;
        assert_eq!(
            hello.data["recovered"],
            last.is_some(),
            "{round} {last:?} {hello:?}"
        );
        for _ in 0..5 {
            let Some(event) = stream.next().await else {
                break;
            };
            last.clone_from(&event.id);
            ended |= event.name == "done";
            if event.name != "state" {
                offsets.push(event.offset());
            }
        }
        if ended {
            break;
        }
    }
    let first = offsets[0];
    let expected: Vec<u64> = (first..first + offsets.len() as u64).collect();
    assert_eq!(offsets, expected);
}

#[tokio::test]
async fn a_job_is_cancelled_through_any_node() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let (ada, bob) = (one.guest().await, two.guest().await);
    let id = countdown(&one, &ada, "1000", "10000").await;
    let cancel = async |guest: &Guest| {
        let request = two.post("/api/jobs/cancel", &[("id", &id)]);
        let request = request.header("authorization", guest.bearer());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(cancel(&bob).await, 403);
    // The node that runs it may not have subscribed to questions yet.
    until(async || cancel(&ada).await, |status| *status == 200).await;
    let events = watched(&two, &ada, &id).await;
    assert_eq!(events.last().unwrap().name, "cancelled");
}

#[tokio::test]
async fn a_job_whose_node_shuts_down_has_failed_in_words() {
    let nats = Nats::start().await;
    let (mut one, two) = (nats.node().await, nats.node().await);
    let guest = one.guest().await;
    let id = countdown(&one, &guest, "1000", "10000").await;
    let watching = watched(&two, &guest, &id);
    one.shut_down();
    watching.await;
    // Where the last event itself was lost with its node, the stream ends, and the client comes back.
    let events = watched(&two, &guest, &id).await;
    let end = events.last().unwrap();
    assert_eq!(end.name, "failed");
    let error = end.data["error"].as_str().unwrap();
    assert!(error.contains("shut down"), "{error}");
}

#[tokio::test]
async fn a_job_whose_node_is_lost_has_failed_at_all_nodes_with_one_end() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let guest = one.guest().await;
    // As a node that was killed leaves it.
    let record = JobRecord {
        id: Uuid::new_v4().into(),
        kind: JobKind::Countdown,
        owner: guest.id.parse().unwrap(),
        started_at: realtime::server::now_ms(),
        progress: Progress {
            status: JobStatus::Running,
            done: 3,
            total: Some(10),
            unit: "steps".into(),
            eta_ms: None,
            note: String::new(),
        },
        end: None,
        node: Some(Uuid::new_v4()),
    };
    let id = record.id.value().to_string();
    let bytes = serde_json::to_vec(&record).unwrap();
    let key = format!("jobs/{id}");
    one.state.bus.put_latest(&key, bytes.into()).await.unwrap();
    let view = async |node: &Server| node.json(&format!("/api/jobs/{id}"), Some(&guest)).await;
    let failed = |view: &Value| view["status"] == "failed";
    let (here, there) = tokio::join!(
        until(async || view(&one).await, failed),
        until(async || view(&two).await, failed)
    );
    assert_eq!(here, there);
    assert_eq!(here["progress"], there["progress"]);
    let error = here["error"].as_str().unwrap();
    assert!(error.contains("lost"), "{error}");
    let events = watched(&two, &guest, &id).await;
    let last = events.last().unwrap().id.clone().unwrap();
    for node in [&one, &two] {
        assert_eq!(status_after(node, &guest, &id, &last).await, 204);
    }
}

/// Waits until a node knows that NATS is away.
async fn is_away(node: &Server) {
    let mut health = node.state.bus.health();
    let is_away = |health: &Health| matches!(health, Health::Away { .. });
    health.wait_for(is_away).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_job_waits_for_nats_and_is_the_end_at_all_nodes() {
    let mut nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let guest = one.guest().await;
    let id = countdown(&one, &guest, "40", "50").await;
    let view = async |node: &Server| node.json(&format!("/api/jobs/{id}"), Some(&guest)).await;
    // The other node knows it.
    until(
        async || view(&two).await,
        |view| view["status"] == "running",
    )
    .await;
    nats.server.kill();
    is_away(&one).await;
    until(async || view(&one).await, |view| view["done"] == 40).await;
    let path = format!("/api/jobs/{id}/events");
    let bearer = guest.bearer();
    let mut stream = one.stream(&path, &[("authorization", &bearer)]).await;
    stream.expect("hello").await;
    let state = stream.expect("state").await;
    assert_eq!(
        state.data["status"], "running",
        "nobody sees an end that the other nodes might not know"
    );
    nats.server.go_on();
    let end = stream.expect("done").await;
    let last = end.id.as_deref().unwrap();
    let three = nats.node().await;
    for node in [&one, &two, &three] {
        let status = async || status_after(node, &guest, &id, last).await;
        until(status, |status| *status == 204).await;
        assert_eq!(view(node).await, view(&one).await);
    }
}

#[tokio::test]
async fn a_job_that_nats_does_not_store_is_not_started() {
    let mut nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let guest = one.guest().await;
    nats.server.kill();
    is_away(&one).await;
    is_away(&two).await;
    let form = [("kind", "countdown"), ("steps", "1"), ("step_ms", "10")];
    let request = one.post("/api/jobs/start", &form);
    let refused = request.header("authorization", guest.bearer());
    assert_eq!(refused.send().await.unwrap().status(), 503);
    let path = format!("/api/jobs/{}", Uuid::new_v4());
    let status = async || {
        let request = two.get(&path).header("authorization", guest.bearer());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status().await, 503, "this node may not have heard of it");
    nats.server.go_on();
    until(status, |status| *status == 404).await;
    for node in [&one, &two] {
        let jobs = async || node.json("/api/jobs", Some(&guest)).await;
        until(jobs, |jobs| jobs[0]["status"] == "cancelled").await;
    }
}

#[tokio::test]
async fn an_upload_is_watched_at_another_node() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let guest = one.guest().await;
    let sending = Sending::begin(&one, &guest, "&size=3", "a.txt").await;
    let id = sending.id.to_string();
    let path = format!("/api/jobs/{id}/events");
    let bearer = guest.bearer();
    let mut stream = two.stream(&path, &[("authorization", &bearer)]).await;
    stream.expect("hello").await;
    stream.expect("state").await;
    sending.send(b"bc".to_vec()).await;
    let answer = sending.finish().await;
    assert_eq!(answer.status(), 200);
    let events = stream.rest().await;
    let end = events.last().unwrap();
    assert_eq!(
        (end.name.as_str(), &end.data["result"]["bytes"]),
        ("done", &3.into())
    );
}

#[tokio::test]
async fn the_comparison_resumes_at_another_node() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let route = "/api/compare/events";
    let mut stream = one.stream(route, &[]).await;
    stream.expect("hello").await;
    let seen = stream.expect("pulse").await.id.unwrap();
    let mut stream = two.stream(route, &[("last-event-id", &seen)]).await;
    let hello = stream.expect("hello").await;
    assert_eq!(hello.data["recovered"], true);
    let (epoch, offset) = seen.split_once('-').unwrap();
    let next = offset.parse::<u64>().unwrap() + 1;
    let pulse = stream.expect("pulse").await;
    assert_eq!(pulse.id, Some(format!("{epoch}-{next}")));
    assert_eq!(pulse.data["sequence"], next);
}

#[tokio::test]
async fn of_two_uploads_with_one_id_at_two_nodes_one_is_refused() {
    let nats = Nats::start().await;
    let (one, two) = (nats.node().await, nats.node().await);
    let guest = one.guest().await;
    let query = format!("?id={}", Uuid::new_v4());
    let (first, second) = tokio::join!(
        upload(&one, &guest, &query, b"first"),
        upload(&two, &guest, &query, b"second"),
    );
    let mut statuses = [first.status().as_u16(), second.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn a_connection_is_inspected_and_broken_through_any_node() {
    let nats = Nats::start().await;
    let allow = |settings: &mut Settings| settings.allow_faults = true;
    let (one, two) = (nats.node_with(allow).await, nats.node_with(allow).await);
    agree(&one, &two).await;
    let (ada, bob) = (one.guest().await, one.guest().await);
    let bearer = ada.bearer();
    let open = async |node: &Server, last: Option<&str>| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let mut stream = node.stream(PRICES, &headers).await;
        let hello = stream.expect("hello").await;
        (stream, hello)
    };
    let (mut stream, hello) = open(&one, None).await;
    let last = stream.expect("snapshot").await.id.unwrap();
    let connection = hello.data["connection"].as_str().unwrap().to_owned();
    let ask = async |kind: &str, guest: &Guest| {
        let path = format!("/api/faults/{kind}");
        let request = two.post(&path, &[("connection", &connection)]);
        let request = request.header("authorization", guest.bearer());
        request.send().await.unwrap().status().as_u16()
    };
    // The subscription of the other node may not have reached NATS yet.
    until(
        async || ask("expire_history", &bob).await,
        |status| *status == 403,
    )
    .await;
    let path = format!("/api/connections/{connection}");
    let handshake = two.json(&path, Some(&ada)).await;
    let request = handshake["request"].as_str().unwrap();
    assert!(request.contains(PRICES), "{request}");
    // The next resume is refused at whichever node it comes in, and only there.
    assert_eq!(ask("expire_history", &ada).await, 200);
    let refused = async || open(&two, Some(&last)).await.1.data["recovered"] == false;
    until(refused, |is_refused| *is_refused).await;
    let accepted = async || open(&one, Some(&last)).await.1.data["recovered"] == true;
    until(accepted, |is_accepted| *is_accepted).await;
    assert_eq!(ask("drop", &ada).await, 200);
    while stream.next().await.is_some() {}
    let gone = async || ask("drop", &ada).await;
    until(gone, |status| *status == 404).await;
}
