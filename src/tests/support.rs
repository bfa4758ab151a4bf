//! Gives each test a server of its own and plain clients: an SSE reader written from the standard, and tungstenite
//! sockets.

use std::{net::SocketAddr, ops::Deref, sync::Mutex, time::Duration};

use futures::{SinkExt, StreamExt};
use realtime::server::now_ms;
use reqwest::{
    Client, RequestBuilder, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use wirewise::{
    server::{self, AppState},
    settings::Settings,
    ticker::server::feeds::{News, market::Market},
};

use crate::nats_server::free_port;

/// A test that waits in vain ends after this time; nothing in these tests takes as long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An address on which nothing listens, and nothing will unless the test makes it.
pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// What a test needs to talk to a server, in this process or another.
pub struct Remote {
    pub addr: SocketAddr,
    pub http: Client,
}

/// A running server. It ends when dropped.
pub struct Server {
    remote: Remote,
    metrics_addr: SocketAddr,
    pub state: AppState,
    shutdown: Option<oneshot::Sender<()>>,
    pub ended: JoinHandle<server::ShutdownReason>,
    pub folder: TempDir,
    /// The market moves only when a test moves it; each step is one millisecond later.
    market: Mutex<(Market, u64)>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a server whose prices stand still unless a test moves them. Everything else is as by default, except for
    /// the changes of the test.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::within(tempfile::tempdir().unwrap(), change).await
    }

    /// Like [`Server::with`], on a folder that another server may have used.
    pub async fn within(folder: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        Self::prepared(folder, change, |_| {}).await
    }

    /// Like [`Server::within`], with a state that the test changes before the first connection.
    pub async fn prepared(
        folder: TempDir,
        change: impl FnOnce(&mut Settings),
        prepare: impl FnOnce(&mut AppState),
    ) -> Self {
        std::fs::create_dir_all(folder.path().join("site/pkg")).unwrap();
        let mut settings = Settings::defaults();
        settings.site_root = folder.path().join("site");
        settings.data_dir = folder.path().join("data");
        settings.ticker.feed = "simulated:1".parse().unwrap();
        settings.ticker.tick_ms = 86_400_000;
        settings.limits.max_connections_per_ip = 0;
        settings.limits.requests_per_second = 1_000_000;
        change(&mut settings);
        let mut state = AppState::open(settings).await.unwrap();
        prepare(&mut state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let metrics_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics_addr = metrics_listener.local_addr().unwrap();
        let (shutdown, requested) = oneshot::channel::<()>();
        let requested = async move {
            let _ = requested.await;
        };
        let running = server::run(listener, Some(metrics_listener), state.clone(), requested);
        let ended = tokio::spawn(running);
        Self {
            remote: Remote::new(addr),
            metrics_addr,
            state,
            shutdown: Some(shutdown),
            ended,
            folder,
            market: Mutex::new((Market::new(1), now_ms())),
        }
    }

    /// Moves the market so many steps and publishes what changed.
    pub fn step(&self, times: u64) {
        let mut market = self.market.lock().unwrap();
        let (market, now) = &mut *market;
        for _ in 0..times {
            *now += 1;
            self.state
                .features
                .ticker
                .publish(News::Prices(market.step(*now)));
        }
    }

    /// The listener of the metrics.
    pub fn metrics_listener(&self) -> Remote {
        Remote::new(self.metrics_addr)
    }

    /// Asks the server to shut down.
    pub fn shut_down(&mut self) {
        let _ = self.shutdown.take().unwrap().send(());
    }

    /// Shuts down as on SIGTERM and starts again on the same folder, with all settings as by default.
    pub async fn restart(mut self) -> Self {
        self.shut_down();
        timeout(PATIENCE, self.ended).await.unwrap().unwrap();
        Self::within(self.folder, |_| {}).await
    }
}

impl Deref for Server {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.remote
    }
}

