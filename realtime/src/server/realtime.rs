//! Holds what all streams and sockets of a server share.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{drain::Drain, registry::Connection};
use crate::message::{Limits, SocketControl};

/// The state that all streams and sockets of a server share: its intervals and its drain.
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
    /// Between two `ping` messages that the client of a socket is asked to send.
    pub client_ping: Duration,
    /// Between two Ping control frames that the server sends.
    pub ping: Duration,
    /// A socket on which nothing was received for this long is closed with 4102.
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

    /// The first message of every socket; queue it before calling [`socket::run`](super::socket::run). The browser
    /// counts as connected once it has received this message, and reconnects if none arrives. `connections` is the
    /// number of open sockets of this endpoint on this node.
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
