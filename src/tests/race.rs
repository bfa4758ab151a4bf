//! Tests races of the two transports, through the listener of the server itself.

use realtime::transport::Transport;
use serde_json::Value;
use wirewise::progress::result::RaceResult;

use crate::support::Server;

async fn race(server: &Server, fields: &[(&str, &str)]) -> Value {
    let guest = server.guest().await;
    let form = [&[("kind", "race")], fields].concat();
    let path = format!("/api/jobs/{}/events", server.start_job(&guest, &form).await);
    let events = server
        .stream(&path, &[("authorization", &guest.bearer())])
        .await;
    events.rest().await.last().unwrap().data.clone()
}

fn result(end: &Value) -> RaceResult {
    assert_eq!(end["type"], "done", "{end}");
    serde_json::from_value(end["result"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_delivers_everything_over_both_transports_in_order() {
    let server = Server::start().await;
    for (messages, size) in [("100", "16"), ("2000", "100"), ("100", "65536")] {
        let fields = [
            ("messages", messages),
            ("size", size),
            ("rounds", "2"),
            ("mode", "burst"),
        ];
        let race = result(&race(&server, &fields).await);
        assert!(race.is_complete(), "{race:?}");
        assert_eq!(race.rows.len(), 4);
        for round in [1, 2] {
            let of_round = race.rows.iter().filter(|row| row.round == round);
            let mut transports: Vec<Transport> = of_round.map(|row| row.transport).collect();
            transports.sort_by_key(|transport| transport.name());
            assert_eq!(transports, [Transport::Sse, Transport::WebSocket]);
        }
        for row in &race.rows {
            // The overhead of a payload is JSON, an id and a frame: not nothing, and not much.
            assert!((15.0..150.0).contains(&row.overhead_bytes), "{row:?}");
            let payload = race.messages * race.size;
            assert!(row.wire_bytes > payload, "{row:?}");
            assert!(
                row.latency_p50_us <= row.latency_p99_us
                    && row.latency_p99_us <= row.latency_max_us
            );
            assert!(row.elapsed_ms > 0.0 && row.cpu_us >= 0.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paced_race_keeps_its_rate() {
    let server = Server::start().await;
    let fields = [
        ("messages", "100"),
        ("size", "16"),
        ("rounds", "1"),
        ("mode", "paced"),
        ("rate", "1000"),
    ];
    let race = result(&race(&server, &fields).await);
    assert!(race.is_complete(), "{race:?}");
    assert_eq!(race.rate, Some(1_000));
    // The race is not faster than requested: the last of 100 messages is due after 99 ms.
    assert!(
        race.rows.iter().all(|row| row.elapsed_ms >= 99.0),
        "{race:?}"
    );
}

#[tokio::test]
async fn a_race_channel_of_no_race_is_not_found() {
    let server = Server::start().await;
    let lane = uuid::Uuid::new_v4();
    let answer = server
        .get(&format!("/api/races/{lane}/events"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
}
