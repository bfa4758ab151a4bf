//! Estimates the rate of a job and the time left. Pure: the caller passes the time.

use std::time::Instant;

/// The weight of the newest interval.
const WEIGHT: f64 = 0.2;

/// An exponentially smoothed rate.
#[derive(Debug, Default)]
pub struct Rate {
    last: Option<(u64, Instant)>,
    per_ms: Option<f64>,
}

impl Rate {
    pub fn add(&mut self, done: u64, now: Instant) {
        let Some((before, since)) = self.last else {
            self.last = Some((done, now));
            return;
        };
        let elapsed = (now - since).as_secs_f64() * 1_000.0;
        // Below a millisecond, the interval shows the resolution of the clock rather than the rate of the job.
        if elapsed < 1.0 {
            return;
        }
        let newest = done.saturating_sub(before) as f64 / elapsed;
        self.per_ms = Some(
            self.per_ms
                .map_or(newest, |rate| rate * (1.0 - WEIGHT) + newest * WEIGHT),
        );
        self.last = Some((done, now));
    }

    pub fn eta_ms(&self, left: u64) -> Option<u64> {
        let rate = self.per_ms.filter(|rate| *rate > 0.0)?;
        Some((left as f64 / rate).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_steady_rate_gives_a_steady_estimate() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for step in 0..10 {
            rate.add(step, start + Duration::from_millis(step * 100));
        }
        assert_eq!(rate.eta_ms(5), Some(500));
        assert_eq!(Rate::default().eta_ms(5), None);
    }
}
