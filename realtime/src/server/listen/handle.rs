//! Gives each request a handle to the connection on which it was received.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use super::{
    activity::{ActiveRequest, Activity},
    stream::Stream,
};

/// The connection behind a request, stored in the request's extensions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionHandle {
    connection: Arc<Activity>,
    /// The request's own stream over HTTP/2, where other streams share the connection; `None` over HTTP/1.1.
    stream: Option<Arc<Stream>>,
}

impl ConnectionHandle {
    pub(super) fn new(connection: Arc<Activity>, stream: Option<Arc<Stream>>) -> Self {
        Self { connection, stream }
    }

    /// Keeps the connection from counting as idle until the guard is dropped.
    pub fn hold(&self) -> ActiveRequest {
        ActiveRequest::new(&self.connection, true)
    }

    /// The remote address of the TCP connection; behind a proxy it is the proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    /// Whether TLS encrypts the connection, in this server; behind a proxy it says nothing of the client's side.
    pub fn is_encrypted(&self) -> bool {
        self.connection.is_encrypted.load(Ordering::Relaxed)
    }

    /// Whether what is written goes to the TCP connection as it is: neither TLS nor HTTP/2 lies between.
    pub(crate) fn is_plain(&self) -> bool {
        self.stream.is_none() && !self.is_encrypted()
    }

    /// Ends the request and drops unsent bytes; the peer sees an error at once. Over HTTP/2 it resets the request's own
    /// stream, otherwise the TCP connection.
    pub fn reset(&self) {
        match &self.stream {
            Some(stream) => stream.end(),
            None => self.connection.reset.ask(),
        }
    }

    /// Bytes read from and written to the TCP connection so far: heads and framing included, those of TLS too.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.connection.read.load(Ordering::Relaxed),
            self.connection.written.load(Ordering::Relaxed),
        )
    }
}
