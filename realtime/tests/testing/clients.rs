//! What a scripted client gets.

use realtime::{
    close::CloseCode,
    prelude::*,
    server::channel::memory::MemoryChannels,
    testing::{ScriptedClient, SocketItem, StreamItem},
};
use uuid::Uuid;

use super::{
    channel::{self, Wall},
    socket::{self, Echo, EchoMessage},
    weather::{self, AppState, Weather, WeatherEvent::Measured},
};

fn weather_server(realtime: &Realtime) -> (ScriptedClient, Topic<weather::WeatherEvent>) {
    let weather = Topic::latest(Measured { celsius: 7.0 });
    let state = AppState {
        realtime: realtime.clone(),
        weather: weather.clone(),
    };
    (
        ScriptedClient::new(weather::routes().with_state(state)),
        weather,
    )
}

#[tokio::test]
async fn a_position_of_another_server_is_not_recovered() {
    let realtime = Realtime::default();
    let (client, _) = weather_server(&realtime);
    let mut stream = client.stream(&Weather).await;
    stream.hello().await;
    stream.event().await;
    let position = stream.position().unwrap().clone();
    let (restarted, _) = weather_server(&Realtime::default());
    let mut stream = restarted.stream_after(&Weather, &position).await;
    let hello = stream.hello().await;
    assert!(!hello.recovered && hello.epoch != position.epoch);
    let Measured { celsius } = stream.event().await;
    assert_eq!(celsius, 7.0);
}

#[tokio::test]
async fn a_stream_ends_with_the_drain() {
    let realtime = Realtime::default();
    let (client, _) = weather_server(&realtime);
    let mut stream = client.stream(&Weather).await;
    stream.hello().await;
    stream.event().await;
    realtime.drain().start();
    assert!(matches!(stream.next().await, StreamItem::Drain { .. }));
    assert_eq!(kind(stream.next().await), "ended");
}

fn kind<E>(item: StreamItem<E>) -> &'static str {
    match item {
        StreamItem::Ended => "ended",
        _ => "not ended",
    }
}

#[tokio::test]
async fn an_address_with_too_many_streams_is_refused_with_a_wait() {
    let options = RealtimeOptions::default().connections_per_address(1);
    let (client, _) = weather_server(&Realtime::new(options));
    let _first = client.stream(&Weather).await;
    let answer = client.refused_stream(&Weather).await;
    assert_eq!((answer.status, answer.retry_after_ms), (429, Some(10_000)));
}

#[tokio::test]
async fn a_parrot_answers_and_its_drain_closes() {
    let realtime = Realtime::default();
    let client = ScriptedClient::new(socket::routes().with_state(realtime.clone()));
    let mut socket = client.socket(&Echo).await;
    socket.welcome().await;
    let text = "Hello".to_owned();
    socket.send(&EchoMessage::Say { text }).await;
    let EchoMessage::Say { text } = socket.event().await;
    assert_eq!(text, "Hello");
    realtime.drain().start();
    assert!(matches!(socket.next().await, SocketItem::Drain { .. }));
    let (code, _) = socket.closed().await;
    assert_eq!(code, CloseCode::ServiceRestart.code());
}

#[tokio::test]
async fn a_member_who_comes_back_gets_what_was_missed_and_a_repeated_message_is_stored_once() {
    let walls = MemoryChannels::new(100);
    let client = ScriptedClient::new(channel::routes(walls).with_state(Realtime::default()));
    let mut socket = client.socket(&Wall).await;
    socket.welcome().await;
    let mut lobby = socket.join("lobby", None).await;
    assert!(!lobby.joined().recovered);
    let id = Uuid::from_u128(1);
    lobby.send(id, "one".into()).await;
    assert_eq!(lobby.message().await.message.text, "one");
    let ack = lobby.acknowledged().await;
    let position = lobby.position().cloned();
    socket.cut();

    let mut socket = client.socket(&Wall).await;
    socket.welcome().await;
    let mut lobby = socket.join("lobby", position).await;
    assert!(lobby.joined().recovered);
    lobby.send(id, "one".into()).await;
    assert_eq!(lobby.acknowledged().await, ack, "it was stored before");
    lobby.send(Uuid::from_u128(2), "two".into()).await;
    assert_eq!(lobby.message().await.message.text, "two");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "within 10 s there was no message")]
async fn a_wait_for_what_does_not_come_ends_with_a_sentence() {
    let client = ScriptedClient::new(socket::routes().with_state(Realtime::default()));
    let mut socket = client.socket(&Echo).await;
    socket.welcome().await;
    socket.next().await;
}
