//! Tests of TLS: what is negotiated, that the limits of a connection are those without TLS, and the certificate's files.

use std::{fs, path::Path};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tempfile::TempDir;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::{
    direct_streams::{LAST_CHUNK, get_line, read_until},
    *,
};

/// A server's certificate and key in files, and the certificates that its clients trust.
pub struct Files {
    folder: TempDir,
    trusted: RootCertStore,
}

impl Files {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Self {
            folder,
            trusted: RootCertStore::empty(),
        };
        files.renew();
        files
    }

    /// Writes a new pair over the old one. Clients trust all certificates so far.
    fn renew(&mut self) -> CertificateDer<'static> {
        let made = self_signed();
        self.write("certificate", made.cert.pem());
        self.write("key", made.signing_key.serialize_pem());
        self.trusted.add(made.cert.der().clone()).unwrap();
        made.cert.der().clone()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    pub fn open(&self) -> Tls {
        let file = |name| self.folder.path().join(name);
        Tls::open(&file("certificate"), &file("key")).unwrap()
    }

    /// A client that offers these protocols.
    pub async fn connect<S>(&self, transport: S, protocols: &[&str]) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.trusted.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, transport)
            .await
    }
}

fn self_signed() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// A pipe to a server that speaks TLS, the task that serves its connection, and the server's drain.
fn pipe(tls: Tls) -> (DuplexStream, JoinHandle<()>, Drain) {
    let (client, server) = duplex(16 * 1024);
    let drain = Drain::default();
    let wire = wire(server, PATIENCE, &drain);
    let served = tls_connection(wire, tls, app(), PATIENCE, drain.clone());
    (client, tokio::spawn(served), drain)
}

/// A client over a pipe that has made its handshake.
async fn tls_client(protocol: &str) -> (TlsStream<DuplexStream>, JoinHandle<()>, Drain) {
    let files = Files::new();
    let (pipe, served, drain) = pipe(files.open());
    let client = files.connect(pipe, &[protocol]).await.unwrap();
    (client, served, drain)
}

#[tokio::test]
async fn http_2_is_preferred_and_http_1_is_there_for_clients_that_offer_nothing_else() {
    let files = Files::new();
    for (offered, negotiated) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let (pipe, _served, _drain) = pipe(files.open());
        let client = files.connect(pipe, offered).await.unwrap();
        let protocol = client.get_ref().1.alpn_protocol();
        assert_eq!(protocol, negotiated.map(str::as_bytes), "{offered:?}");
    }
    let (pipe, _served, _drain) = pipe(files.open());
    let error = files.connect(pipe, &["spdy/3"]).await.unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_not_complete_ends_the_connection_after_ten_seconds() {
    let files = Files::new();
    let (mut silent, served, _drain) = pipe(files.open());
    assert_eq!(seconds_to_the_end(served).await, 10);
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);

    let (mut slow, served, _drain) = pipe(files.open());
    let trickle = tokio::spawn(async move {
        // The head of a record (RFC 8446, section 5.1) of 512 bytes, which never comes to its end.
        for byte in [22, 3, 1, 2, 0].into_iter().chain([1; 512]) {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            wait(2).await;
        }
    });
    assert_eq!(
        seconds_to_the_end(served).await,
        10,
        "however it trickles in"
    );
    trickle.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_does_not_delay_a_draining_server() {
    let (_silent, served, drain) = pipe(Files::new().open());
    wait(1).await;
    drain.start();
    assert_eq!(seconds_to_the_end(served).await, 0);
}

#[tokio::test(start_paused = true)]
async fn over_tls_the_limits_of_an_idle_connection_and_of_a_head_are_the_same() {
    let (_silent, served, _drain) = tls_client("http/1.1").await;
    assert_eq!(seconds_to_the_end(served).await, 10, "no first byte");

    let (mut idle, served, _drain) = tls_client("http/1.1").await;
    ask(&mut idle).await;
    wait(74).await;
    ask(&mut idle).await;
    assert_eq!(seconds_to_the_end(served).await, 75);

    let (mut half, served, _drain) = tls_client("http/1.1").await;
    ask(&mut half).await;
    wait(30).await;
    write(&mut half, "GET / HT").await;
    assert_eq!(seconds_to_the_end(served).await, 10);
}

