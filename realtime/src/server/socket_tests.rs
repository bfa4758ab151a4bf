//! Tests of a socket without a network, over a pair of channels and with a paused clock.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::ws::Message;
use futures::{SinkExt, StreamExt, channel::mpsc, stream::BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::server::{Drain, RealtimeOptions};

#[derive(Clone, Debug, PartialEq)]
struct Echo;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
enum EchoCommand {
    Say {
        id: String,
        text: String,
    },
    /// Queues this many kilobytes.
    Flood {
        kilobytes: usize,
    },
    /// Keeps the handler busy for this many seconds.
    Work {
        seconds: u64,
    },
}

impl SocketContract for Echo {
    const NAME: &'static str = "echo";
    const ROUTE: &'static str = "/echo";
    const SUBPROTOCOL: &'static str = "echo.v1";
    const ECHOED: &'static [&'static str] = &["voice"];
    type Welcome = ();
    type Command = EchoCommand;
    type Event = EchoCommand;
}

struct Handler {
    queue: OutQueue,
    admitted: u32,
}

impl SocketHandler for Handler {
    type Contract = Echo;

    async fn command(&mut self, command: EchoCommand) -> Result<(), SocketError> {
        self.admit()?;
        match &command {
            EchoCommand::Say { .. } => self.queue.push_json(&command),
            EchoCommand::Flood { kilobytes } => {
                for _ in 0..*kilobytes {
                    self.queue.push(Message::Text("x".repeat(1_024).into()));
                }
            }
            EchoCommand::Work { seconds } => sleep(Duration::from_secs(*seconds)).await,
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.admitted = self
            .admitted
            .checked_sub(1)
            .ok_or(SocketError::new(ErrorCode::RateLimited, "slowly"))?;
        Ok(())
    }
}

#[derive(Debug)]
struct Broken(CloseCode);

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl ReadError for Broken {
    fn close_code(&self) -> Option<CloseCode> {
        Some(self.0)
    }
}

/// The server's end of the socket.
struct Pipe {
    inbound: BoxStream<'static, Result<Message, Broken>>,
    outbound: mpsc::Sender<Message>,
}

impl Stream for Pipe {
    type Item = Result<Message, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inbound.poll_next_unpin(context)
    }
}

impl Sink<Message> for Pipe {
    type Error = Broken;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.outbound
            .poll_ready(context)
            .map_err(|_| Broken(CloseCode::Done))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Broken> {
        self.outbound
            .start_send(message)
            .map_err(|_| Broken(CloseCode::Done))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.outbound
            .poll_flush_unpin(context)
            .map_err(|_| Broken(CloseCode::Done))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.outbound
            .poll_close_unpin(context)
            .map_err(|_| Broken(CloseCode::Done))
    }
}

/// The peer's end of the socket, and the task that runs the server's end.
struct Peer {
    to_server: mpsc::UnboundedSender<Result<Message, Broken>>,
    from_server: mpsc::Receiver<Message>,
    drain: Drain,
    sign_out: tokio::sync::oneshot::Sender<&'static str>,
    /// The out-queue of the socket, as another part of an application may hold it.
    queue: OutQueue,
    connection: Connection,
    ended: tokio::task::JoinHandle<Ended>,
}

impl Peer {
    fn connect() -> Self {
        Self::connect_after(futures::stream::empty())
    }

    /// The server receives `first`, then what the test sends.
    fn connect_after(first: impl Stream<Item = Result<Message, Broken>> + Send + 'static) -> Self {
        let (to_server, inbound) = mpsc::unbounded();
        let inbound = first.chain(inbound).boxed();
        // One message fits: a peer that does not read blocks the writer.
        let (outbound, from_server) = mpsc::channel(0);
        let (sign_out, signed_out) = tokio::sync::oneshot::channel();
        let drain = Drain::default();
        let realtime = Realtime::new(RealtimeOptions::default().drain(drain.clone()));
        let queue = OutQueue::default();
        let held = queue.clone();
        let connection = Connection::unknown();
        let of_socket = connection.clone();
        let ended = tokio::spawn(async move {
            let mut handler = Handler {
                queue: queue.clone(),
                admitted: 20,
            };
            let session_ended =
                async move { signed_out.await.unwrap_or_else(|_| std::process::abort()) };
            run(
                Pipe { inbound, outbound }.split(),
                queue,
                &mut handler,
                &realtime,
                &of_socket,
                &Counted::new(Arc::default(), "websocket", "echo"),
                Box::pin(session_ended),
            )
            .await
        });
        Self {
            to_server,
            from_server,
            drain,
            sign_out,
            queue: held,
            connection,
            ended,
        }
    }

    fn send(&self, text: impl Into<String>) {
        self.to_server
            .unbounded_send(Ok(Message::Text(text.into().into())))
            .unwrap();
    }

    async fn next(&mut self) -> Message {
        self.from_server
            .next()
            .await
            .expect("the server has sent something")
    }