impl Remote {
    pub fn new(addr: SocketAddr) -> Self {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = http.build().unwrap();
        Self { addr, http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let pairs: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        let request = self
            .http
            .post(self.url(path))
            .header("content-type", "application/x-www-form-urlencoded");
        request.body(pairs.join("&"))
    }

    /// The answer of a GET request that must succeed, as JSON.
    pub async fn json(&self, path: &str, guest: Option<&Guest>) -> Value {
        let mut request = self.get(path);
        if let Some(guest) = guest {
            request = request.header("authorization", guest.bearer());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// The answer of a GET request that must succeed, as text.
    pub async fn text(&self, path: &str) -> String {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// Starts a job that must be accepted. Returns its id.
    pub async fn start_job(&self, guest: &Guest, form: &[(&str, &str)]) -> String {
        let request = self.post("/api/jobs/start", form);
        let request = request.header("authorization", guest.bearer());
        started(request.send().await.unwrap()).await
    }

    /// A new guest.
    pub async fn guest(&self) -> Guest {
        let answer: Value = self
            .post("/api/session/guest", &[])
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Guest {
            id: text(&answer["user"]["id"]),
            token: text(&answer["token"]),
        }
    }

    /// Opens an event stream, which must be accepted.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let mut request = self.get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Events {
            response,
            buffer: Vec::new(),
            head: None,
        }
    }

    /// Opens a socket; the upgrade must be accepted.
    pub async fn socket(&self, path: &str, headers: &[(&str, &str)]) -> Socket {
        let tcp = TcpStream::connect(self.addr).await.unwrap();
        self.socket_over(tcp, path, headers).await
    }

    /// Opens a socket over a TCP connection of the caller's.
    pub async fn socket_over(
        &self,
        tcp: TcpStream,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Socket {
        let mut request = format!("ws://{}{path}", self.addr)
            .into_client_request()
            .unwrap();
        request.headers_mut().extend(
            headers
                .iter()
                .map(|(name, value)| {
                    (
                        HeaderName::try_from(*name).unwrap(),
                        HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                    )
                })
                .collect::<HeaderMap>(),
        );
        let upgraded = client_async(request, MaybeTlsStream::Plain(tcp)).await;
        Socket(upgraded.unwrap().0)
    }

    /// Opens the chat's socket and reads its `welcome`.
    pub async fn chat(&self, guest: &Guest) -> Socket {
        let tcp = TcpStream::connect(self.addr).await.unwrap();
        self.chat_over(tcp, guest).await
    }

    /// Opens the chat's socket over a TCP connection of the caller's and reads its `welcome`.
    pub async fn chat_over(&self, tcp: TcpStream, guest: &Guest) -> Socket {
        let headers = [("authorization", &*guest.bearer())];
        let mut socket = self.socket_over(tcp, "/api/chat/socket", &headers).await;
        assert_eq!(socket.next_json().await["type"], "welcome");
        socket
    }
}

/// A connection with a small receive buffer. With the default one the kernel would receive megabytes for a client that
/// does not read.
pub async fn small_socket(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1_024).unwrap();
    socket.connect(addr).await.unwrap()
}

pub struct Guest {
    pub id: String,
    pub token: String,
}

impl Guest {
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub fn cookie(&self) -> String {
        format!("wirewise_session={}", self.token)
    }
}

/// An event as a browser would dispatch it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

impl Event {
    pub fn offset(&self) -> u64 {
        self.id
            .as_ref()
            .unwrap()
            .split_once('-')
            .unwrap()
            .1
            .parse()
            .unwrap()
    }
}

pub struct Events {
    pub response: Response,
    pub buffer: Vec<u8>,
    /// The text before the first event: comments and `retry`.
    pub head: Option<String>,
}

impl Events {
    /// The next event, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let block = String::from_utf8(block).unwrap();
                self.head.get_or_insert_with(|| {
                    let unnamed = |line: &&str| line.starts_with([':', 'r']);
                    block.split_inclusive('\n').take_while(unnamed).collect()
                });
                if let Some(event) = parse(&block) {
                    return Some(event);
                }
            }
            let chunk = timeout(PATIENCE, self.response.chunk())
                .await
                .expect("the stream goes on or ends");
            self.buffer.extend_from_slice(&chunk.ok()??);
        }
    }

    pub async fn expect(&mut self, name: &str) -> Event {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// All events up to the end of the stream.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = vec![];
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// Parses one block between blank lines; `None` if it dispatches nothing (comments, `retry`).
pub fn parse(block: &str) -> Option<Event> {
    let fields = |name: &str| {
        let lines = block.lines();
        let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.collect::<Vec<_>>()
    };
    let field = |name: &str| fields(name).first().copied();
    field("data")?;
    let data = serde_json::from_str(&fields("data").join("\n")).unwrap();
    Some(Event {
        id: field("id").map(str::to_owned),
        name: field("event").unwrap_or("message").into(),
        data,
    })
}

pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn send(&mut self, message: &Value) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.0
            .send(Message::Text(text.into().into()))
            .await
            .unwrap();
    }

    /// The next text message.
    pub async fn next_json(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next())
                .await
                .expect("a message comes")
                .expect("the socket is open")
                .unwrap()
            {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }

    /// Skips to the next message of this type.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next_json().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Skips to the close: code and reason.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match timeout(PATIENCE, self.0.next())
                .await
                .expect("the socket closes")
            {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    }
}

/// The id of a job that was accepted.
pub async fn started(response: Response) -> String {
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
