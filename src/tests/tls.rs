//! Tests the server's own TLS: the scheme, HTTP/2 with streams and sockets, and a certificate that is replaced while the
//! process runs.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::Arc,
};

use axum::{
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    ext::Protocol,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use realtime::event_parser::{EventParser, ParsedEvent};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use wirewise::{progress::result::RaceResult, settings::Settings};

use crate::{
    process::{Process, binary},
    support::{PATIENCE, Server},
};

const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// Writes a new certificate for `localhost`, and its key, as `cert.pem` and `key.pem`.
pub fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A client that trusts these certificates.
#[derive(Clone)]
struct Client {
    addr: SocketAddr,
    trusted: RootCertStore,
}

impl Client {
    fn new(addr: SocketAddr, trusted: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        Self {
            addr,
            trusted: roots,
        }
    }

    async fn connect(&self, protocol: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.trusted.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let tcp = TcpStream::connect(self.addr).await?;
        let connector = TlsConnector::from(Arc::new(config));
        timeout(PATIENCE, connector.connect(name, tcp)).await?
    }

    /// An HTTP/2 connection. The task ends with it, with an error unless it ended in order.
    async fn http_2(&self) -> (Http2, JoinHandle<hyper::Result<()>>) {
        let tls = self.connect(HTTP_2).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(HTTP_2));
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
        let (requests, connection) = handshake.await.unwrap();
        let host = format!("localhost:{}", self.addr.port());
        (Http2 { requests, host }, tokio::spawn(connection))
    }
}

#[derive(Clone)]
struct Http2 {
    requests: SendRequest<Body>,
    host: String,
}

impl Http2 {
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Response<Incoming> {
        let uri = format!("https://{}{path}", self.host);
        let mut request = Request::builder().method(&method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if method == Method::CONNECT {
            request = request.extension(Protocol::from_static("websocket"));
        }
        let request = request.body(Body::from(body)).unwrap();
        timeout(PATIENCE, self.requests.ready())
            .await
            .unwrap()
            .unwrap();
        let answer = timeout(PATIENCE, self.requests.send_request(request));
        answer.await.expect("an answer comes").unwrap()
    }

    async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.send(Method::GET, path, &[], "").await
    }

    async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        form: &'static str,
    ) -> Response<Incoming> {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send(Method::POST, path, &[headers, &[kind]].concat(), form)
            .await
    }

    /// The `Authorization` of a new guest.
    async fn guest(&mut self) -> String {
        let answer = self.post("/api/session/guest", &[], "").await;
        let guest: Value = serde_json::from_slice(&whole(answer).await).unwrap();
        format!("Bearer {}", guest["token"].as_str().unwrap())
    }

    /// Opens a socket by extended CONNECT (RFC 8441).
    async fn socket(&mut self, path: &str, headers: &[(&str, &str)]) -> Socket {
        let version = ("sec-websocket-version", "13");
        let headers = [headers, &[version]].concat();
        let answer = self.send(Method::CONNECT, path, &headers, "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let upgraded = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        Socket(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
    }

    async fn stream(&mut self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let answer = self.send(Method::GET, path, headers, "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        Stream {
            body: answer.into_body(),
            parser: EventParser::default(),
        }
    }
}

async fn whole(answer: Response<Incoming>) -> Vec<u8> {
    let body = timeout(PATIENCE, answer.into_body().collect());
    body.await.unwrap().unwrap().to_bytes().to_vec()
}

struct Socket(WebSocketStream<TokioIo<Upgraded>>);

impl Socket {
    async fn send(&mut self, message: Value) {
        let text = message.to_string();
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        let next = timeout(PATIENCE, self.0.next()).await;
        next.expect("a message comes")
            .expect("before the end")
            .unwrap()
    }

    /// Skips to the next message of this type.
    async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            if let Message::Text(text) = self.next().await {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["type"] == kind {
                    return message;
                }
            }
        }
    }

    /// Skips to the close code.
    async fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(Some(frame)) = self.next().await {
                return frame.code.into();
            }
        }
    }
}

struct Stream {
    body: Incoming,
    parser: EventParser,
}

