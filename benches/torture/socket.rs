//! Sessions and sockets of the chat, without any code of ours.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::client::IntoClientRequest};

/// The limit for a connection attempt; nothing takes longer.
const CONNECT: Duration = Duration::from_secs(5);

pub type Socket = WebSocketStream<TcpStream>;

pub async fn connect(address: SocketAddr, token: &str) -> Option<Socket> {
    let mut request = format!("ws://{address}/api/chat/socket")
        .into_client_request()
        .ok()?;
    let bearer = format!("Bearer {token}").parse().ok()?;
    request.headers_mut().insert("authorization", bearer);
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
