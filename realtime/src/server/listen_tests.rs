//! Tests of idle and stalled peers, over in-memory pipes with a paused clock; and tests that need real TCP.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Mutex,
    task::{Context, Wake},
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    http::{Method, Request, StatusCode},
    response::Response,
    routing::{any, get},
};
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::TcpSocket,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

use super::{patience::Patience, wire::Transport, *};
use crate::server::Drain;

#[path = "listen/direct_tests.rs"]
mod direct_streams;
#[path = "listen/tls_tests.rs"]
mod over_tls;
#[path = "listen/published_tests.rs"]
mod published;

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const GET_FLOOD: &str = "GET /flood HTTP/1.1\r\nhost: x\r\n\r\n";
/// Far longer than any step over TCP takes; a test that hangs fails after it.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A body that never ends and always has more bytes.
async fn flood() -> Body {
    let piece = || Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4 * 1024]));
    Body::from_stream(stream::repeat_with(piece))
}

/// A body that never yields a byte.
async fn quiet() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
}

async fn slow() -> &'static str {
    sleep(Duration::from_secs(200)).await;
    "at last"
}

/// Sends until the peer stops reading, then resets the connection as for a stuck socket.
async fn socket(
    upgrade: WebSocketUpgrade,
    Extension(handle): Extension<ConnectionHandle>,
) -> Response {
    hold_open(upgrade, handle.clone(), async move |mut socket| {
        let piece = Message::Binary(Bytes::from_static(&[0; 16 * 1024]));
        while let Ok(Ok(())) = timeout(Duration::from_secs(1), socket.send(piece.clone())).await {}
        handle.reset();
    })
}

/// Reads to the end.
async fn listening(
    upgrade: WebSocketUpgrade,
    Extension(handle): Extension<ConnectionHandle>,
) -> Response {
    hold_open(
        upgrade,
        handle,
        async |mut socket| {
            while socket.recv().await.is_some() {}
        },
    )
}

/// Runs a socket. Its connection does not count as idle meanwhile.
fn hold_open<F: Future<Output = ()> + Send + 'static>(
    upgrade: WebSocketUpgrade,
    handle: ConnectionHandle,
    run: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response {
    let active = handle.hold();
    upgrade.on_upgrade(async move |socket| {
        let _active = active;
        run(socket).await;
    })
}

fn app() -> Router {
    Router::new()
        .route("/listening", any(listening))
        .route("/", get(async || "ok"))
        .route("/flood", get(flood))
        .route("/quiet", get(quiet))
        .route("/slow", get(slow))
        .route("/socket", any(socket))
        .merge(direct_streams::routes())
}

fn wire<T: Transport>(transport: T, patience: Patience, drain: &Drain) -> Wire<T> {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    Wire::new(transport, peer, permit, patience, drain.clone())
}

fn serve_over<T: Transport>(transport: T, patience: Patience, drain: &Drain) -> JoinHandle<()> {
    let wire = wire(transport, patience, drain);
    tokio::spawn(connection(wire, app(), patience, drain.clone()))
}

/// A client over a pipe, the task that serves its connection, and the server's drain.
fn client() -> (DuplexStream, JoinHandle<()>, Drain) {
    let (client, server) = duplex(16 * 1024);
    let drain = Drain::default();
    let served = serve_over(server, PATIENCE, &drain);
    (client, served, drain)
}

async fn write(client: &mut (impl AsyncWrite + Unpin), text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

/// Sends a request and reads the whole response.
async fn ask(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    write(client, GET).await;
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\nok") {
        assert!(
            client.read_buf(&mut answer).await.unwrap() > 0,
            "it answers"
        );
    }
}

/// Seconds until the connection ends.
async fn seconds_to_the_end(served: JoinHandle<()>) -> u64 {
    let since = Instant::now();
    timeout(Duration::from_secs(10_000), served)
        .await
        .expect("it ends")
        .unwrap();
    since.elapsed().as_secs()
}

