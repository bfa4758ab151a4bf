//! Tests the limits: message sizes, idle sockets, connections in total and per address, requests per second, and slow
//! request heads.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{PATIENCE, Server};

#[tokio::test]
async fn json_of_70_kb_is_closed_with_1009_and_so_is_one_of_100_kb() {
    let server = Server::start().await;
    let guest = server.guest().await;
    for kilobytes in [70, 100, 127] {
        let mut socket = server.chat(&guest).await;
        socket.send_text("x".repeat(kilobytes * 1_024)).await;
        assert_eq!(socket.closed().await.0, 1009, "{kilobytes} KiB");
    }
}

#[tokio::test]
async fn invalid_utf8_is_closed_with_1007() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut tcp = raw_socket(&server, &guest.bearer()).await;
    // A masked text frame of two bytes that are not UTF-8; the mask is zero.
    tcp.write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28])
        .await
        .unwrap();
    assert_eq!(close_code(&mut tcp).await, 1007);
}

#[tokio::test]
async fn an_unmasked_frame_is_closed_with_1002() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut tcp = raw_socket(&server, &guest.bearer()).await;
    tcp.write_all(&[0x81, 0x02, b'{', b'}']).await.unwrap();
    assert_eq!(close_code(&mut tcp).await, 1002);
}

/// A socket after its upgrade, without a library, which would not let the test break the protocol.
async fn raw_socket(server: &Server, bearer: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "GET /api/chat/socket HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nauthorization: {bearer}\r\n\r\n",
        server.addr
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, tcp.read_u8()).await.unwrap().unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{answer}"
    );
    tcp
}

