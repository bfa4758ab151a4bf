//! Runs the examples of the README: over a real connection, across a restart of the server, and as a rendered page.

#![cfg(feature = "ssr")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test an unwrap is an assertion, in its helpers too"
)]

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use leptos::prelude::*;
use realtime::{
    event_parser::EventParser,
    server::{
        Carrier, Delivery, Drain, Mirror, Realtime, RealtimeOptions, Topic,
        channel::memory::MemoryChannels, listen, mirror::CarriedQuestion,
    },
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

#[path = "readme/channel.rs"]
mod channel;
#[path = "readme/handler.rs"]
mod handler;
#[path = "readme/mirror.rs"]
mod mirror;
#[path = "readme/server.rs"]
mod server;
#[path = "readme/socket.rs"]
mod socket;
#[path = "readme/stream.rs"]
mod weather;

const README: &str = include_str!("../README.md");

/// Serves until the drain starts.
async fn serve(realtime: &Realtime, router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let realtime = realtime.clone();
    tokio::spawn(async move { listen::serve(listener, router, 100, &realtime).await });
    address
}

/// Reads an event stream up to its `count`th event: names, ids and data.
async fn events(
    address: SocketAddr,
    after: Option<&str>,
    count: usize,
) -> Vec<(String, Option<String>, Value)> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let after = after.map(|id| format!("last-event-id: {id}\r\n"));
    // Over HTTP/1.0 the body has no chunks. The parser ignores the head, whose lines name no field of an event stream.
    let after = after.unwrap_or_default();
    let head = format!("GET /api/weather/events HTTP/1.0\r\nhost: x\r\n{after}\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let (mut parser, mut events, mut bytes) = (EventParser::default(), vec![], [0; 1_024]);
    while events.len() < count {
        let read = tcp.read(&mut bytes).await.unwrap();
        assert!(read > 0, "the stream goes on");
        parser.feed(&bytes[..read]);
        while let Some(event) = parser.next_event() {
            let data = serde_json::from_str(&event.data).unwrap();
            events.push((event.name, event.id, data));
        }
    }
    events
}

/// The next message of a socket.
async fn next(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Value {
    let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
    let message = message.expect("in time").expect("a message").unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

fn options(drain: &Drain) -> Realtime {
    Realtime::new(RealtimeOptions::default().drain(drain.clone()))
}

#[tokio::test]
async fn the_stream_of_the_readme_resumes_and_survives_a_restart() {
    let drain = Drain::default();
    let realtime = options(&drain);
    let measured = |celsius| weather::WeatherEvent::Measured { celsius };
    let topic = Topic::latest(measured(7.0));
    let app = weather::AppState {
        realtime: realtime.clone(),
        weather: topic.clone(),
    };
    let address = serve(&realtime, weather::routes().with_state(app)).await;
    let first = events(address, None, 2).await;
    assert_eq!(
        (&*first[0].0, &first[0].2["recovered"]),
        ("hello", &Value::Bool(false))
    );
    assert_eq!(
        (&*first[1].0, &first[1].2["celsius"]),
        ("measured", &7.0.into())
    );
    let position = first[1].1.clone();
    // Missed while the client was away, and sent when it resumes.
    topic.set(measured(8.0));
    let resumed = events(address, position.as_deref(), 2).await;
    assert_eq!(resumed[0].2["replayed"], 1);
    assert_eq!(resumed[1].2["celsius"], 8.0);
    // The next process has another history: the client gets the state instead of what it missed.
    drain.start();
    let drain = Drain::default();
    let realtime = options(&drain);
    let app = weather::AppState {
        realtime: realtime.clone(),
        weather: Topic::latest(measured(9.0)),
    };
    let address = serve(&realtime, weather::routes().with_state(app)).await;
    let restarted = events(address, resumed[1].1.as_deref(), 2).await;
    assert_eq!(restarted[0].2["recovered"], false);
    assert_eq!(restarted[1].2["celsius"], 9.0);
    drain.start();
}

/// Opens a socket and reads its welcome.
async fn open(
    address: SocketAddr,
    path: &str,
    protocol: &str,
) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let request = format!("ws://{address}{path}").into_client_request();
    let mut request = request.unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "welcome");
    socket
}

/// Keeps what the owner publishes.
struct Published(mpsc::UnboundedSender<Bytes>);

impl Carrier for Published {
    fn publish(&self, message: Bytes) {
        let _ = self.0.send(message);
    }

    fn subscribe(&self) -> BoxStream<'static, Bytes> {
        stream::pending().boxed()
    }

    fn ask(&self, _question: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(async { None })
    }

    fn questions(&self) -> BoxStream<'static, CarriedQuestion> {
        stream::pending().boxed()
    }
}

