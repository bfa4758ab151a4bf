//! The measurements of the live comparison, one series for each transport. Pure: the caller passes times as numbers.

use std::collections::VecDeque;

/// The number of latest messages from which latency is computed: 25 s of the feed.
const WINDOW: usize = 500;
/// The upper ends of the histogram's bars, in milliseconds. One more bar counts slower messages.
pub const BARS_MS: [f64; 8] = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// A received message.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub sequence: u64,
    /// The time of sending by the server's clock, in microseconds.
    pub sent_us: u64,
    /// The time of receipt by the browser's clock, in milliseconds from an arbitrary zero.
    pub received_ms: f64,
    /// The length of its JSON in bytes.
    pub payload: usize,
    /// The bytes that the transport put around it.
    pub framing: usize,
}

/// The measurements of one transport.
#[derive(Clone, Debug, Default)]
pub struct Series {
    messages: u64,
    last: Option<u64>,
    /// Delays from the server's clock to the browser's: correct but for a constant, which is the same for both series.
    delays_us: VecDeque<f64>,
    /// Missed messages that are still to be replayed.
    replays_left: usize,
    replayed: u64,
    missed: u64,
    payload: usize,
    framing: usize,
    lost_at_ms: Option<f64>,
    back_after_ms: Option<f64>,
}

/// The measurements of both transports.
#[derive(Clone, Debug, Default)]
pub struct AllSeries {
    pub events: Series,
    pub socket: Series,
}

/// The figures of a series that are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub messages: u64,
    /// `None` before the first message.
    pub latency: Option<Latency>,
    /// The number of messages for each bar.
    pub bars: [usize; BARS_MS.len() + 1],
    /// Bytes of the last message.
    pub payload: usize,
    pub framing: usize,
    /// From the last loss of the connection to the first message after it, in milliseconds.
    pub back_after_ms: Option<f64>,
    pub replayed: u64,
    pub missed: u64,
}

/// In milliseconds, above the fastest delivery of both series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Series {
    /// Handles the start of a connection: `replays` missed messages follow first.
    pub fn greeted(&mut self, replays: usize) {
        self.replays_left = replays;
    }

    /// Handles a lost connection, or another failed attempt to reconnect.
    pub fn lost(&mut self, at_ms: f64) {
        if self.lost_at_ms.is_none() {
            self.lost_at_ms = Some(at_ms);
            self.back_after_ms = None;
        }
    }

    pub fn add(&mut self, arrival: Arrival) {
        let Arrival {
            sequence,
            sent_us,
            received_ms,
            payload,
            framing,
        } = arrival;
        self.messages += 1;
        (self.payload, self.framing) = (payload, framing);
        if let Some(last) = self.last.replace(sequence) {
            self.missed += sequence.saturating_sub(last + 1);
        }
        if let Some(lost_at_ms) = self.lost_at_ms.take() {
            self.back_after_ms = Some(received_ms - lost_at_ms);
        }
        if let Some(left) = self.replays_left.checked_sub(1) {
            // Its delay shows how long the connection was lost, not how fast the transport is.
            self.replays_left = left;
            self.replayed += 1;
            return;
        }
        if self.delays_us.len() == WINDOW {
            self.delays_us.pop_front();
        }
        self.delays_us
            .push_back(received_ms * 1_000.0 - sent_us as f64);
    }

    fn figures(&self, fastest_us: f64) -> Figures {
        let above = self.delays_us.iter().map(|delay| delay - fastest_us);
        let mut latencies: Vec<f64> = above.map(|us| us / 1_000.0).collect();
        latencies.sort_by(f64::total_cmp);
        let mut bars = [0; BARS_MS.len() + 1];
        for latency in &latencies {
            bars[BARS_MS.partition_point(|end| end < latency)] += 1;
        }
        let latency = (!latencies.is_empty()).then(|| Latency {
            p50_ms: nearest_rank(&latencies, 50),
            p99_ms: nearest_rank(&latencies, 99),
        });
        Figures {
            messages: self.messages,
            latency,
            bars,
            payload: self.payload,
            framing: self.framing,
            back_after_ms: self.back_after_ms,
            replayed: self.replayed,
            missed: self.missed,
        }
    }
}

