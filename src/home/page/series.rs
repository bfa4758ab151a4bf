//! What is measured of the two lanes of the live comparison. Pure: times come in as numbers.

use std::collections::VecDeque;

/// Latency is that of the latest messages: 25 s of the feed.
const WINDOW: usize = 500;
/// The upper ends of the histogram's bars, in milliseconds; one more bar is for what is slower.
pub const BARS_MS: [f64; 8] = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// A message as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub sequence: u64,
    /// By the server's clock.
    pub sent_us: u64,
    /// By the browser's, in milliseconds; its zero may be any.
    pub received_ms: f64,
    /// Of its JSON, in bytes.
    pub payload: usize,
    /// What the transport put around it.
    pub framing: usize,
}

/// One transport.
#[derive(Clone, Debug, Default)]
pub struct Series {
    messages: u64,
    last: Option<u64>,
    /// From the one clock to the other: right but for a constant, which is the same for both lanes.
    delays_us: VecDeque<f64>,
    /// Missed messages that follow still.
    replays_left: usize,
    replayed: u64,
    missed: u64,
    payload: usize,
    framing: usize,
    lost_at_ms: Option<f64>,
    back_after_ms: Option<f64>,
}

/// Both.
#[derive(Clone, Debug, Default)]
pub struct AllSeries {
    pub events: Series,
    pub socket: Series,
}

/// What a lane shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub messages: u64,
    /// `None` before the first message.
    pub latency: Option<Latency>,
    /// Messages for each bar.
    pub bars: [usize; BARS_MS.len() + 1],
    /// Bytes of the last message.
    pub payload: usize,
    pub framing: usize,
    /// From the last loss of the connection to the first message after it.
    pub back_after_ms: Option<f64>,
    pub replayed: u64,
    pub missed: u64,
}

/// In milliseconds, above the fastest delivery of both lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Series {
    /// The connection stands; so many missed messages follow first.
    pub fn greeted(&mut self, replays: usize) {
        self.replays_left = replays;
    }

    /// The connection is gone, or another attempt was in vain.
    pub fn lost(&mut self, at_ms: f64) {
        if self.lost_at_ms.is_none() {
            self.lost_at_ms = Some(at_ms);
            self.back_after_ms = None;
        }
    }

    pub fn take(&mut self, arrival: Arrival) {
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
            // How late it is says how long the connection was gone, not how fast the transport is.
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
    /// The clocks of server and browser differ by an unknown constant; the fastest delivery of both lanes stands for it.
    pub fn figures(&self) -> [Figures; 2] {
        let lanes = [&self.events, &self.socket];
        let delays = lanes.iter().flat_map(|lane| &lane.delays_us);
        let fastest_us = delays.copied().fold(f64::INFINITY, f64::min);
        lanes.map(|lane| lane.figures(fastest_us))
    }
}

/// Of sorted values.
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

    /// A message that took so many milliseconds; the browser's clock is a day behind the server's.
    fn arrival(sequence: u64, took_ms: f64) -> Arrival {
        let sent_us = 86_400_000_000 + sequence * 50_000;
        Arrival {
            sequence,
            sent_us,
            received_ms: sequence as f64 * 50.0 + took_ms,
            payload: 60,
            framing: 2,
        }
    }

    fn lane(took_ms: impl IntoIterator<Item = f64>) -> Series {
        let mut lane = Series::default();
        for (sequence, took_ms) in took_ms.into_iter().enumerate() {
            lane.take(arrival(sequence as u64, took_ms));
        }
        lane
    }

    #[test]
    fn latency_is_above_the_fastest_delivery_of_both_whatever_the_clocks_say() {
        let lanes = AllSeries {
            events: lane((1..=200).map(f64::from)),
            socket: lane([3.0, 3.0]),
        };
        let [events, socket] = lanes.figures();
        let latency = events.latency.unwrap();
        assert_eq!((latency.p50_ms, latency.p99_ms), (99.0, 197.0));
        assert_eq!(socket.latency.unwrap().p50_ms, 2.0);
        assert_eq!(events.bars, [1, 1, 1, 2, 4, 8, 16, 32, 135]);
        assert_eq!(socket.bars, [0, 0, 2, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_lane_without_messages_shows_none() {
        let [events, socket] = AllSeries::default().figures();
        assert_eq!(events, Figures::default());
        assert_eq!(events, socket);
    }

    #[test]
    fn only_the_latest_messages_count() {
        let slow = std::iter::repeat_n(1_000.0, 100);
        let lanes = AllSeries {
            events: lane(slow.chain(std::iter::repeat_n(1.0, WINDOW))),
            socket: Series::default(),
        };
        let [events, _] = lanes.figures();
        assert_eq!(events.messages, 600);
        assert_eq!(events.latency.unwrap().p99_ms, 0.0);
        assert_eq!(events.bars[0], WINDOW);
    }

    #[test]
    fn what_is_replayed_is_not_missed_and_counts_for_no_latency() {
        let mut lane = lane([1.0, 1.0]);
        lane.lost(120.0);
        lane.greeted(2);
        lane.take(arrival(2, 900.0));
        lane.take(arrival(3, 850.0));
        lane.take(arrival(4, 1.0));
        assert_eq!((lane.replayed, lane.missed), (2, 0));
        assert_eq!(lane.delays_us.len(), 3);
        assert_eq!(lane.back_after_ms, Some(1_000.0 - 120.0));
    }

    #[test]
    fn a_gap_is_counted_and_the_time_away_runs_from_the_first_loss() {
        let mut lane = lane([1.0, 1.0]);
        lane.lost(100.0);
        lane.lost(700.0);
        lane.greeted(0);
        lane.take(arrival(30, 1.0));
        assert_eq!((lane.replayed, lane.missed), (0, 28));
        assert_eq!(lane.back_after_ms, Some(1_401.0));
        lane.lost(2_000.0);
        assert_eq!(lane.back_after_ms, None, "not back yet");
        // A server that was started anew counts anew.
        lane.take(arrival(1, 1.0));
        assert_eq!(lane.missed, 28);
    }
}