#[tokio::test]
async fn the_mirror_of_the_readme_publishes_what_its_owner_does() {
    let (sender, mut published) = mpsc::unbounded_channel();
    let state = mirror::Thermometer { celsius: 7.0 };
    let topic = Topic::new(state, Delivery::EveryEvent, 10);
    let shared = Mirror::new(topic.clone(), Published(sender));
    let publish = async {
        shared.known().await;
        topic.publish(|state| {
            state.celsius = 8.0;
            weather::WeatherEvent::Measured { celsius: 8.0 }
        });
        loop {
            let message = published.recv().await.unwrap();
            if String::from_utf8(message.to_vec()).unwrap().contains("8.0") {
                return;
            }
        }
    };
    tokio::select! {
        () = mirror::run(&shared, Some(1)) => panic!("an owner goes on"),
        () = publish => {}
    }
}

#[tokio::test]
async fn the_socket_of_the_readme_answers() {
    let drain = Drain::default();
    let realtime = options(&drain);
    let address = serve(&realtime, socket::routes().with_state(realtime.clone())).await;
    let mut socket = open(address, "/api/echo/socket", "echo.v1").await;
    let say = r#"{"type":"say","text":"Hi"}"#;
    socket.send(Message::text(say)).await.unwrap();
    let said = next(&mut socket).await;
    assert_eq!(
        (&said["type"], &said["text"]),
        (&"say".into(), &"Hi".into())
    );
    drain.start();
}

#[tokio::test]
async fn the_channel_of_the_readme_resumes_and_stores_a_repeated_message_once() {
    let drain = Drain::default();
    let realtime = options(&drain);
    let routes = channel::routes(MemoryChannels::new(100));
    let address = serve(&realtime, routes.with_state(realtime.clone())).await;
    let mut ada = open(address, "/api/wall/socket", "wall.v1").await;
    let say = |id: u64, text: &str| {
        let id = uuid::Uuid::from_u128(id.into());
        Message::text(format!(
            r#"{{"type":"send","id":"{id}","channel":"lobby","message":"{text}"}}"#
        ))
    };
    let join = Message::text(r#"{"type":"join","channel":"lobby"}"#);
    ada.send(say(1, "early")).await.unwrap();
    assert_eq!(next(&mut ada).await["code"], "not_joined");
    ada.send(join).await.unwrap();
    let joined = next(&mut ada).await;
    assert_eq!(
        (&joined["type"], &joined["head"]),
        (&"joined".into(), &0.into())
    );
    for repeated in [false, true] {
        ada.send(say(1, "one")).await.unwrap();
        if !repeated {
            assert_eq!(next(&mut ada).await["message"]["text"], "one");
        }
        let ack = next(&mut ada).await;
        assert_eq!((&ack["type"], &ack["offset"]), (&"ack".into(), &1.into()));
    }
    let mut bob = open(address, "/api/wall/socket", "wall.v1").await;
    let epoch = joined["epoch"].as_str().unwrap();
    let resume =
        format!(r#"{{"type":"join","channel":"lobby","after":{{"epoch":"{epoch}","offset":0}}}}"#);
    bob.send(Message::text(resume)).await.unwrap();
    let joined = next(&mut bob).await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"]),
        (&true.into(), &1.into())
    );
    assert_eq!(joined["members"].as_array().unwrap().len(), 2);
    assert_eq!(next(&mut bob).await["message"]["text"], "one");
    assert_eq!(next(&mut ada).await["type"], "member_joined");
    drain.start();
}

#[tokio::test]
async fn the_server_of_the_readme_ends_when_it_is_asked_to() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let running = tokio::spawn(server::run("127.0.0.1:0", shutdown));
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), running).await;
    ended.unwrap().unwrap().unwrap();
}

#[test]
fn the_components_of_the_readme_render_on_a_server() {
    let _ = any_spawner::Executor::init_tokio();
    let owner = Owner::new();
    let html = owner.with(|| {
        view! { <weather::Thermometer/> <handler::Measurements/> <socket::Echoes/> <channel::Posts/> }.to_html()
    });
    assert!(
        ["Connecting…", "measurements", "Say hi", "Post"]
            .iter()
            .all(|text| html.contains(text)),
        "{html}"
    );
}

/// The README shows the files that these tests compile and run.
#[test]
fn the_readme_shows_these_examples() {
    for (example, most) in [
        (include_str!("readme/stream.rs"), 40),
        (include_str!("readme/socket.rs"), 60),
        (include_str!("readme/channel.rs"), 60),
        (include_str!("readme/mirror.rs"), 40),
        (include_str!("readme/server.rs"), 30),
        (include_str!("readme/handler.rs"), 30),
        (include_str!("readme/page_test.rs"), 40),
        (include_str!("readme/server_test.rs"), 40),
    ] {
        // An example that needs another one cannot be compiled as a doctest.
        let fences = ["```rust", "```rust,ignore"];
        let shown = |fence: &&str| README.contains(&format!("{fence}\n{example}```"));
        assert!(fences.iter().any(shown), "{example}");
        let lines = example.lines().count();
        assert!(lines <= most, "{lines} of {most} lines");
    }
}