impl Stream {
    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<ParsedEvent> {
        loop {
            if let Some(event) = self.parser.next_event() {
                return Some(event);
            }
            let frame = timeout(PATIENCE, self.body.frame());
            let frame = frame.await.expect("the stream goes on or ends")?.unwrap();
            if let Some(bytes) = frame.data_ref() {
                self.parser.feed(bytes);
            }
        }
    }
}

/// A server that speaks TLS.
async fn server(change: impl FnOnce(&mut Settings)) -> (Server, Client) {
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_pair(folder.path());
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let server = Server::within(folder, |settings| {
        settings.tls.cert = Some(cert);
        settings.tls.key = Some(key);
        change(settings);
    });
    let server = server.await;
    let client = Client::new(server.addr, certificate);
    (server, client)
}

fn header<'a>(answer: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    answer
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn over_tls_the_scheme_is_https() {
    let (_server, client) = server(|_| {}).await;
    let (mut http, _connection) = client.http_2().await;
    let host = http.host.clone();
    for path in ["/api/session/guest", "/api/theme"] {
        let answer = http.post(path, &[], "theme=dark").await;
        let cookie = header(&answer, "set-cookie").unwrap();
        assert!(cookie.contains("Secure"), "{path}: {cookie}");
    }
    let page = http.get("/").await;
    assert!(header(&page, "set-cookie").unwrap().contains("Secure"));
    let policy = header(&page, "content-security-policy").unwrap();
    assert!(policy.contains(&format!(" wss://{host}")), "{policy}");
    assert!(!policy.contains(" ws://"), "{policy}");
    let html = String::from_utf8(whole(page).await).unwrap();
    assert!(html.contains(&format!("https://{host}/og.png")), "{html}");
    for (scheme, status) in [("https", 200), ("http", 403)] {
        let origin = format!("{scheme}://{host}");
        let headers = [("origin", &*origin)];
        let answer = http.post("/api/session/guest", &headers, "").await;
        assert_eq!(answer.status(), status, "{origin}");
    }
}