async fn close_code(tcp: &mut TcpStream) -> u16 {
    let read = async {
        loop {
            let (kind, length) = (tcp.read_u8().await.unwrap(), tcp.read_u8().await.unwrap());
            let length = if length == 126 {
                usize::from(tcp.read_u16().await.unwrap())
            } else {
                usize::from(length)
            };
            let mut payload = vec![0; length];
            tcp.read_exact(&mut payload).await.unwrap();
            if kind == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    };
    timeout(PATIENCE, read).await.expect("a close frame comes")
}

#[tokio::test]
async fn an_idle_socket_is_closed_with_4102_and_one_that_answers_pings_is_not() {
    let server = Server::with(|settings| {
        settings.idle_ms = 600;
        settings.ping_ms = 200;
    })
    .await;
    let guest = server.guest().await;
    let mut silent = raw_socket(&server, &guest.bearer()).await;
    let mut alive = server.chat(&guest).await;
    // tungstenite answers the server's pings while it is read from.
    let reading = tokio::spawn(async move {
        alive
            .0
            .send(Message::Text(r#"{"type":"ping","at":1}"#.into()))
            .await
            .unwrap();
        assert_eq!(alive.next_json().await["type"], "pong");
        let quiet = timeout(Duration::from_secs(2), alive.next_json()).await;
        assert!(quiet.is_err(), "still open, and nothing to say: {quiet:?}");
        alive.send(&json!({"type":"ping","at":2})).await;
        assert_eq!(alive.next_json().await["at"], 2.0);
    });
    assert_eq!(close_code(&mut silent).await, 4102);
    reading.await.unwrap();
}

#[tokio::test]
async fn streams_and_sockets_of_an_address_are_limited() {
    let server = Server::with(|settings| settings.limits.max_connections_per_ip = 2).await;
    let guest = server.guest().await;
    let mut first = server.stream("/api/ticker/events", &[]).await;
    first.expect("hello").await;
    let _second = server.chat(&guest).await;
    let refused = server.get("/api/ticker/events").send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(
        refused.json::<Value>().await.unwrap()["error"]
            .as_str()
            .unwrap()
            .contains("address")
    );
    let mut socket = server
        .socket("/api/chat/socket", &[("authorization", &guest.bearer())])
        .await;
    assert_eq!(socket.closed().await.0, 4101);
    drop(first);
    // The permit is free as soon as the server has noticed the close.
    let freed = async {
        while server
            .get("/api/ticker/events")
            .send()
            .await
            .unwrap()
            .status()
            != 200
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn sockets_of_a_user_are_limited() {
    let server = Server::with(|settings| settings.limits.max_connections_per_user = Some(2)).await;
    let (ada, bob) = (server.guest().await, server.guest().await);
    let first = server.chat(&ada).await;
    let _second = server.chat(&ada).await;
    let mut third = server
        .socket("/api/chat/socket", &[("authorization", &ada.bearer())])
        .await;
    let (code, reason) = third.closed().await;
    assert_eq!(code, 4101);
    assert!(reason.contains("user"), "{reason}");
    server.chat(&bob).await;
    drop(first);
    // The permit is free as soon as the server has noticed the close.
    let freed = async {
        loop {
            let mut socket = server
                .socket("/api/chat/socket", &[("authorization", &ada.bearer())])
                .await;
            if let Some(Ok(Message::Text(_))) = socket.0.next().await {
                return;
            }
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn messages_are_counted_over_all_sockets_of_a_user() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 10).await;
    let guest = server.guest().await;
    let mut sockets = vec![];
    for _ in 0..10 {
        sockets.push(server.chat(&guest).await);
    }
    // Each socket alone would stay within a burst of twenty. All sockets together send more than twenty seconds' worth.
    let mut refused = 0;
    for socket in &mut sockets {
        for _ in 0..20 {
            socket.send(&json!({"type":"leave","room":"lobby"})).await;
        }
        for _ in 0..20 {
            let error = socket.next_of("error").await;
            refused += usize::from(error["code"] == "rate_limited");
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_client_that_ignores_the_rate_is_closed_with_4101() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 1).await;
    let guest = server.guest().await;
    // A malformed message is counted too.
    for message in [
        json!({"type":"typing","room":"lobby"}),
        json!({"type":"typing","room":"Not a room"}),
        json!({"type":"ping","at":1}),
    ] {
        let mut socket = server.chat(&guest).await;
        for _ in 0..300 {
            socket.send(&message).await;
        }
        assert_eq!(socket.closed().await.0, 4101, "{message}");
    }
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = Server::with(|settings| settings.max_connections = 2).await;
    let mut held = vec![];
    for _ in 0..2 {
        let mut tcp = TcpStream::connect(server.addr).await.unwrap();
        tcp.write_all(b"GET /api/ticker/events HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let _ = timeout(PATIENCE, tcp.read_u8()).await.unwrap().unwrap();
        held.push(tcp);
    }
    let mut third = TcpStream::connect(server.addr).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, third.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after"),
        "{answer}"
    );
    drop(held);
    let freed = async {
        while server
            .get("/healthz")
            .send()
            .await
            .map_or(0, |response| response.status().as_u16())
            != 200
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn requests_beyond_the_rate_are_429_and_streams_are_not_counted() {
    let server = Server::with(|settings| settings.limits.requests_per_second = 5).await;
    let mut refused = None;
    for _ in 0..11 {
        let response = server.get("/api/ticker/symbols").send().await.unwrap();
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("eleven at once are more than a burst of ten");
    assert!(refused.headers().contains_key("retry-after"));
    assert!(
        refused.json::<Value>().await.unwrap()["error"]
            .as_str()
            .unwrap()
            .contains("5 requests")
    );
    for headers in [&[] as &[_], &[("accept", "text/event-stream")]] {
        let mut stream = server.stream("/api/ticker/events", headers).await;
        stream.expect("hello").await;
    }
    assert_eq!(
        server.get("/ticker").send().await.unwrap().status(),
        200,
        "pages are no API"
    );
}

#[tokio::test]
async fn a_form_beyond_the_rate_leads_back_to_its_page_with_the_reason() {
    let server = Server::with(|settings| settings.limits.requests_per_second = 5).await;
    let refused = async {
        loop {
            let form = server.post("/api/session/sign_in", &[("name", "Ada")]);
            let form = form.header("accept", "text/html,*/*;q=0.8");
            let form = form.header("referer", server.url("/ticker?chart=BOLT"));
            let response = form.send().await.unwrap();
            assert!(response.status().is_redirection(), "{response:?}");
            let location = response.headers()["location"].to_str().unwrap().to_owned();
            if location.contains("__err=") {
                return location;
            }
        }
    };
    let location = timeout(PATIENCE, refused).await.unwrap();
    assert!(location.starts_with("/ticker?chart=BOLT&"), "{location}");
}

#[tokio::test]
async fn no_header_exempts_a_request_from_the_rate() {
    let server = Server::with(|settings| settings.limits.requests_per_second = 5).await;
    for (name, value) in [("accept", "text/event-stream"), ("upgrade", "websocket")] {
        let refused = async {
            loop {
                let request = server.get("/api/ticker/symbols").header(name, value);
                if request.send().await.unwrap().status() == 429 {
                    return;
                }
            }
        };
        timeout(PATIENCE, refused).await.expect(name);
    }
}

#[tokio::test]
async fn connections_without_a_whole_head_are_closed() {
    let server = Server::start().await;
    let closes = async |sent: &'static [u8]| {
        let mut tcp = TcpStream::connect(server.addr).await.unwrap();
        tcp.write_all(sent).await.unwrap();
        let mut rest = vec![];
        // A reset also ends the connection.
        let _ = timeout(PATIENCE, tcp.read_to_end(&mut rest))
            .await
            .expect("it is closed");
    };
    tokio::join!(
        closes(b""),
        closes(b"PRI * HT"),
        closes(b"GET / HTTP/1.1\r\nhost: x\r\n")
    );
}
