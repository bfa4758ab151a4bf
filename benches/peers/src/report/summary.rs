//! Which rounds count, and the median of each figure over them.

use crate::{
    peer::Peer,
    workloads::{Round, Row},
};

/// A round counts where raw TCP cost as much as in the others, give or take this part.
const DRIFT: f64 = 0.1;

pub struct Summary {
    rows: Vec<Row>,
    pub kept: usize,
    pub dropped: usize,
    /// The median of all calibrations, in microseconds.
    pub calibration: f64,
}

impl Summary {
    pub fn of(rounds: &[Round]) -> Self {
        let calibrations = rounds
            .iter()
            .flat_map(|round| round.calibration.iter().copied());
        let calibration = median(calibrations.collect()).unwrap_or_default();
        let steady = |round: &&Round| {
            let drift = |cost: &f64| (cost / calibration - 1.0).abs() <= DRIFT;
            round.calibration.iter().all(drift)
        };
        let kept: Vec<&Round> = rounds.iter().filter(steady).collect();
        let dropped = rounds.len() - kept.len();
        // Where no round was steady, all are shown, and the text says so.
        let shown = if kept.is_empty() {
            rounds.iter().collect()
        } else {
            kept.clone()
        };
        Self {
            rows: shown
                .iter()
                .flat_map(|round| round.rows.iter().cloned())
                .collect(),
            kept: kept.len(),
            dropped,
            calibration,
        }
    }

    /// The peers of a workload, in the order of [`Peer`].
    pub fn peers(&self, workload: &str) -> Vec<Peer> {
        let mut peers = vec![];
        for row in self.rows.iter().filter(|row| row.workload == workload) {
            if !peers.contains(&row.peer) {
                peers.push(row.peer);
            }
        }
        peers.sort();
        peers
    }

    /// The median of a figure over the rounds that count.
    pub fn figure(&self, workload: &str, peer: Peer, figure: &str) -> Option<f64> {
        let rows = self.rows.iter();
        let rows = rows.filter(|row| row.workload == workload && row.peer == peer);
        median(
            rows.filter_map(|row| row.figures.get(figure).copied())
                .collect(),
        )
    }

    /// What a delivery costs, divided by what it costs over raw TCP.
    pub fn times_raw(&self, workload: &str, peer: Peer) -> Option<f64> {
        let cost = |peer| self.figure(workload, peer, "cpu_us");
        Some(cost(peer)? / cost(Peer::RawTcp)?)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (
        values.get(values.len().saturating_sub(1) / 2)?,
        values.get(values.len() / 2)?,
    );
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::workloads::EVENTS;

    fn round(calibration: [f64; 2], cost: f64) -> Round {
        let row = Row {
            workload: EVENTS,
            peer: Peer::Wirewise,
            figures: BTreeMap::from([("cpu_us", cost)]),
        };
        Round {
            calibration: calibration.into(),
            rows: vec![row],
        }
    }

    #[test]
    fn a_round_in_which_raw_tcp_drifts_does_not_count() {
        let rounds = [
            round([1.0, 1.05], 2.0),
            round([1.0, 1.3], 9.0),
            round([1.0, 1.0], 3.0),
        ];
        let summary = Summary::of(&rounds);
        assert_eq!((summary.kept, summary.dropped), (2, 1));
        assert_eq!(summary.figure(EVENTS, Peer::Wirewise, "cpu_us"), Some(2.5));
        assert_eq!(summary.figure(EVENTS, Peer::Ws, "cpu_us"), None);
    }

    #[test]
    fn without_a_steady_round_all_are_shown() {
        let summary = Summary::of(&[round([1.0, 2.0], 2.0)]);
        assert_eq!((summary.kept, summary.dropped), (0, 1));
        assert_eq!(summary.figure(EVENTS, Peer::Wirewise, "cpu_us"), Some(2.0));
    }
}
