//! Sessions and sockets of the chat, without any code of ours.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::client::IntoClientRequest};

/// The limit for a connection attempt; nothing takes longer.
const CONNECT: Duration = Duration::from_secs(5);

pub type Socket = WebSocketStream<TcpStream>;

pub async fn connect(address: SocketAddr, token: &str) -> Option<Socket> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    open(address, "/api/chat/socket", &headers).await
}

/// Opens a socket with these headers.
pub async fn open(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Option<Socket> {
    let mut request = format!("ws://{address}{path}").into_client_request().ok()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().ok()?);
    }
    let connecting = async {
        let tcp = TcpStream::connect(address).await.ok()?;
        Some(client_async(request, tcp).await.ok()?.0)
    };
    timeout(CONNECT, connecting).await.ok()?
}

/// The token of a new guest.
pub async fn guest(address: SocketAddr) -> String {
    let http = reqwest::Client::new();
    let request = http.post(format!("http://{address}/api/session/guest"));
    let guest: Value = request.send().await.unwrap().json().await.unwrap();
    guest["token"].as_str().unwrap().to_owned()
}
