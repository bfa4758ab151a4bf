//! The results of finished jobs: the `result` of a `done` event, one type for each kind of job.

use realtime::transport::Transport;
use serde::{Deserialize, Serialize};

/// The result of a countdown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountdownResult {
    pub steps: u64,
    pub elapsed_ms: u64,
}

/// The result of a checksum: what is known of an uploaded file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChecksumResult {
    /// The name that the browser sent, without its folder; may be empty.
    pub name: String,
    pub bytes: u64,
    /// The number of line feeds, and one more for a last line without one.
    pub lines: u64,
    /// In hexadecimal.
    pub sha256: String,
    /// In hexadecimal.
    pub blake3: String,
    /// The length in bytes after gzip at its default level.
    pub gzip_bytes: u64,
    pub elapsed_ms: u64,
}

impl ChecksumResult {
    /// How many times shorter gzip makes the file; `None` for an empty file.
    pub fn gzip_ratio(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.bytes as f64 / self.gzip_bytes.max(1) as f64)
    }
}

/// A race of the two transports over the same messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaceResult {
    pub mode: RaceMode,
    /// The rate of a paced race in messages a second; `None` for a burst.
    pub rate: Option<u64>,
    /// The messages of a round.
    pub messages: u64,
    /// The payload of a message in bytes. Both transports put the same JSON around it.
    pub size: u64,
    pub rounds: u64,
    /// The maximum number of messages that a burst keeps in flight, the same for both transports.
    pub window: u64,
    /// The CPU use of the whole process while nothing ran, in percent of a core. It is subtracted from each round's
    /// figure.
    pub idle_cpu_percent: f64,
    /// Every round as it was measured.
    pub rows: Vec<RaceRow>,
}

/// How fast a race sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RaceMode {
    /// As fast as possible.
    Burst,
    /// At a given rate.
    Paced,
}

/// One transport in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaceRow {
    /// Counted from 1.
    pub round: u64,
    /// Whether the transport ran first in its round; the order is random.
    pub first: bool,
    pub transport: Transport,
    /// From the first message sent to the last one read.
    pub elapsed_ms: f64,
    pub messages_per_second: f64,
    /// Bytes read from the client's TCP socket after the handshake and the greeting.
    pub wire_bytes: u64,
    /// Bytes on the wire per message, beyond its payload.
    pub overhead_bytes: f64,
    pub latency_p50_us: u64,
    pub latency_p99_us: u64,
    pub latency_max_us: u64,
    /// CPU time of the whole process (both ends of the connection) per message, less its idle use.
    pub cpu_us: f64,
    pub received: u64,
    /// Every message arrived once, in the order of sending.
    pub in_order: bool,
}

/// The median of a figure over the rounds, with its least and greatest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl RaceResult {
    /// All messages of all rounds arrived, once each, in order.
    pub fn is_complete(&self) -> bool {
        let whole = |row: &RaceRow| row.in_order && row.received == self.messages;
        self.rows.len() as u64 == 2 * self.rounds && self.rows.iter().all(whole)
    }

    /// A figure of one transport over all rounds; `None` when it ran in none.
    pub fn spread(&self, transport: Transport, figure: fn(&RaceRow) -> f64) -> Option<Spread> {
        let rows = self.rows.iter().filter(|row| row.transport == transport);
        let mut figures: Vec<f64> = rows.map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => (figures[middle - 1] + figures[middle]) / 2.0,
            _ => figures[middle],
        };
        Some(Spread {
            median,
            least,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(transport: Transport, elapsed_ms: f64) -> RaceRow {
        RaceRow {
            round: 1,
            first: true,
            transport,
            elapsed_ms,
            messages_per_second: 0.0,
            wire_bytes: 0,
            overhead_bytes: 0.0,
            latency_p50_us: 0,
            latency_p99_us: 0,
            latency_max_us: 0,
            cpu_us: 0.0,
            received: 10,
            in_order: true,
        }
    }

    fn result(rows: Vec<RaceRow>) -> RaceResult {
        RaceResult {
            mode: RaceMode::Burst,
            rate: None,
            messages: 10,
            size: 16,
            rounds: rows.len() as u64 / 2,
            window: 8,
            idle_cpu_percent: 0.0,
            rows,
        }
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let of = |figures: &[f64]| {
            let rows = figures.iter().map(|figure| row(Transport::Sse, *figure));
            result(rows.collect()).spread(Transport::Sse, |row| row.elapsed_ms)
        };
        let spread = |median, least, most| {
            Some(Spread {
                median,
                least,
                most,
            })
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_race_that_lost_or_reordered_a_message_is_not_complete() {
        let both = || vec![row(Transport::Sse, 1.0), row(Transport::WebSocket, 1.0)];
        assert!(result(both()).is_complete());
        let mut lost = result(both());
        lost.rows[1].received = 9;
        assert!(!lost.is_complete());
        let mut reordered = result(both());
        reordered.rows[0].in_order = false;
        assert!(!reordered.is_complete());
        let mut missing = result(both());
        missing.rows.pop();
        assert!(!missing.is_complete());
    }

    #[test]
    fn the_ratio_of_an_empty_file_is_none() {
        let file = |bytes, gzip_bytes| ChecksumResult {
            name: String::new(),
            bytes,
            lines: 0,
            sha256: String::new(),
            blake3: String::new(),
            gzip_bytes,
            elapsed_ms: 0,
        };
        assert_eq!(file(0, 20).gzip_ratio(), None);
        assert_eq!(file(100, 25).gzip_ratio(), Some(4.0));
    }
}