async fn wait(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_longer_than_proxies_keep_it_and_then_ends() {
    let (mut client, served, _drain) = client();
    for _ in 0..3 {
        ask(&mut client).await;
        wait(74).await;
    }
    ask(&mut client).await;
    assert_eq!(seconds_to_the_end(served).await, 75);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_head_ends_the_connection_after_ten_seconds_on_every_request() {
    let (mut silent, served, _drain) = client();
    assert_eq!(
        seconds_to_the_end(served).await,
        10,
        "not even a first byte"
    );
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);

    let (mut first, served, _drain) = client();
    wait(5).await;
    write(&mut first, "GET / HT").await;
    assert_eq!(seconds_to_the_end(served).await, 10, "the first request's");

    let (mut later, served, _drain) = client();
    ask(&mut later).await;
    wait(30).await;
    ask(&mut later).await;
    wait(60).await;
    let trickle = tokio::spawn(async move {
        for byte in GET.bytes().cycle() {
            if later.write_all(&[byte]).await.is_err() {
                return;
            }
            wait(2).await;
        }
    });
    assert_eq!(
        seconds_to_the_end(served).await,
        10,
        "a later one's, however it trickles in"
    );
    trickle.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_in_the_same_read_as_the_request_before_has_ten_seconds_too() {
    for behind in ["G", "GET / HTTP/1.1\r\nhost: x\r\n\r"] {
        for requests in [1, 2] {
            let (mut client, served, _drain) = client();
            write(&mut client, &format!("{}{behind}", GET.repeat(requests))).await;
            assert_eq!(seconds_to_the_end(served).await, 10, "{behind:?}");
        }
    }
    // With nothing behind it, a connection is idle after it.
    let (mut client, served, _drain) = client();
    write(&mut client, &GET.repeat(2)).await;
    assert_eq!(seconds_to_the_end(served).await, 75);
}

#[tokio::test(start_paused = true)]
async fn half_an_http_2_preface_counts_as_an_incomplete_head() {
    for begun in ["P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let (mut client, served, _drain) = client();
        write(&mut client, begun).await;
        assert_eq!(seconds_to_the_end(served).await, 10, "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_running_request_is_not_idle() {
    let (mut client, served, _drain) = client();
    write(&mut client, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = vec![];
    while !answer.ends_with(b"at last") {
        assert!(client.read_buf(&mut answer).await.unwrap() > 0);
    }
    write(&mut client, "GET /quiet HTTP/1.1\r\nhost: x\r\n\r\n").await;
    wait(1_000).await;
    assert!(!served.is_finished(), "a stream with nothing to say");
    drop(client);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_for_a_minute_is_disconnected_and_a_slow_one_is_not() {
    let (mut client, served, _drain) = client();
    write(&mut client, GET_FLOOD).await;
    for _ in 0..5 {
        wait(59).await;
        client.read_exact(&mut [0; 8 * 1024]).await.unwrap();
    }
    assert_eq!(seconds_to_the_end(served).await, 60);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_does_not_delay_a_draining_server() {
    let (mut stalled, served, drain) = client();
    write(&mut stalled, GET_FLOOD).await;
    wait(1).await;
    drain.start();
    assert!(seconds_to_the_end(served).await <= 1);

    // The server does not wait for the rest of an incomplete head either.
    let (mut half, served, drain) = client();
    ask(&mut half).await;
    write(&mut half, "GET /").await;
    wait(1).await;
    drain.start();
    assert!(seconds_to_the_end(served).await <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_had_stopped_reading_has_a_second_from_the_drain_on() {
    let (mut stalled, served, drain) = client();
    write(&mut stalled, GET_FLOOD).await;
    wait(30).await;
    drain.start();
    for _ in 0..3 {
        sleep(Duration::from_millis(900)).await;
        assert!(!served.is_finished());
        stalled.read_exact(&mut [0; 8 * 1024]).await.unwrap();
    }
    assert!(seconds_to_the_end(served).await <= 1);
}

/// An HTTP/2 client whose streams have a flow-control window of 16 KiB.
async fn http_2_client() -> (SendRequest<Body>, JoinHandle<()>, Drain) {
    let (client, served, drain) = client();
    (http_2_over(client).await, served, drain)
}

async fn http_2_over<S>(transport: S) -> SendRequest<Body>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(16 * 1024)
        .handshake(TokioIo::new(transport))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask_http_2(sender: &mut SendRequest<Body>, path: &str) -> Response {
    let request = Request::get(format!("http://x{path}"));
    let request = request.body(Body::empty()).unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.map(Body::new)
}

async fn alive_http_2(sender: &mut SendRequest<Body>) {
    let response = ask_http_2(sender, "/").await;
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test(start_paused = true)]
async fn an_idle_http_2_connection_ends_and_one_with_an_open_stream_does_not() {
    let (mut sender, served, _drain) = http_2_client().await;
    alive_http_2(&mut sender).await;
    wait(74).await;
    let quiet = ask_http_2(&mut sender, "/quiet").await;
    wait(1_000).await;
    assert!(!served.is_finished());
    drop(quiet);
    alive_http_2(&mut sender).await;
    assert!((75..=76).contains(&seconds_to_the_end(served).await));
    assert!(sender.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn over_http_2_an_unread_stream_is_reset_alone() {
    let (mut sender, served, _drain) = http_2_client().await;
    let mut stalled = ask_http_2(&mut sender, "/flood").await.into_body();
    let quiet = ask_http_2(&mut sender, "/quiet").await;
    wait(59).await;
    stalled.frame().await.unwrap().unwrap();
    wait(59).await;
    alive_http_2(&mut sender).await;
    wait(3).await;
    // First the frames that were already sent, then the reset.
    let end = loop {
        match stalled.frame().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("an end that looks like that of a whole answer"),
        }
    };
    assert!(format!("{end:?}").contains("CANCEL"), "{end:?}");
    alive_http_2(&mut sender).await;
    assert!(!served.is_finished());
    drop(quiet);
}

#[tokio::test(start_paused = true)]
async fn over_http_2_an_unread_stream_does_not_delay_a_draining_server() {
    let (mut sender, served, drain) = http_2_client().await;
    let _stalled = ask_http_2(&mut sender, "/flood").await;
    wait(1).await;
    drain.start();
    assert!(seconds_to_the_end(served).await <= 2);
}

#[tokio::test(start_paused = true)]
async fn over_http_2_a_stuck_socket_is_reset_alone_and_an_open_one_keeps_the_connection() {
    let (mut sender, served, _drain) = http_2_client().await;
    alive_http_2(&mut sender).await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://x/socket")
        .header("sec-websocket-version", "13")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .body(Body::empty())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    wait(30).await;
    alive_http_2(&mut sender).await;
    while let Some(Ok(_)) = socket.next().await {}
    alive_http_2(&mut sender).await;
    assert!(!served.is_finished());
}

/// A TCP client with a small receive buffer: otherwise the kernel would receive megabytes for a client that does not
/// read.
async fn tcp_client(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1_024).unwrap();
    socket.connect(addr).await.unwrap()
}

#[tokio::test]
async fn over_tcp_a_peer_that_reads_nothing_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tcp_client(listener.local_addr().unwrap()).await;
    let (tcp, _) = listener.accept().await.unwrap();
    set_options(&tcp).unwrap();
    let patience = Patience {
        stall: Duration::from_millis(100),
        ..PATIENCE
    };
    let served = serve_over(tcp, patience, &Drain::default());
    client.write_all(GET_FLOOD.as_bytes()).await.unwrap();
    timeout(TEST_TIMEOUT, served)
        .await
        .expect("it is given up")
        .unwrap();
    let mut rest = vec![];
    let error = client.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn over_tcp_a_peer_that_leaves_without_reading_is_reset() {
    for path in ["/flood", "/live/flood"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tcp_client(listener.local_addr().unwrap()).await;
        let (tcp, _) = listener.accept().await.unwrap();
        set_options(&tcp).unwrap();
        let drain = Drain::default();
        let wire = wire(tcp, PATIENCE, &drain);
        let activity = wire.connection().clone();
        let served = tokio::spawn(connection(wire, app(), PATIENCE, drain));
        let request = direct_streams::get_line(path);
        client.write_all(request.as_bytes()).await.unwrap();
        let blocked = async {
            while !activity.is_blocked() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(TEST_TIMEOUT, blocked).await.expect("it is blocked");
        client.shutdown().await.unwrap();
        timeout(TEST_TIMEOUT, served)
            .await
            .expect("it ends")
            .unwrap();
        let mut rest = vec![];
        let error = client.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{path}");
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_receives_the_refusal_without_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let realtime = Realtime::default();
    let drain = realtime.drain().clone();
    let serving = tokio::spawn(async move { serve(listener, app(), 0, &realtime).await });
    let mut client = TcpStream::connect(addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    timeout(TEST_TIMEOUT, client.readable())
        .await
        .unwrap()
        .unwrap();
    // A client that sends its whole request before it reads must not get a reset meanwhile.
    let body = vec![b'x'; 1_000_000];
    client.write_all(&body).await.expect("it is read");
    let mut answer = String::new();
    let read = timeout(TEST_TIMEOUT, client.read_to_string(&mut answer))
        .await
        .unwrap();
    read.expect("the answer ends, and is not broken off");
    assert!(
        answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: 5"),
        "{answer}"
    );
    drain.start();
    serving.await.unwrap();
}

#[tokio::test]
async fn refusals_use_a_bounded_number_of_tasks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let realtime = Realtime::default();
    let serving = tokio::spawn(async move { serve(listener, app(), 0, &realtime).await });
    // Silent clients, so that each refusal waits for a request.
    let mut silent = vec![];
    for _ in 0..2 * REFUSALS {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    let closed = Mutex::new(0);
    let reading = silent.iter_mut().map(async |client| {
        let mut answer = vec![];
        let _ = timeout(TEST_TIMEOUT, client.read_to_end(&mut answer))
            .await
            .unwrap();
        *closed.lock().unwrap() += usize::from(answer.is_empty());
    });
    futures::future::join_all(reading).await;
    let closed = closed.into_inner().unwrap();
    assert!(
        closed >= REFUSALS / 2,
        "{closed} were closed without a word"
    );
    serving.abort();
}

/// As after a restart, when the clients of the old process all come back at once.
#[tokio::test]
async fn hundreds_of_connections_wait_in_line_until_they_are_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let realtime = Realtime::default();
    let serving = tokio::spawn(async move { serve(listener, app(), 1, &realtime).await });
    // The loop runs until it waits for a connection.
    tokio::task::yield_now().await;
    // The only thread of this runtime is here, so nothing is accepted. Where the line is full, the kernel drops the request
    // for a connection, and connecting fails at the timeout.
    let mut waiting = vec![];
    for _ in 0..400 {
        waiting.push(std::net::TcpStream::connect_timeout(&addr, TEST_TIMEOUT).unwrap());
    }
    serving.abort();
}

/// A task whose wakers can be counted.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn an_open_socket_does_not_keep_the_memory_of_the_task_that_served_its_handshake() {
    let (mut client, server) = duplex(16 * 1024);
    let drain = Drain::default();
    let wire = wire(server, PATIENCE, &drain);
    let mut serving = Box::pin(connection(wire, app(), PATIENCE, drain));
    let task = Arc::new(Task);
    let waker = task.clone().into();
    let mut context = Context::from_waker(&waker);
    assert!(serving.as_mut().poll(&mut context).is_pending());
    write(
        &mut client,
        "GET /listening HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    while serving.as_mut().poll(&mut context).is_pending() {
        wait(1).await;
    }
    drop((serving, waker));
    // The task of the socket reads, and its waker takes the place of the other.
    wait(1).await;
    assert_eq!(Arc::strong_count(&task), 1, "nothing keeps a waker");
    client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut answer = vec![];
    while !answer.ends_with(b"\x8a\0") {
        let read = client.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "a ping is answered: the socket is open");
    }
}
