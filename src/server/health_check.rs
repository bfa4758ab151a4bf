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
use tokio_util::either::Either;

use super::health::{READY_ROUTE, Readiness};
use crate::web::server::own_certificate;

/// How long the server may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Asks the server at this address, which speaks TLS if `over_tls`. The error is a sentence that says why it is not ready.
pub async fn check(addr: SocketAddr, over_tls: bool) -> Result<(), String> {
    let asked = timeout(ANSWERS_WITHIN, ask(addr, over_tls)).await;
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

async fn ask(addr: SocketAddr, over_tls: bool) -> Result<Readiness, Box<dyn Error + Send + Sync>> {
    let tcp = TcpStream::connect(addr).await?;
    let wire = match over_tls {
        false => Either::Left(tcp),
        true => {
            let connector = own_certificate::connector(None)?;
            Either::Right(connector.connect(addr.ip().into(), tcp).await?)
        }
    };
    let (mut requests, connection) = http1::handshake(TokioIo::new(wire)).await?;
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
        let sentence = check(listener.local_addr().unwrap(), false)
            .await
            .unwrap_err();
        assert!(sentence.contains("within 5 s"), "{sentence}");
    }
}