#[tokio::test]
async fn strict_transport_security_is_for_https_and_for_those_who_asked_for_it() {
    const NAME: &str = "strict-transport-security";
    for hsts in [true, false] {
        let (_server, client) = server(|settings| settings.tls.hsts = hsts).await;
        let (mut http, _connection) = client.http_2().await;
        for path in ["/", "/healthz", "/api/nothing"] {
            let answer = http.get(path).await;
            let expected = hsts.then_some("max-age=31536000");
            assert_eq!(header(&answer, NAME), expected, "{path}");
        }
    }
    for (trust_proxy, scheme, expected) in [
        (true, "https", true),
        (true, "http", false),
        (false, "https", false),
    ] {
        let server = Server::with(|settings| {
            settings.tls.hsts = true;
            settings.trust_proxy = trust_proxy;
        });
        let server = server.await;
        let request = server.get("/healthz").header("x-forwarded-proto", scheme);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers().contains_key(NAME), expected, "{scheme}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_scheme_also_where_it_connects_over_tls() {
    let (_server, client) = server(|settings| settings.trust_proxy = true).await;
    let (mut http, _connection) = client.http_2().await;
    for (headers, secure) in [
        (&[("x-forwarded-proto", "http")][..], false),
        (&[("x-forwarded-proto", "https")], true),
        (&[], true),
    ] {
        let answer = http.post("/api/session/guest", headers, "").await;
        let cookie = header(&answer, "set-cookie").unwrap();
        assert_eq!(cookie.contains("Secure"), secure, "{headers:?}: {cookie}");
    }
}

#[tokio::test]
async fn over_http_2_twenty_streams_and_a_socket_share_a_connection_and_a_drain_ends_them_all() {
    // Far longer than the test waits: the server ends in time only if it waits for no client.
    let (mut server, client) = server(|settings| settings.drain_ms = 60_000).await;
    let (mut http, connection) = client.http_2().await;
    let authorization = http.guest().await;
    let headers = [
        ("authorization", &*authorization),
        ("sec-websocket-protocol", "wirewise.collab.v1"),
    ];
    let mut socket = http.socket("/api/collab/pointers", &headers).await;
    let you = socket.next_of("welcome").await["you"].clone();
    socket
        .send(json!({"type": "move", "x": 0.25, "y": 0.5}))
        .await;
    let moved = socket.next_of("moved").await;
    assert_eq!(moved["moves"], json!([[you, 0.25, 0.5]]));
    let mut streams = vec![];
    for _ in 0..20 {
        let mut stream = http.stream("/api/ticker/events", &[]).await;
        assert_eq!(stream.next().await.unwrap().name, "hello");
        streams.push(stream);
    }
    server.shut_down();
    for mut stream in streams {
        let mut names = vec![];
        while let Some(event) = stream.next().await {
            names.push(event.name);
        }
        assert_eq!(names.last().unwrap(), "drain");
    }
    let drain = socket.next_of("drain").await;
    assert!((1_000..=5_000).contains(&drain["retry_ms"].as_u64().unwrap()));
    assert_eq!(socket.closed().await, 1012);
    let ended = timeout(PATIENCE, connection).await;
    ended.expect("the connection ends").unwrap().unwrap();
    timeout(PATIENCE, server.ended)
        .await
        .expect("the server ends")
        .unwrap();
}

#[tokio::test]
async fn over_http_2_an_idle_connection_gets_a_goaway_and_does_not_delay_the_shutdown() {
    let (mut server, client) = server(|settings| settings.drain_ms = 60_000).await;
    let tls = client.connect(HTTP_2).await.unwrap();
    // Not hyper's client, which does not say why a connection has ended.
    let (requests, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let request = Request::get("https://localhost/healthz").body(()).unwrap();
    let (answer, _) = requests.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    server.shut_down();
    let ending = async {
        loop {
            match requests.ready().await {
                Ok(ready) => requests = ready,
                Err(error) => break error,
            }
            tokio::task::yield_now().await;
        }
    };
    let error = timeout(PATIENCE, ending).await.expect("it ends");
    assert!(error.is_go_away() && error.is_remote(), "{error}");
    assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR));
    timeout(PATIENCE, server.ended)
        .await
        .expect("the server ends")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_goes_over_the_servers_own_tls() {
    let (_server, client) = server(|_| {}).await;
    let (mut http, _connection) = client.http_2().await;
    let authorization = http.guest().await;
    let headers = [("authorization", &*authorization)];
    let form = "kind=race&messages=100&size=16&rounds=1&mode=burst";
    let started = http.post("/api/jobs/start", &headers, form).await;
    let started: Value = serde_json::from_slice(&whole(started).await).unwrap();
    let path = format!("/api/jobs/{}/events", started["id"].as_str().unwrap());
    let mut stream = http.stream(&path, &headers).await;
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    let end: Value = serde_json::from_str(&last.unwrap().data).unwrap();
    let race: RaceResult = serde_json::from_value(end["result"].clone()).unwrap();
    assert!(race.is_complete(), "{end}");
}

/// A process that speaks TLS with the pair in its folder. Its log is in the file `log`.
struct Running {
    process: Process,
    folder: TempDir,
    client: Client,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = write_pair(folder.path());
        let tls = [
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
            "--log",
            "info",
        ];
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Process::with(folder.path(), &[&tls, flags].concat(), |command| {
            command.stderr(log);
        });
        let client = Client::new(process.addr, certificate);
        Self {
            process,
            folder,
            client,
        }
    }

    fn hang_up(&self) {
        hang_up(&self.process);
    }

    /// Waits until this stands in the log.
    async fn logged(&self, words: &str) {
        logged(self.folder.path(), words).await;
    }
}

