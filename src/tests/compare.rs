//! Tests the live comparison: the same feed over both transports, and the bytes around each message on the wire.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use wirewise::inspector::{
    counterpart::CompareEvents,
    framing::{event_overhead, frame_overhead},
};

use crate::support::{Events, PATIENCE, Server, Socket};

const EVENTS: &str = "/api/compare/events";
const SOCKET: &str = "/api/compare/socket";
const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "wirewise.compare.v1");

async fn listen(server: &Server) -> (Events, Socket) {
    let mut events = server.stream(EVENTS, &[]).await;
    assert_eq!(events.expect("hello").await.data["recovered"], false);
    let mut socket = server.socket(SOCKET, &[PROTOCOL]).await;
    let welcome = socket.next_json().await;
    assert_eq!(welcome["type"], "welcome", "nothing comes before it");
    assert_eq!(welcome["connections"], 1);
    (events, socket)
}

#[tokio::test]
async fn the_same_pulses_arrive_over_both_without_a_session() {
    let server = Server::start().await;
    let (mut events, mut socket) = listen(&server).await;
    let mut over_socket = vec![];
    for _ in 0..10 {
        over_socket.push(socket.next_of("pulse").await);
    }
    let first = over_socket[0]["sequence"].as_u64().unwrap();
    let mut over_events = vec![];
    while over_events.len() < over_socket.len() {
        let event = events.expect("pulse").await;
        assert_eq!(event.offset(), event.data["sequence"].as_u64().unwrap());
        // The stream was open before the socket, so it may begin with earlier pulses.
        if event.offset() >= first {
            over_events.push(event.data);
        }
    }
    assert_eq!(over_events, over_socket);
    for (place, pulse) in over_socket.iter().enumerate() {
        assert_eq!(pulse["sequence"], first + place as u64);
    }
}

#[tokio::test]
async fn the_stream_resumes_and_the_socket_does_not() {
    let server = Server::start().await;
    let (mut events, mut socket) = listen(&server).await;
    let seen = events.expect("pulse").await;
    let missed_after = socket.next_of("pulse").await["sequence"].as_u64().unwrap();
    drop((events, socket));

    // The feed goes on after these clients have disconnected; another client observes it.
    let mut other = server.socket(SOCKET, &[PROTOCOL]).await;
    while other.next_of("pulse").await["sequence"].as_u64().unwrap() < seen.offset() + 5 {}
    let id = seen.id.clone().unwrap();
    let mut events = server.stream(EVENTS, &[("last-event-id", &id)]).await;
    let hello = events.expect("hello").await;
    assert_eq!(hello.data["recovered"], true);
    assert!(hello.data["replayed"].as_u64().unwrap() >= 5, "{hello:?}");
    for sequence in seen.offset() + 1..seen.offset() + 10 {
        assert_eq!(events.expect("pulse").await.offset(), sequence);
    }
    let mut socket = server.socket(SOCKET, &[PROTOCOL]).await;
    let next = socket.next_of("pulse").await["sequence"].as_u64().unwrap();
    assert!(next > missed_after + 1);
}

