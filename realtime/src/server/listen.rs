//! The accept loop: limits the number of connections, sets socket options, and gives each request a connection handle.
//!
//! `axum::serve` sets no timer (hyper's header timeout then has no effect), no limit and no socket options; this does.
//!
//! `connection.rs` serves one connection and ends it when its peer is idle for too long. `direct.rs` writes
//! live streams over HTTP/1.1 without hyper; `read_ahead.rs` keeps bytes that were read too early. `tls.rs` encrypts it. `wire.rs` wraps the
//! connection's bytes and ends it when the peer reads none. `stream.rs` does the same for a single HTTP/2 stream.
//! `refuse.rs` answers what is not served. `activity.rs` is the state that they share, and `handle.rs` the handle that a
//! request gets. `pipe.rs` serves a connection in memory, for tests.

pub mod activity;
mod connection;
mod direct;
pub mod handle;
mod patience;
#[cfg(any(test, feature = "testing"))]
pub mod pipe;
mod read_ahead;
mod refuse;
mod stream;
mod tls;
mod wire;

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep},
};

pub(super) use self::direct::Reading;
pub use self::{
    activity::ActiveRequest,
    direct::LiveBody,
    handle::ConnectionHandle,
    tls::{Tls, TlsError},
};
use self::{
    connection::{connection, tls_connection},
    patience::PATIENCE,
    refuse::refuse_full,
    wire::Wire,
};
use super::{metric, realtime::Realtime};

/// Unsent bytes that the kernel may hold. Without this limit a client that stops reading costs megabytes of kernel
/// memory on loopback, and must first read all of those outdated bytes when it reads again.
const NOT_SENT_LOW_WATER: u32 = 16 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// Connections that the kernel may hold until they are accepted; it takes no more than `net.core.somaxconn`, which is 4096 too.
/// With tokio's 128 a client of thousands that come back at once waits a second, until it asks for its connection again.
const ACCEPT_QUEUE: i32 = 4096;
/// Pause after a failed accept; the most likely reason is a lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// Shortest time between two log lines about failed accepts.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Refused connections that get an explanation at the same time. Further ones are closed without an answer.
const REFUSALS: usize = 64;

/// Serves `app` until the server drains. Then the listener closes at once, and each open connection ends when its
/// requests have ended. Every connection is a task of the drain. Further connections than `max_connections` are refused
/// with 429.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    max_connections: usize,
    realtime: &Realtime,
) {
    accept(listener, None, app, max_connections, realtime).await;
}

/// Like [`serve`], over TLS. A handshake that is not complete within 10 s ends its connection. A client that speaks HTTP
/// without TLS is answered with 400 and a sentence.
pub async fn serve_tls(
    listener: TcpListener,
    tls: Tls,
    app: Router,
    max_connections: usize,
    realtime: &Realtime,
) {
    accept(listener, Some(tls), app, max_connections, realtime).await;
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    app: Router,
    max_connections: usize,
    realtime: &Realtime,
) {
    let drain = realtime.drain().clone();
    // The listener listens already; a second call only changes the length of its queue.
    if let Err(error) = SockRef::from(&listener).listen(ACCEPT_QUEUE) {
        tracing::debug!(%error, "the listener keeps the queue that it has");
    }
    // Set the state once, here: a router without its state would build its route table anew for every connection.
    let app = app.with_state(());
    let permits = Arc::new(Semaphore::new(max_connections));
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
                metric::counter("accept_errors").increment(1);
                if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "accepting connections fails; trying again");
                }
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            if let Err(error) = set_options(&tcp) {
                tracing::debug!(%error, %peer, "socket options were refused");
            }
            let (app, draining) = (app.clone(), drain.clone());
            let wire = Wire::new(tcp, peer, permit, PATIENCE, drain.clone());
            // Two kinds of tasks, so that a connection without TLS takes no memory for it.
            match tls.clone() {
                None => drain.spawn(connection(wire, app, PATIENCE, draining)),
                Some(tls) => drain.spawn(tls_connection(wire, tls, app, PATIENCE, draining)),
            }
            continue;
        }
        metric::counter("connections_refused").increment(1);
        if let Ok(permit) = refusals.clone().try_acquire_owned() {
            let tls = tls.clone();
            tokio::spawn(async move {
                let _permit = permit;
                // An error means that the peer is gone or never closes: then nobody reads the answer.
                let _ = refuse_full(tcp, tls).await;
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
        // For a peer that vanished while too few bytes are pending to fill the kernel's buffer. The timeout is longer
        // than our own timer, because the kernel gives up without a reset.
        socket.set_tcp_user_timeout(Some(PATIENCE.stall * 2))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
