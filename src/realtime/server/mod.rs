//! The server half of the kit: topics and event streams, queues and sockets, the accept loop, leaving.

pub mod caps;
pub mod drain;
pub mod line;
pub mod listen;
pub mod queue;
pub mod socket;
pub mod sse;
pub mod topic;
pub mod upgrade;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::Serialize;

pub use drain::Drain;
pub use line::{Line, Lines};

use super::message::{Limits, SocketControl};

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

    /// What every socket begins with: put it into the queue before [`socket::run`]. A browser counts as connected from it
    /// on, and tries again where none comes. `connections` are the open sockets of this endpoint on this node.
    pub fn welcome<W: Serialize>(
        &self,
        line: &Line,
        connections: usize,
        limits: Limits,
        feature: W,
    ) -> SocketControl<W> {
        SocketControl::Welcome {
            connection: line.id().to_owned(),
            heartbeat_ms: self.timing.client_ping.as_millis() as u64,
            connections,
            limits,
            feature,
        }
    }
}

/// Counts a connection for as long as it lives, in a counter of its endpoint and in the gauge `wirewise_connections`.
#[derive(Debug)]
pub struct Counted {
    counter: Arc<AtomicUsize>,
    gauge: metrics::Gauge,
}

impl Counted {
    /// `transport` and `endpoint` are the labels of the gauge: `sse` or `websocket`, and the feature's name.
    pub fn new(counter: Arc<AtomicUsize>, transport: &'static str, endpoint: &'static str) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        let gauge = metrics::gauge!("wirewise_connections", "transport" => transport, "endpoint" => endpoint);
        gauge.increment(1);
        Self { counter, gauge }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.counter.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1);
    }
}

/// A name for a connection that nobody can guess: 64 random bits in hexadecimal.
pub fn connection_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    // A clock before 1970 is a broken machine; zero is as good as any answer then.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}