    async fn next_json(&mut self) -> serde_json::Value {
        serde_json::from_str(self.next().await.to_text().unwrap()).unwrap()
    }

    async fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(Some(frame)) = self.next().await {
                return frame.code;
            }
        }
    }
}

fn say(text: &str) -> String {
    serde_json::to_string(&EchoCommand::Say {
        id: "7".into(),
        text: text.into(),
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn commands_are_answered_in_order_and_pings_with_their_own_time() {
    let mut peer = Peer::connect();
    peer.send(say("one"));
    peer.send(r#"{"type":"ping","at":12.5}"#);
    peer.send(say("two"));
    assert_eq!(peer.next_json().await["text"], "one");
    let pong = peer.next_json().await;
    assert_eq!((&pong["type"], &pong["at"]), (&"pong".into(), &12.5.into()));
    assert_eq!(peer.next_json().await["text"], "two");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_socket_sends_nothing_more_not_even_its_close() {
    let mut peer = Peer::connect();
    peer.send(say("one"));
    assert_eq!(peer.next_json().await["text"], "one");
    peer.connection.stall();
    peer.send(say("two"));
    sleep(Duration::from_secs(1)).await;
    assert!(!peer.ended.is_finished(), "it stays open");
    peer.queue.close(CloseCode::Done, "the end");
    assert_eq!(peer.ended.await.unwrap(), Ended::Stuck);
    assert_eq!(peer.from_server.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_message_is_answered_with_an_error_and_the_socket_stays_open() {
    let mut peer = Peer::connect();
    for (text, code) in [
        ("", "malformed"),
        ("{", "malformed"),
        ("[]", "malformed"),
        ("\"say\"", "malformed"),
        ("{}", "malformed"),
        (r#"{"type":7}"#, "malformed"),
        (r#"{"type":"shout","id":"7"}"#, "unknown_type"),
        (r#"{"type":"say","id":"7"}"#, "invalid_field"),
        (r#"{"type":"say","id":7,"text":"x"}"#, "invalid_field"),
        (r#"{"type":"ping"}"#, "invalid_field"),
        (r#"{"type":"ping","at":"now"}"#, "invalid_field"),
    ] {
        peer.send(text);
        let error = peer.next_json().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&"error".into(), &code.into()),
            "{text}: {error}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| message.len() > 10),
            "{error}"
        );
    }
    peer.send(r#"{"type":"shout","id":"7"}"#);
    assert_eq!(
        peer.next_json().await["re"],
        "7",
        "the refusal names the command"
    );
    for (command, voice) in [
        (r#"{"type":"say","voice":"low","mood":"x"}"#, json!("low")),
        (r#"{"type":"shout","voice":7}"#, Value::Null),
    ] {
        peer.send(command);
        let error = peer.next_json().await;
        assert_eq!((&error["voice"], &error["mood"]), (&voice, &Value::Null));
    }
    peer.to_server
        .unbounded_send(Ok(Message::Binary(vec![1, 2, 3].into())))
        .unwrap();
    assert_eq!(peer.next_json().await["code"], "malformed");
    peer.send(r#"{"type":"say","id":"7","text":"x","unknown":"field"}"#);
    assert_eq!(
        peer.next_json().await["text"],
        "x",
        "unknown fields are ignored"
    );
}

#[tokio::test(start_paused = true)]
async fn a_text_of_64_kib_is_taken_and_one_byte_more_is_1009() {
    let mut peer = Peer::connect();
    let frame = say("").len();
    peer.send(say(&"x".repeat(TEXT_BYTES - frame)));
    assert_eq!(peer.next_json().await["type"], "say");
    peer.send(say(&"x".repeat(TEXT_BYTES - frame + 1)));
    assert_eq!(peer.close_code().await, 1009);
}

#[tokio::test(start_paused = true)]
async fn unreadable_input_is_answered_with_its_close_code() {
    for code in [
        CloseCode::TooBig,
        CloseCode::InvalidUtf8,
        CloseCode::ProtocolError,
    ] {
        let mut peer = Peer::connect();
        peer.to_server.unbounded_send(Err(Broken(code))).unwrap();
        assert_eq!(peer.close_code().await, code.code());
        assert_eq!(peer.ended.await.unwrap(), Ended::Cleanly);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_closed_after_a_minute() {
    let mut peer = Peer::connect();
    let start = Instant::now();
    assert!(matches!(peer.next().await, Message::Ping(_)));
    assert_eq!(start.elapsed().as_secs(), 25);
    assert_eq!(peer.close_code().await, 4102);
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn any_inbound_frame_counts_as_alive() {
    let mut peer = Peer::connect();
    let start = Instant::now();
    let to_server = peer.to_server.clone();
    tokio::spawn(async move {
        for _ in 0..4 {
            sleep(Duration::from_secs(50)).await;
            to_server
                .unbounded_send(Ok(Message::Pong(Bytes::new())))
                .unwrap();
        }
    });
    assert_eq!(peer.close_code().await, 4102);
    assert_eq!(start.elapsed().as_secs(), 4 * 50 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_handlers_time_is_not_the_clients_idle_time() {
    let mut peer = Peer::connect();
    let start = Instant::now();
    peer.send(r#"{"type":"work","seconds":90}"#);
    assert_eq!(peer.close_code().await, 4102);
    assert_eq!(start.elapsed().as_secs(), 90 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_arrives_with_the_idle_timer_counts_as_received() {
    // It happens when a stopped process resumes. `select!` polls its branches in random order, so twenty peers cover
    // both orders.
    let late = async || {
        sleep(Duration::from_secs(60)).await;
        Ok(Message::Text(say("in time").into()))
    };
    let mut peers: Vec<Peer> = (0..20)
        .map(|_| Peer::connect_after(futures::stream::once(late())))
        .collect();
    for peer in &mut peers {
        let answer = loop {
            match peer.next().await {
                Message::Ping(_) => {}
                other => break other,
            }
        };
        assert!(matches!(answer, Message::Text(_)), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_never_reads_is_stuck_after_a_minute() {
    let peer = Peer::connect();
    let to_server = peer.to_server.clone();
    peer.send(r#"{"type":"flood","kilobytes":10}"#);
    let sending = tokio::spawn(async move {
        while to_server
            .unbounded_send(Ok(Message::Pong(Bytes::new())))
            .is_ok()
        {
            sleep(Duration::from_secs(20)).await;
        }
    });
    let start = Instant::now();
    assert_eq!(peer.ended.await.unwrap(), Ended::Stuck);
    assert_eq!(
        start.elapsed().as_secs(),
        60 + 10,
        "and a second for each KiB"
    );
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_the_reconnect_delay_and_closes_with_1012() {
    let mut peer = Peer::connect();
    peer.send(say("before"));
    assert_eq!(peer.next_json().await["text"], "before");
    peer.drain.start();
    let drain = peer.next_json().await;
    assert_eq!(drain["type"], "drain");
    assert!((1_000..=5_000).contains(&drain["retry_ms"].as_u64().unwrap()));
    assert_eq!(peer.close_code().await, 1012);
    let start = Instant::now();
    assert_eq!(peer.ended.await.unwrap(), Ended::Cleanly);
    assert_eq!(
        start.elapsed(),
        LINGER,
        "it waits for the peer's close, but not for ever"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_closes_with_4001_and_its_reason() {
    let mut peer = Peer::connect();
    peer.sign_out.send("signed_out").unwrap();
    loop {
        if let Message::Close(Some(frame)) = peer.from_server.next().await.unwrap() {
            assert_eq!((frame.code, frame.reason.as_str()), (4001, "signed_out"));
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_too_slow_and_then_stuck() {
    let peer = Peer::connect();
    let start = Instant::now();
    peer.send(r#"{"type":"flood","kilobytes":2000}"#);
    assert_eq!(peer.ended.await.unwrap(), Ended::Stuck);
    assert_eq!(start.elapsed(), CLOSE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_again_sees_why_it_was_closed() {
    let mut peer = Peer::connect();
    peer.send(r#"{"type":"flood","kilobytes":2000}"#);
    sleep(CLOSE_TIMEOUT / 2).await;
    assert_eq!(peer.close_code().await, 4100);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ignores_the_rate_limit_is_closed_with_4101() {
    let mut peer = Peer::connect();
    for _ in 0..20 {
        peer.send(say("x"));
        assert_eq!(peer.next_json().await["type"], "say");
    }
    for _ in 0..REFUSALS {
        peer.send(say("x"));
        assert_eq!(peer.next_json().await["code"], "rate_limited");
    }
    peer.send("garbage counts too");
    assert_eq!(peer.close_code().await, 4101);
}

#[tokio::test(start_paused = true)]
async fn a_few_pings_are_always_answered_and_a_flood_counts_towards_the_rate_limit() {
    const PING: &str = r#"{"type":"ping","at":1}"#;
    let mut peer = Peer::connect();
    for _ in 0..20 {
        peer.send(say("x"));
        assert_eq!(peer.next_json().await["type"], "say");
    }
    for _ in 0..3 {
        for _ in 0..FREE_PINGS {
            peer.send(PING);
            assert_eq!(peer.next_json().await["type"], "pong");
        }
        peer.send(PING);
        assert_eq!(peer.next_json().await["code"], "rate_limited");
        sleep(Duration::from_millis(1_001)).await;
    }
    for _ in 0..FREE_PINGS + REFUSALS {
        peer.send(PING);
    }
    assert_eq!(peer.close_code().await, 4101);
}

#[tokio::test(start_paused = true)]
async fn a_close_from_the_peer_ends_the_socket_at_once() {
    let peer = Peer::connect();
    let start = Instant::now();
    peer.to_server
        .unbounded_send(Ok(Message::Close(None)))
        .unwrap();
    drop(peer.to_server);
    assert_eq!(peer.ended.await.unwrap(), Ended::Cleanly);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(
        peer.queue.is_closing(),
        "nothing collects in the queue any more"
    );
}
