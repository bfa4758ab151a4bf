//! Serves one connection over a pipe in memory, as the accept loop serves one over TCP. For tests.

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::{io::DuplexStream, sync::Semaphore};

use super::{
    connection::connection,
    patience::PATIENCE,
    wire::{Transport, Wire},
};
use crate::server::drain::Drain;

impl Transport for DuplexStream {
    /// A pipe cannot look ahead: what is served over TLS in these tests begins with a handshake.
    async fn peek(&self) -> io::Result<Option<u8>> {
        Ok(Some(22))
    }

    fn end_with_reset(&self) {}
}

/// Serves the connection to its end. Its peer has a loopback address.
pub async fn serve(pipe: DuplexStream, app: Router, drain: Drain) {
    let peer = SocketAddr::from(([127, 0, 0, 1], 49_152));
    // A new semaphore has its permit.
    let Ok(permit) = Arc::new(Semaphore::new(1)).try_acquire_owned() else {
        return;
    };
    let wire = Wire::new(pipe, peer, permit, PATIENCE, drain.clone());
    connection(wire, app, PATIENCE, drain).await;
}
