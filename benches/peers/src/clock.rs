//! The clock that the times in messages are of.

use std::time::Instant;

/// Microseconds since the benchmark began. It does not begin at zero, because a price must be positive.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    const BEGIN: u64 = 1_000_000;

    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> u64 {
        Self::BEGIN + u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
