//! The accept loop. `axum::serve` sets no timer (so that hyper's header timeout does nothing), no cap and no socket
//! options; this does, and gives every request a handle to its own connection.
//!
//! `connection.rs` serves one connection and ends it when its peer is idle for too long; `wire.rs` wraps its bytes and ends
//! it when the peer takes none; `stream.rs` does the same for a single stream of HTTP/2; `handle.rs` is what they share.

pub mod activity;
mod connection;
pub mod handle;
mod patience;
mod stream;
mod wire;

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

pub use self::{activity::ActiveRequest, handle::ConnectionHandle};
use self::{connection::connection, patience::PATIENCE, wire::Wire};
use super::drain::Drain;

/// What the kernel may hold of unsent bytes. A reader that stops otherwise costs megabytes of kernel memory on loopback,
/// and reads all of that old news first when it wakes.
const NOT_SENT_LOW_WATER: u32 = 16 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// Between two tries to accept while it fails: out of file descriptors, most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// Between two log lines that say that accepting fails.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Connections that are told at the same time why they are refused. Those beyond it are closed without a word.
const REFUSALS: usize = 64;
/// How long a refused client has to send its request, and again to read the answer and close.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);

/// Serves `app` until `drain` starts; then the listener closes at once, and open connections end by themselves as their
/// requests do. Every connection is a task of `drain`.
pub async fn serve(listener: TcpListener, app: Router, max_connections: usize, drain: Drain) {
    // Once, here: a router without its state would build its route table anew for every connection.
    let app = app.with_state(());
    let places = Arc::new(Semaphore::new(max_connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics::counter!("wirewise_accept_errors").increment(1);
                if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "accepting connections fails; trying again");
                }
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            if let Err(error) = set_options(&tcp) {
                tracing::debug!(%error, %peer, "socket options were refused");
            }
            let wire = Wire::new(tcp, peer, place, PATIENCE, drain.clone());
            drain.spawn(connection(wire, app.clone(), PATIENCE, drain.clone()));
            continue;
        }
        metrics::counter!("wirewise_connections_refused").increment(1);
        if let Ok(turn) = refusals.clone().try_acquire_owned() {
            tokio::spawn(async move {
                let _turn = turn;
                // The peer may be gone, or never close: then there is nobody to tell.
                let _ = refuse(tcp).await;
            });
        }
    }
}

fn set_options(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER)?;
        // For a peer that vanished while too little waits to fill the kernel's buffer. It is later than our own timer, because
        // the kernel gives up without a reset.
        socket.set_tcp_user_timeout(Some(PATIENCE.stall * 2))?;
    }
    Ok(())
}

/// Says in words why there is no place. It hears the request first, since some clients take an answer to nothing for an
/// error; and it reads on until the client closes, since to close with unread input is a reset, which takes the answer along.
async fn refuse(mut tcp: TcpStream) -> io::Result<()> {
    const BODY: &str = r#"{"error":"The server holds as many connections as it may. Try again in a few seconds."}"#;
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 5\r\n\
         connection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut heard = [0; 4 * 1024];
    let _ = timeout(REFUSE_WITHIN, tcp.read(&mut heard)).await;
    timeout(REFUSE_WITHIN, async {
        tcp.write_all(answer.as_bytes()).await?;
        tcp.shutdown().await?;
        while tcp.read(&mut heard).await? > 0 {}
        Ok(())
    })
    .await?
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
