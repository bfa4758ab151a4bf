//! Percentiles, and what processes have used.

use std::time::{Duration, Instant};

/// Percentiles of all values, none of which is dropped: the value at the nearest rank.
#[derive(Clone, Debug, Default)]
pub struct Percentiles(Vec<Duration>);

impl Percentiles {
    pub fn of(mut values: Vec<Duration>) -> Option<Self> {
        values.sort_unstable();
        (!values.is_empty()).then_some(Self(values))
    }

    /// The smallest value that is not exceeded by this part of all values.
    pub fn at(&self, part: f64) -> Duration {
        let rank = (self.0.len() as f64 * part).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// What the processes of a system have used, up to a moment or within a span.
#[derive(Clone, Debug)]
pub struct Spent {
    pub at: Instant,
    pub seconds: f64,
    pub nodes: Vec<Duration>,
    pub nats: Duration,
    /// Resident memory, at the end of a span.
    pub resident: Vec<u64>,
    pub messages_in: u64,
    pub messages_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Default for Spent {
    fn default() -> Self {
        Self {
            at: Instant::now(),
            seconds: 0.0,
            nodes: vec![],
            nats: Duration::ZERO,
            resident: vec![],
            messages_in: 0,
            messages_out: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

impl Spent {
    /// What was used since an earlier moment.
    pub fn since(&self, before: &Self) -> Self {
        let nodes = self.nodes.iter().zip(&before.nodes);
        Self {
            at: self.at,
            seconds: (self.at - before.at).as_secs_f64(),
            nodes: nodes.map(|(now, then)| *now - *then).collect(),
            nats: self.nats - before.nats,
            resident: self.resident.clone(),
            messages_in: self.messages_in - before.messages_in,
            messages_out: self.messages_out - before.messages_out,
            bytes_in: self.bytes_in - before.bytes_in,
            bytes_out: self.bytes_out - before.bytes_out,
        }
    }

    pub fn all_nodes(&self) -> Duration {
        self.nodes.iter().sum()
    }
}

/// Microseconds of CPU time for each of a number of things.
pub fn micros_each(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// The parts of a second that were used a second.
pub fn cores(spent: Duration, seconds: f64) -> f64 {
    spent.as_secs_f64() / seconds
}
