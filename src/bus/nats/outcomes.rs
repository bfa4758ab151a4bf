//! Brings together an acknowledgement of the stream and what this node's replica made of the message, whichever is first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{oneshot, watch};

use crate::bus::embedded::replica::Applied;

/// Outcomes that are kept for acknowledgements which are still on their way. An older one is read from the replica.
const KEPT: usize = 4_096;

/// The outcomes of the messages of one stream.
#[derive(Default)]
pub struct Outcomes {
    state: Mutex<State>,
    /// The sequence of the last message that was applied.
    applied: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    recent: BTreeMap<u64, Applied>,
    waiting: HashMap<u64, Vec<oneshot::Sender<Applied>>>,
}

/// The outcome of a message.
pub enum Outcome {
    Known(Applied),
    /// The message is not applied yet. The sender is dropped when the replica begins anew.
    Coming(oneshot::Receiver<Applied>),
    /// It was applied too long ago.
    Past,
}

impl Outcomes {
    /// The replica has applied a message.
    pub fn applied(&self, sequence: u64, outcome: Applied) {
        let mut state = self.state();
        self.applied.send_replace(sequence);
        for waiting in state.waiting.remove(&sequence).unwrap_or_default() {
            let _ = waiting.send(outcome.clone());
        }
        state.recent.insert(sequence, outcome);
        if state.recent.len() > KEPT {
            state.recent.pop_first();
        }
    }

    /// The stream has acknowledged a message.
    pub fn of(&self, sequence: u64) -> Outcome {
        let mut state = self.state();
        if let Some(outcome) = state.recent.get(&sequence) {
            return Outcome::Known(outcome.clone());
        }
        if sequence <= *self.applied.borrow() {
            return Outcome::Past;
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = state.waiting.entry(sequence).or_default();
        waiting.retain(|waiting| !waiting.is_closed());
        waiting.push(sender);
        Outcome::Coming(receiver)
    }

    /// The last message that was applied before the start.
    pub fn begin_after(&self, sequence: u64) {
        self.applied.send_replace(sequence);
    }

    /// Whether the message with this sequence was applied.
    pub fn has_reached(&self, sequence: u64) -> bool {
        *self.applied.borrow() >= sequence
    }

    /// Resolves when the message with this sequence was applied; false if the replica ends before.
    pub async fn reached(&self, sequence: u64) -> bool {
        let mut applied = self.applied.subscribe();
        applied
            .wait_for(|applied| *applied >= sequence)
            .await
            .is_ok()
    }

    /// A std mutex: it is held for map operations only, and a panic leaves the maps intact.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_outcome_is_found_whichever_comes_first() {
        let outcomes = Outcomes::default();
        outcomes.applied(5, Applied::Floor(5));
        let Outcome::Known(known) = outcomes.of(5) else {
            panic!("it was applied");
        };
        assert_eq!(known, Applied::Floor(5));
        let Outcome::Coming(coming) = outcomes.of(7) else {
            panic!("it was not applied");
        };
        outcomes.applied(7, Applied::Latest);
        assert_eq!(coming.await, Ok(Applied::Latest));
    }

    #[test]
    fn an_old_outcome_is_past() {
        let outcomes = Outcomes::default();
        outcomes.begin_after(10);
        assert!(matches!(outcomes.of(10), Outcome::Past));
        for sequence in 11..=11 + KEPT as u64 {
            outcomes.applied(sequence, Applied::Latest);
        }
        assert!(matches!(outcomes.of(11), Outcome::Past));
        assert!(matches!(outcomes.of(12), Outcome::Known(_)));
    }
}