impl AllSeries {
    /// The clocks of server and browser differ by an unknown constant. The fastest delivery of both series stands for
    /// it.
    pub fn figures(&self) -> [Figures; 2] {
        let both = [&self.events, &self.socket];
        let delays = both.iter().flat_map(|series| &series.delays_us);
        let fastest_us = delays.copied().fold(f64::INFINITY, f64::min);
        both.map(|series| series.figures(fastest_us))
    }
}

/// The nearest-rank percentile of sorted values.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with a delay of `delay_ms`; the browser's clock is a day behind the server's.
    fn arrival(sequence: u64, delay_ms: f64) -> Arrival {
        let sent_us = 86_400_000_000 + sequence * 50_000;
        Arrival {
            sequence,
            sent_us,
            received_ms: sequence as f64 * 50.0 + delay_ms,
            payload: 60,
            framing: 2,
        }
    }

    fn series(delay_ms: impl IntoIterator<Item = f64>) -> Series {
        let mut series = Series::default();
        for (sequence, delay_ms) in delay_ms.into_iter().enumerate() {
            series.add(arrival(sequence as u64, delay_ms));
        }
        series
    }

    #[test]
    fn latency_is_above_the_fastest_delivery_of_both_whatever_the_clocks_say() {
        let all = AllSeries {
            events: series((1..=200).map(f64::from)),
            socket: series([3.0, 3.0]),
        };
        let [events, socket] = all.figures();
        let latency = events.latency.unwrap();
        assert_eq!((latency.p50_ms, latency.p99_ms), (99.0, 197.0));
        assert_eq!(socket.latency.unwrap().p50_ms, 2.0);
        assert_eq!(events.bars, [1, 1, 1, 2, 4, 8, 16, 32, 135]);
        assert_eq!(socket.bars, [0, 0, 2, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_series_without_messages_shows_none() {
        let [events, socket] = AllSeries::default().figures();
        assert_eq!(events, Figures::default());
        assert_eq!(events, socket);
    }

    #[test]
    fn only_the_latest_messages_count() {
        let slow = std::iter::repeat_n(1_000.0, 100);
        let all = AllSeries {
            events: series(slow.chain(std::iter::repeat_n(1.0, WINDOW))),
            socket: Series::default(),
        };
        let [events, _] = all.figures();
        assert_eq!(events.messages, 600);
        assert_eq!(events.latency.unwrap().p99_ms, 0.0);
        assert_eq!(events.bars[0], WINDOW);
    }

    #[test]
    fn what_is_replayed_is_not_missed_and_counts_for_no_latency() {
        let mut series = series([1.0, 1.0]);
        series.lost(120.0);
        series.greeted(2);
        series.add(arrival(2, 900.0));
        series.add(arrival(3, 850.0));
        series.add(arrival(4, 1.0));
        assert_eq!((series.replayed, series.missed), (2, 0));
        assert_eq!(series.delays_us.len(), 3);
        assert_eq!(series.back_after_ms, Some(1_000.0 - 120.0));
    }

    #[test]
    fn a_gap_is_counted_and_the_time_away_runs_from_the_first_loss() {
        let mut series = series([1.0, 1.0]);
        series.lost(100.0);
        series.lost(700.0);
        series.greeted(0);
        series.add(arrival(30, 1.0));
        assert_eq!((series.replayed, series.missed), (0, 28));
        assert_eq!(series.back_after_ms, Some(1_401.0));
        series.lost(2_000.0);
        assert_eq!(series.back_after_ms, None, "not back yet");
        // A server that was restarted counts anew.
        series.add(arrival(1, 1.0));
        assert_eq!(series.missed, 28);
    }
}
