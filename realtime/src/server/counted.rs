//! Counts the open connections of an endpoint.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::Gauge;

use super::metric;

/// Counts a connection while it is open, in its endpoint's counter and in the gauge `connections`.
#[derive(Debug)]
pub struct Counted {
    counter: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Counted {
    /// `transport` and `endpoint` are the labels of the gauge: `sse` or `websocket`, and the feature's name.
    pub fn new(counter: Arc<AtomicUsize>, transport: &'static str, endpoint: &'static str) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        let gauge = metric::connections(transport, endpoint);
        gauge.increment(1);
        Self { counter, gauge }
    }

    /// Open connections of the endpoint.
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
