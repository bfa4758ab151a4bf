//! Plain requests, one connection each, for what happens before a measurement.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::decode::{Body, Decoder, Item};

/// The limit for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The head of a request on a connection that stays open.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n").into_bytes()
}

/// The head of a request for a WebSocket.
pub fn upgrade(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    // The key of the example in RFC 6455: the answer to it is not checked.
    let mut all = vec![
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    all.extend_from_slice(headers);
    request("GET", path, &all)
}

/// Sends a request and returns the body of the answer.
pub fn fetch(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&request(method, path, headers))?;
    let mut decoder = Decoder::new(Body::Page, true);
    let mut buffer = vec![0; 64 * 1024];
    let mut body = None;
    while body.is_none() {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            bail!("{method} {path}: the server closed the connection");
        }
        decoder.decode(&buffer[..length], &mut |item| {
            match item {
                Item::Head(head) => expect_success(head)?,
                Item::Text(text) => body = Some(text.to_vec()),
                _ => {}
            }
            Ok(())
        })?;
    }
    body.with_context(|| format!("{method} {path}: no answer"))
}

/// Refuses an answer that is neither a success nor a switch of protocols.
pub fn expect_success(head: &[u8]) -> Result<()> {
    if head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.1 101") {
        return Ok(());
    }
    let status = String::from_utf8_lossy(head);
    bail!(
        "the server answered: {}",
        status.lines().next().unwrap_or_default()
    )
}

/// The tokens of so many new guests of Wirewise.
pub fn guests(address: SocketAddr, count: usize) -> Result<Vec<String>> {
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-length", "0"),
    ];
    let guest = |_| {
        let body = fetch(address, "POST", "/api/session/guest", &headers)?;
        let answer: serde_json::Value = serde_json::from_slice(&body)?;
        let token = answer["token"].as_str().context("a guest has no token")?;
        Ok(token.to_owned())
    };
    (0..count).map(guest).collect()
}
