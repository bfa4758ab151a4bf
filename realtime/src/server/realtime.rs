//! What all streams and sockets of a server share.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{drain::Drain, registry::Connection};
use crate::message::{Limits, SocketControl};

/// What every stream and socket of a server shares: its intervals and its drain.
#[derive(Clone, Debug)]
pub struct Realtime {
    timing: Arc<Timing>,
    drain: Drain,
}

/// The intervals of a server.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Between two heartbeats of an event stream.
    pub heartbeat: Duration,
    /// Between two `ping` messages that a socket's client is asked for.
    pub client_ping: Duration,
    /// Between two Ping control frames of the server.
    pub ping: Duration,
    /// A socket from which nothing came for this long is closed with 4102.
    pub idle: Duration,
}

impl Realtime {
    pub fn new(timing: Timing, drain: Drain) -> Self {
        Self {
            timing: Arc::new(timing),
            drain,
        }
    }

    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// What every socket begins with: put it into the queue before [`socket::run`](super::socket::run). A browser counts as connected from it
    /// on, and tries again where none comes. `connections` are the open sockets of this endpoint on this node.
    pub fn welcome<W: Serialize>(
        &self,
        connection: &Connection,
        connections: usize,
        limits: Limits,
        feature: W,
    ) -> SocketControl<W> {
        SocketControl::Welcome {
            connection: connection.id().to_owned(),
            heartbeat_ms: self.timing.client_ping.as_millis() as u64,
            connections,
            limits,
            feature,
        }
    }
}
