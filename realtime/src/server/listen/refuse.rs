//! Answers a connection that is not served, and closes it.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::tls::Tls;

/// How long a refused client has to make a TLS handshake, as long to send its request, and as long to read the answer
/// and close.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);

/// An answer: its status, its headers but for those about the body, and its body.
pub(super) struct Refusal {
    status: &'static str,
    headers: &'static str,
    body: &'static str,
}

const FULL: Refusal = Refusal {
    status: "429 Too Many Requests",
    headers: "content-type: application/json\r\nretry-after: 5\r\n",
    body: r#"{"error":"The server holds as many connections as it may. Try again in a few seconds."}"#,
};
/// For a client that speaks HTTP where TLS is expected.
pub(super) const NOT_TLS: Refusal = Refusal {
    status: "400 Bad Request",
    headers: "content-type: text/plain\r\n",
    body: "This port speaks HTTPS only: begin the address with https:// instead of http://.\n",
};

/// Answers that the connection limit is reached.
pub(super) async fn refuse_full(tcp: TcpStream, tls: Option<Tls>) -> io::Result<()> {
    match tls {
        None => refuse(tcp, FULL).await,
        Some(tls) => {
            let stream = timeout(REFUSE_WITHIN, tls.accept_to_refuse(tcp)).await??;
            refuse(stream, FULL).await
        }
    }
}

/// Sends the answer. The request is read first, since some clients treat an answer without a request as an error.
/// Afterwards it reads on until the client closes: closing with unread input causes a reset, and the client would lose
/// the answer.
pub(super) async fn refuse<S>(mut peer: S, refusal: Refusal) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Refusal {
        status,
        headers,
        body,
    } = refusal;
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut request = [0; 4 * 1024];
    let _ = timeout(REFUSE_WITHIN, peer.read(&mut request)).await;
    timeout(REFUSE_WITHIN, async {
        peer.write_all(answer.as_bytes()).await?;
        peer.shutdown().await?;
        while peer.read(&mut request).await? > 0 {}
        Ok(())
    })
    .await?
}
