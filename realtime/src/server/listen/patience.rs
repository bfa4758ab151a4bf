//! How long a connection waits, and the timer that it waits with.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection waits for its peer.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a request's head to its last, and from the beginning of a connection to its first byte: a
    /// slow-loris gets no longer.
    pub head: Duration,
    /// Between two requests. Longer than what proxies keep an idle connection to an upstream (60 to 75 s), so that none
    /// sends a request into a connection that closes.
    pub idle: Duration,
    /// While something waits to be sent and the peer takes no byte.
    pub stall: Duration,
    /// In the place of the last two once the server leaves.
    pub leaving: Duration,
}

pub const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    stall: Duration::from_secs(60),
    leaving: Duration::from_secs(1),
};

impl Patience {
    pub fn stall(&self, leaving: bool) -> Duration {
        if leaving { self.leaving } else { self.stall }
    }
}

/// A timer that is told its time when it is polled, and costs nothing until then.
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
