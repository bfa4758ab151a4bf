//! The time limits of a connection, and a timer to enforce them.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection waits for its peer.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request's head to its last, and from the beginning of a connection to its first byte.
    /// It limits slow-loris attacks.
    pub head: Duration,
    /// Between two requests. It is longer than the time for which proxies keep an idle connection to an upstream (60 to
    /// 75 s), so that no proxy sends a request on a connection that is about to close.
    pub idle: Duration,
    /// While bytes are pending and the peer reads none.
    pub stall: Duration,
    /// Replaces the other limits while the server drains.
    pub draining: Duration,
}

pub const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    stall: Duration::from_secs(60),
    draining: Duration::from_secs(1),
};

impl Patience {
    pub fn stall(&self, draining: bool) -> Duration {
        if draining { self.draining } else { self.stall }
    }
}

/// A timer whose deadline is passed with each poll. It allocates nothing before the first poll.
#[derive(Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub fn poll_at(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(context)
    }
}
