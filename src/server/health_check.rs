//! Asks a running server whether it is ready, for `wirewise health`: a container has no other program to ask with.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::health::{READY_ROUTE, Readiness};

/// How long the server may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Asks the server at this address. The error is a sentence that says why it is not ready.
pub async fn check(addr: SocketAddr) -> Result<(), String> {
    let asked = timeout(ANSWERS_WITHIN, ask(addr)).await;
    let asked = asked.map_err(|_| {
        let seconds = ANSWERS_WITHIN.as_secs();
        format!("The server at {addr} does not answer within {seconds} s.")
    })?;
    let readiness =
        asked.map_err(|error| format!("The server at {addr} cannot be asked: {error}."))?;
    match readiness.ready {
        true => Ok(()),
        false => Err(format!(
            "The server at {addr} is not ready. {}",
            readiness.reasons.join(" ")
        )),
    }
}

async fn ask(addr: SocketAddr) -> Result<Readiness, Box<dyn Error + Send + Sync>> {
    let tcp = TcpStream::connect(addr).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    // Ends with the connection, at the latest with the process.
    tokio::spawn(connection);
    let request = Request::get(READY_ROUTE).header(header::HOST, addr.to_string());
    let answer = requests.send_request(request.body(Body::empty())?).await?;
    match answer.status() {
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => {
            let body = answer.into_body().collect().await?.to_bytes();
            Ok(serde_json::from_slice(&body)?)
        }
        status => Err(format!("it answers {status}").into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sentence = check(listener.local_addr().unwrap()).await.unwrap_err();
        assert!(sentence.contains("within 5 s"), "{sentence}");
    }
}