fn hang_up(process: &Process) {
    let pid = Pid::from_raw(process.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

async fn logged(folder: &Path, words: &str) {
    let waiting = async {
        while !fs::read_to_string(folder.join("log"))
            .unwrap()
            .contains(words)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("the log says {words:?}"));
}

/// A raw stream over HTTP/1.1, up to its `hello`.
async fn heartbeats(client: &Client) -> TlsStream<TcpStream> {
    let mut tls = client.connect(HTTP_1).await.unwrap();
    let head = "GET /api/ticker/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    tls.write_all(head.as_bytes()).await.unwrap();
    read_event(&mut tls, "hello").await;
    tls
}

/// Reads until an event of this name comes.
async fn read_event(tls: &mut TlsStream<TcpStream>, name: &str) {
    let (mut read, event) = (vec![], format!("event: {name}\n"));
    while !String::from_utf8_lossy(&read).contains(&event) {
        let more = timeout(PATIENCE, tls.read_buf(&mut read));
        assert!(more.await.expect("more comes").unwrap() > 0, "{name}");
    }
}

#[tokio::test]
async fn on_sighup_new_connections_get_the_new_certificate_and_an_open_stream_goes_on() {
    let mut running = Running::start(&["--heartbeat-ms", "100"]);
    let mut stream = heartbeats(&running.client).await;
    let new = write_pair(running.folder.path());
    assert!(
        running.client.connect(HTTP_2).await.is_ok(),
        "not before the signal"
    );
    running.hang_up();
    running
        .logged("new connections get the new certificate")
        .await;
    read_event(&mut stream, "heartbeat").await;
    let old_client = running.client.clone();
    assert!(
        old_client.connect(HTTP_2).await.is_err(),
        "the old certificate is gone"
    );
    running.client = Client::new(running.process.addr, new);
    let (mut http, _connection) = running.client.http_2().await;
    assert_eq!(http.get("/healthz").await.status(), StatusCode::OK);
    read_event(&mut stream, "heartbeat").await;
    drop((stream, http));
    assert!(running.process.terminate().success());
}

#[tokio::test]
async fn a_bad_pair_at_a_reload_is_logged_and_the_old_certificate_stays() {
    let running = Running::start(&[]);
    let other = tempfile::tempdir().unwrap();
    write_pair(other.path());
    let key = running.folder.path().join("key.pem");
    let certificate = running.folder.path().join("cert.pem");
    let good = fs::read(&certificate).unwrap();
    // Each with another sentence, so that none is found in the log of the one before.
    fs::copy(other.path().join("key.pem"), &key).unwrap();
    running.hang_up();
    running
        .logged(
            "the old certificate stays in use, because the private key in key.pem does not belong",
        )
        .await;
    fs::write(&certificate, "").unwrap();
    running.hang_up();
    running
        .logged("because the file cert.pem holds no certificate")
        .await;
    fs::write(&certificate, good).unwrap();
    fs::remove_file(&key).unwrap();
    running.hang_up();
    running
        .logged("because the file key.pem cannot be read")
        .await;
    let (mut http, _connection) = running.client.http_2().await;
    assert_eq!(http.get("/healthz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn without_tls_sighup_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = File::create(folder.path().join("log")).unwrap();
    let server = Process::with(folder.path(), &["--log", "info"], |command| {
        command.stderr(log);
    });
    hang_up(&server);
    logged(folder.path(), "there is no certificate to read again").await;
    assert!(server.terminate().success(), "by SIGTERM, not by SIGHUP");
}

#[tokio::test]
async fn a_restarted_process_speaks_tls_again() {
    let running = Running::start(&["--allow-faults", "--drain-ms", "500"]);
    let (mut http, connection) = running.client.http_2().await;
    let authorization = http.guest().await;
    let headers = [(header::AUTHORIZATION.as_str(), &*authorization)];
    let asked = http.post("/api/faults/server_restart", &headers, "").await;
    assert_eq!(asked.status(), StatusCode::OK);
    // As long as it can send requests, the client does not end the connection itself.
    let _ = timeout(PATIENCE, connection)
        .await
        .expect("the old process ends it");
    drop(http);
    let back = async {
        while running.client.connect(HTTP_2).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, back).await.expect("it is back");
    let (mut http, _connection) = running.client.http_2().await;
    assert_eq!(http.get("/healthz").await.status(), StatusCode::OK);
    assert!(running.process.terminate().success());
}

#[tokio::test]
async fn the_health_command_asks_over_tls_also_while_the_file_holds_a_newer_certificate() {
    let running = Running::start(&[]);
    write_pair(running.folder.path());
    let addr = running.process.addr.to_string();
    let health = |flags: &[&str]| {
        let mut command = Command::new(binary());
        command.current_dir(running.folder.path());
        let output = command
            .args(["health", "--addr", &addr])
            .args(flags)
            .output();
        output.unwrap()
    };
    let over_tls = health(&["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    assert!(over_tls.status.success(), "{over_tls:?}");
    let plain = health(&[]);
    assert!(!plain.status.success());
    let words = String::from_utf8_lossy(&plain.stderr);
    assert!(words.contains("it answers 400"), "{words}");
}
