//! Holds what all streams and sockets of a server share, and the options of a server.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use axum::{
    extract::ConnectInfo,
    http::request::Parts,
    response::{IntoResponse, Response},
};

use super::{
    drain::Drain,
    listen::handle::ConnectionHandle,
    metric,
    permits::{KeyedSemaphore, Permit},
    refused::Refused,
    registry::{Connection, ConnectionRegistry},
};

/// The state that all streams and sockets of a server share: its options, its drain, its open connections, and the
/// permits of each address. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Realtime(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: RealtimeOptions,
    connections: ConnectionRegistry,
    permits: KeyedSemaphore<IpAddr>,
    /// The counter of open sockets of each endpoint. A std mutex: it is held for one map operation.
    sockets: Mutex<HashMap<&'static str, Arc<AtomicUsize>>>,
}

/// The options of a server, with defaults for all of them.
#[derive(Clone, Debug)]
pub struct RealtimeOptions {
    name: &'static str,
    timing: Timing,
    drain: Drain,
    connections_per_address: usize,
    messages_per_second: u32,
    allow_faults: bool,
    refuse_with: fn(Refused) -> Response,
}

/// The intervals of a server.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Between two heartbeats of an event stream.
    pub heartbeat: Duration,
    /// Between two `ping` messages that the client of a socket is asked to send.
    pub client_ping: Duration,
    /// Between two Ping control frames that the server sends.
    pub ping: Duration,
    /// A socket on which nothing was received for this long is closed with 4102.
    pub idle: Duration,
}

/// The address by which the streams and sockets of a client are limited. A layer in front of the routes puts it into the
/// extensions of a request where the client's address is not the peer's: behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address by which a client at this IP address is limited: of IPv6 the first 64 bits, since a client with one
    /// address has all of its subnet (RFC 6177).
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
            address => address,
        })
    }

    /// The address of a request: the one that a layer has set, otherwise the peer's. `None` if it is not known: under an
    /// accept loop that says neither.
    pub(super) fn of_request(parts: &Parts) -> Option<Self> {
        let extensions = &parts.extensions;
        let handle = || extensions.get().map(ConnectionHandle::peer);
        let info = || {
            extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|info| info.0)
        };
        let peer = || handle().or_else(info).map(|peer| Self::of(peer.ip()));
        extensions.get::<Self>().copied().or_else(peer)
    }
}

impl Default for Timing {
    /// A heartbeat every 15 s, a client's ping every 30 s, a Ping frame every 25 s, and a close after 60 s of silence.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            client_ping: Duration::from_secs(30),
            ping: Duration::from_secs(25),
            idle: Duration::from_secs(60),
        }
    }
}

impl Default for RealtimeOptions {
    fn default() -> Self {
        Self {
            name: "realtime",
            timing: Timing::default(),
            drain: Drain::default(),
            connections_per_address: 100,
            messages_per_second: 20,
            allow_faults: false,
            refuse_with: Refused::into_response,
        }
    }
}

impl RealtimeOptions {
    /// The server's name: the prefix of all metrics, and the first comment of every stream. The default is `realtime`. The
    /// recorder of metrics belongs to the process, so the first [`Realtime`] of a process sets their prefix.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The intervals.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// The drain, where other parts of the server share it.
    pub fn drain(mut self, drain: Drain) -> Self {
        self.drain = drain;
        self
    }

    /// How many streams and sockets one address may hold open; 0 means no limit. The default is 100.
    pub fn connections_per_address(mut self, most: usize) -> Self {
        self.connections_per_address = most;
        self
    }

    /// The rate that `welcome` announces, in text messages per second and user. The kit does not enforce it: a
    /// [`SocketHandler`](super::socket::SocketHandler) does. The default is 20.
    pub fn messages_per_second(mut self, most: u32) -> Self {
        self.messages_per_second = most;
        self
    }

    /// Whether connections keep what fault injection needs: the last event, for a repeat. The kit has no route for faults;
    /// a route of the application calls the methods of [`Connection`]. The default is false.
    pub fn allow_faults(mut self, allow: bool) -> Self {
        self.allow_faults = allow;
        self
    }

    /// The answer to a request that gets no stream, in the application's own form and words. The default is that of
    /// [`Refused`].
    pub fn refuse_with(mut self, refuse: fn(Refused) -> Response) -> Self {
        self.refuse_with = refuse;
        self
    }
}

impl Default for Realtime {
    fn default() -> Self {
        Self::new(RealtimeOptions::default())
    }
}

impl Realtime {
    /// The shared state of a server with these options.
    pub fn new(options: RealtimeOptions) -> Self {
        metric::set_prefix(options.name);
        Self(Arc::new(Shared {
            connections: ConnectionRegistry::new(options.allow_faults),
            permits: KeyedSemaphore::new(options.connections_per_address),
            sockets: Mutex::default(),
            options,
        }))
    }

    /// The server's name.
    pub fn name(&self) -> &'static str {
        self.0.options.name
    }

    /// The intervals.
    pub fn timing(&self) -> &Timing {
        &self.0.options.timing
    }

    /// The shutdown signal.
    pub fn drain(&self) -> &Drain {
        &self.0.options.drain
    }

    /// The open connections.
    pub fn connections(&self) -> &ConnectionRegistry {
        &self.0.connections
    }

    pub(super) fn messages_per_second(&self) -> u32 {
        self.0.options.messages_per_second
    }

    /// Takes a permit of an address for a stream or socket. An error if all are taken; no permit if the address is unknown.
    pub(super) fn permit(&self, address: Option<ClientAddress>) -> Result<Option<Permit>, Refused> {
        let taken = address.map(|address| self.0.permits.enter(address.0));
        taken
            .map(|permit| permit.ok_or(Refused::TooManyConnections))
            .transpose()
    }

    /// The answer to a request that gets no stream.
    pub(super) fn refuse(&self, refused: Refused) -> Response {
        (self.0.options.refuse_with)(refused)
    }

    /// The counter of the open sockets of an endpoint.
    pub(super) fn sockets(&self, endpoint: &'static str) -> Arc<AtomicUsize> {
        // A poisoned lock is used all the same: it is held for one map operation.
        let mut sockets = self
            .0
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sockets.entry(endpoint).or_default().clone()
    }

    /// The connection of a request: the one that a layer has opened for it (see [`Realtime::open_connection`]), or a new
    /// one.
    pub(super) fn connection(&self, parts: &Parts) -> Connection {
        match parts.extensions.get::<Connection>() {
            Some(connection) => connection.clone(),
            None => self.open(parts.uri.path(), parts.extensions.get().cloned()),
        }
    }

    /// Opens a connection for a request before its extractor does, for a layer that records more about it. The layer puts
    /// it into the request's extensions.
    pub fn open_connection<B>(&self, request: &axum::http::Request<B>) -> Connection {
        self.open(request.uri().path(), request.extensions().get().cloned())
    }

    fn open(&self, path: &str, handle: Option<ConnectionHandle>) -> Connection {
        self.0.connections.open(path, handle)
    }
}
