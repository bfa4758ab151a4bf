//! Counts the received messages of a heat, and computes their order and latency.

use super::payload::{self, Clock};

/// The received messages.
pub struct Tally {
    received: u64,
    in_order: bool,
    latencies_us: Vec<u64>,
}

/// Latencies in microseconds.
#[derive(Debug, PartialEq, Eq)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Tally {
    pub fn new(messages: u64) -> Self {
        Self {
            received: 0,
            in_order: true,
            latencies_us: Vec::with_capacity(messages as usize),
        }
    }

    /// Adds a received message. It is in order if it is the one that was sent next.
    pub fn add(&mut self, data: &str, clock: Clock) {
        match payload::read(data) {
            Some((sequence, sent)) => {
                self.in_order &= sequence == self.received;
                self.latencies_us.push(clock.now_us().saturating_sub(sent));
            }
            None => self.in_order = false,
        }
        self.received += 1;
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn in_order(&self) -> bool {
        self.in_order
    }

    /// The nearest-rank percentiles.
    pub fn latency(&mut self) -> Latency {
        self.latencies_us.sort_unstable();
        let rank = |percent: usize| {
            let rank = (self.latencies_us.len() * percent).div_ceil(100);
            self.latencies_us
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Latency {
            p50: rank(50),
            p99: rank(99),
            max: rank(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(sequences: &[u64]) -> Tally {
        let clock = Clock::start();
        let mut tally = Tally::new(sequences.len() as u64);
        for sequence in sequences {
            tally.add(&clock.payload(*sequence, 16), clock);
        }
        tally
    }

    #[test]
    fn only_the_order_of_sending_is_in_order() {
        assert!(tally_of(&[0, 1, 2]).in_order());
        for wrong in [[1, 0, 2], [0, 0, 1], [0, 2, 1], [1, 2, 3]] {
            assert!(!tally_of(&wrong).in_order(), "{wrong:?}");
        }
        let mut garbled = tally_of(&[0]);
        garbled.add("no payload at all", Clock::start());
        assert!(!garbled.in_order());
        assert_eq!(garbled.received(), 2);
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut tally = Tally::new(0);
        tally.latencies_us = (1..=200).rev().collect();
        let latency = Latency {
            p50: 100,
            p99: 198,
            max: 200,
        };
        assert_eq!(tally.latency(), latency);
        tally.latencies_us = vec![7];
        let one = Latency {
            p50: 7,
            p99: 7,
            max: 7,
        };
        assert_eq!(tally.latency(), one);
    }
}
