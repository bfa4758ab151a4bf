//! How many connections an endpoint has.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

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