#[tokio::test]
async fn an_event_on_two_data_lines_is_sent_where_it_is_asked_for() {
    let server = Server::start().await;
    let host = format!("Host: {}\r\n", server.addr);
    let path = CompareEvents::url_with_note();
    let request = format!("GET {path} HTTP/1.1\r\n{host}\r\n");
    let text = raw(&server, &request, |bytes| {
        position(bytes, b"event: pulse")?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    })
    .await;
    let note = text.split_once("event: note\n").unwrap().1;
    let lines: Vec<&str> = note.split_once("\n\n").unwrap().0.split('\n').collect();
    assert_eq!(lines.len(), 2, "{note}");
    assert_eq!(lines[0], r#"data: {"type":"note","#);
    assert!(lines[1].starts_with(r#"data: "text":""#), "{note}");

    // Parsed as the standard says, this is one event. It has the position of a state, and a resume does not repeat it.
    let mut events = server.stream(&path, &[]).await;
    let hello = events.expect("hello").await;
    let note = events.expect("note").await;
    assert_eq!(note.offset(), hello.data["offset"].as_u64().unwrap());
    assert!(note.data["text"].as_str().unwrap().contains("line feed"));
    let pulse = events.expect("pulse").await;
    let id = pulse.id.as_deref().unwrap();
    let mut events = server.stream(&path, &[("last-event-id", id)]).await;
    assert_eq!(events.expect("hello").await.data["recovered"], true);
    events.expect("pulse").await;
}

#[tokio::test]
async fn comparisons_of_an_address_are_limited() {
    let server = Server::with(|settings| settings.limits.max_connections_per_ip = 1).await;
    let mut events = server.stream(EVENTS, &[]).await;
    events.expect("hello").await;
    assert_eq!(server.get(EVENTS).send().await.unwrap().status(), 429);
    let mut socket = server.socket(SOCKET, &[PROTOCOL]).await;
    assert_eq!(socket.closed().await.0, 4101);
}

#[tokio::test]
async fn a_socket_that_floods_is_refused_with_a_delay() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 1).await;
    let mut socket = server.socket(SOCKET, &[PROTOCOL]).await;
    for _ in 0..4 {
        socket.send_text("no JSON").await;
    }
    let mut codes = vec![];
    for _ in 0..4 {
        codes.push(socket.next_of("error").await["code"].clone());
    }
    // Twice the rate at once.
    let expected = ["malformed", "malformed", "rate_limited", "rate_limited"];
    assert_eq!(codes, expected);
}

/// Sends a plain HTTP/1.1 request and reads until `found` finds what it looks for in all bytes received so far.
async fn raw<T>(server: &Server, request: &str, found: impl Fn(&[u8]) -> Option<T>) -> T {
    let mut tcp = TcpStream::connect(server.addr).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut read = vec![];
    timeout(PATIENCE, async {
        loop {
            if let Some(found) = found(&read) {
                return found;
            }
            assert_ne!(tcp.read_buf(&mut read).await.unwrap(), 0, "it goes on");
        }
    })
    .await
    .unwrap()
}

fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[tokio::test]
async fn the_framing_that_the_page_shows_is_what_is_on_the_wire() {
    let server = Server::start().await;
    let host = format!("Host: {}\r\n", server.addr);

    let request = format!("GET {EVENTS} HTTP/1.1\r\n{host}\r\n");
    let (chunk, json, id) = raw(&server, &request, |bytes| {
        let mut rest = &bytes[position(bytes, b"\r\n\r\n")? + 4..];
        // Each chunk has its length in hexadecimal, its content, and its end.
        loop {
            let digits = position(rest, b"\r\n")?;
            let length = std::str::from_utf8(&rest[..digits]).unwrap();
            let length = usize::from_str_radix(length, 16).unwrap();
            let chunk = rest.get(..digits + 2 + length + 2)?;
            let text = std::str::from_utf8(&chunk[digits + 2..]).unwrap();
            let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
            // A late event may arrive in one chunk with the next.
            if text.matches("event: ").count() == 1 && field("event: ") == Some("pulse") {
                let (json, id) = (field("data: ")?, field("id: ")?);
                return Some((chunk.len(), json.to_owned(), id.to_owned()));
            }
            rest = &rest[chunk.len()..];
        }
    })
    .await;
    let framing = event_overhead("pulse", json.len(), id.len());
    assert_eq!(chunk, json.len() + framing);

    let request = format!(
        "GET {SOCKET} HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (header, length) = raw(&server, &request, |bytes| {
        let mut frame = position(bytes, b"\r\n\r\n")? + 4;
        // The welcome is longer than 125 bytes: four bytes of header.
        assert_eq!(bytes.get(frame..frame + 2)?, [0x81, 126]);
        let length = u16::from_be_bytes([*bytes.get(frame + 2)?, *bytes.get(frame + 3)?]);
        assert_eq!(frame_overhead(length.into(), false), 4);
        frame += 4 + usize::from(length);
        let length = usize::from(*bytes.get(frame + 1)?);
        let json = bytes.get(frame + 2..frame + 2 + length)?;
        assert!(json.starts_with(br#"{"type":"pulse""#));
        assert!(json.ends_with(b"}"));
        Some((2, length))
    })
    .await;
    assert_eq!(frame_overhead(length, false), header);
}

#[tokio::test]
async fn source_files_are_shown_as_text_and_nothing_else_is() {
    let server = Server::start().await;
    let shown = server.get("/source/realtime/src/status.rs").send();
    let shown = shown.await.unwrap();
    assert_eq!(shown.status(), 200);
    assert_eq!(shown.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(
        shown.text().await.unwrap(),
        include_str!("../../realtime/src/status.rs")
    );
    for path in ["Cargo.lock", "src/nothing.rs", "..%2fCargo.toml"] {
        let refused = server.get(&format!("/source/{path}")).send().await.unwrap();
        assert_eq!(refused.status(), 404, "{path}");
    }
}