#[tokio::test(start_paused = true)]
async fn over_tls_a_peer_that_reads_nothing_for_a_minute_is_disconnected_and_a_slow_one_is_not() {
    let (mut client, served, _drain) = tls_client("http/1.1").await;
    write(&mut client, GET_FLOOD).await;
    for _ in 0..5 {
        wait(59).await;
        client.read_exact(&mut [0; 16 * 1024]).await.unwrap();
    }
    assert_eq!(seconds_to_the_end(served).await, 60);
}

#[tokio::test]
async fn over_tls_a_live_stream_comes_in_chunks_and_another_request_may_follow() {
    let (mut client, _served, _drain) = tls_client("http/1.1").await;
    for _ in 0..2 {
        write(&mut client, &get_line("/live")).await;
        let answer = read_until(&mut client, LAST_CHUNK).await;
        assert!(answer.ends_with("\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"));
        ask(&mut client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn over_tls_few_bytes_wait_for_a_peer_that_reads_nothing() {
    let files = Files::new();
    let (client, server) = duplex(16 * 1024);
    let (tls, connecting) = (files.open(), files.connect(client, &[]));
    let (served, client) = tokio::join!(tls.accept(server), connecting);
    let (mut served, _client) = (served.unwrap(), client.unwrap());
    let (piece, mut taken) = ([b'x'; 1_024], 0);
    while let Ok(written) = timeout(Duration::from_secs(1), served.write(&piece)).await {
        taken += written.unwrap();
    }
    // As many in the pipe as in the buffer of TLS; a record more is begun.
    assert!((16 * 1024..40 * 1024).contains(&taken), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn over_tls_an_idle_http_2_connection_ends_and_one_with_an_open_stream_does_not() {
    let (client, served, _drain) = tls_client("h2").await;
    let mut sender = http_2_over(client).await;
    alive_http_2(&mut sender).await;
    let quiet = ask_http_2(&mut sender, "/quiet").await;
    wait(1_000).await;
    assert!(!served.is_finished());
    drop(quiet);
    alive_http_2(&mut sender).await;
    assert!((75..=76).contains(&seconds_to_the_end(served).await));
    assert!(sender.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn over_tls_an_unread_stream_is_reset_alone_and_does_not_delay_a_draining_server() {
    let (client, served, drain) = tls_client("h2").await;
    let mut sender = http_2_over(client).await;
    let _stalled = ask_http_2(&mut sender, "/flood").await;
    wait(61).await;
    alive_http_2(&mut sender).await;
    let _stalled = ask_http_2(&mut sender, "/flood").await;
    wait(1).await;
    drain.start();
    assert!(seconds_to_the_end(served).await <= 2);
}

/// Serves over TLS on a port, with this limit of connections.
async fn serve_port(files: &Files, max_connections: usize) -> (SocketAddr, Drain) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (realtime, tls) = (Realtime::default(), files.open());
    let drain = realtime.drain().clone();
    tokio::spawn(async move { serve_tls(listener, tls, app(), max_connections, &realtime).await });
    (addr, drain)
}

/// Everything that a client reads.
async fn read(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = String::new();
    let reading = timeout(TEST_TIMEOUT, client.read_to_string(&mut answer));
    reading.await.expect("it ends").expect("without a reset");
    answer
}

#[tokio::test]
async fn http_without_tls_is_answered_with_a_sentence() {
    let (addr, drain) = serve_port(&Files::new(), 10).await;
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(GET.as_bytes()).await.unwrap();
    let answer = read(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.ends_with("begin the address with https:// instead of http://.\n"),
        "{answer}"
    );
    drain.start();
}

#[tokio::test]
async fn over_tls_a_connection_over_the_limit_receives_the_refusal() {
    let files = Files::new();
    let (addr, drain) = serve_port(&files, 0).await;
    let tcp = TcpStream::connect(addr).await.unwrap();
    // A browser offers both; the refusal is HTTP/1.1.
    let mut client = files.connect(tcp, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    write(&mut client, GET).await;
    let mut answer = vec![];
    let reading = timeout(TEST_TIMEOUT, client.read_buf(&mut answer));
    reading.await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 429 "), "{answer:?}");
    drain.start();
}

#[tokio::test]
async fn a_peer_over_tls_that_reads_nothing_is_reset() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tcp_client(listener.local_addr().unwrap()).await;
    let (tcp, _) = listener.accept().await.unwrap();
    set_options(&tcp).unwrap();
    let patience = Patience {
        stall: Duration::from_millis(100),
        ..PATIENCE
    };
    let drain = Drain::default();
    let wire = wire(tcp, patience, &drain);
    let served = tokio::spawn(tls_connection(wire, files.open(), app(), patience, drain));
    let mut client = files.connect(client, &["http/1.1"]).await.unwrap();
    write(&mut client, GET_FLOOD).await;
    timeout(TEST_TIMEOUT, served)
        .await
        .expect("it is given up")
        .unwrap();
    let mut rest = vec![];
    let error = client.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn after_a_reload_new_connections_get_the_new_certificate_and_open_ones_go_on() {
    let mut files = Files::new();
    let tls = files.open();
    let shown = |client: &TlsStream<DuplexStream>| {
        let certificates = client.get_ref().1.peer_certificates().unwrap();
        certificates[0].clone().into_owned()
    };
    let (pipe_before, _served, _drain) = pipe(tls.clone());
    let mut before = files.connect(pipe_before, &[]).await.unwrap();
    let old = shown(&before);
    let new = files.renew();
    tls.reload().unwrap();
    let (pipe_after, _served, _drain) = pipe(tls.clone());
    let after = files.connect(pipe_after, &[]).await.unwrap();
    assert_eq!(shown(&after), new);
    assert_ne!(new, old);
    assert_eq!(tls.certificate(), Some(new));
    ask(&mut before).await;
}

/// Breaks the files of a pair.
type Break = fn(&Files);

/// Ways in which a pair is bad, with a part of the sentence that says so.
const BAD_PAIRS: [(&str, Break); 8] = [
    ("certificate cannot be read", |files| {
        remove(files, "certificate")
    }),
    ("key cannot be read", |files| remove(files, "key")),
    ("certificate holds no certificate in PEM", |files| {
        files.write("certificate", "")
    }),
    ("key holds no private key in PEM", |files| {
        files.write("key", self_signed().cert.pem());
    }),
    ("certificate is no valid PEM", |files| {
        files.write("certificate", "-----BEGIN CERTIFICATE-----\nMIIB");
    }),
    ("key is no valid PEM", |files| {
        files.write(
            "key",
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n",
        );
    }),
    ("does not belong to the first certificate", |files| {
        files.write("key", self_signed().signing_key.serialize_pem());
    }),
    ("certificate and the private key in", |files| {
        files.write(
            "certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
    }),
];

fn remove(files: &Files, name: &str) {
    fs::remove_file(files.folder.path().join(name)).unwrap();
}

#[test]
fn a_bad_pair_is_refused_in_words_and_at_a_reload_the_old_one_stays() {
    for (words, break_files) in BAD_PAIRS {
        let files = Files::new();
        let tls = files.open();
        let old = tls.certificate().unwrap();
        break_files(&files);
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert_eq!(tls.certificate(), Some(old), "{words}");
        let file = |name: &str| Path::join(files.folder.path(), name);
        let error = Tls::open(&file("certificate"), &file("key")).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}
