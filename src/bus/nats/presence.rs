//! Which nodes of a cluster are there. Pure: what was heard and the time go in, departures come out.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::bus::SILENT_AFTER;

/// How often a node says that it is there, whatever else it sends.
pub const BEAT_EVERY: Duration = Duration::from_secs(3);

/// The other nodes.
#[derive(Debug)]
pub struct Presence {
    heard: HashMap<Uuid, Instant>,
    /// Since when this node hears the others. Before it has done so for [`SILENT_AFTER`], a node of which it has not heard
    /// may be there.
    since: Instant,
}

impl Presence {
    pub fn new(now: Instant) -> Self {
        Self {
            heard: HashMap::new(),
            since: now,
        }
    }

    pub fn heard(&mut self, node: Uuid, now: Instant) {
        self.heard.insert(node, now);
    }

    /// A node says that it ends. Returns whether it was there.
    pub fn left(&mut self, node: Uuid) -> bool {
        self.heard.remove(&node).is_some()
    }

    /// This node was without a connection: the silence of the others says nothing about them.
    pub fn reconnected(&mut self, now: Instant) {
        self.since = now;
        self.heard.values_mut().for_each(|heard| *heard = now);
    }

    /// Removes the nodes that were silent for too long, and returns them.
    pub fn expire(&mut self, now: Instant) -> Vec<Uuid> {
        let silent = self
            .heard
            .extract_if(|_, heard| now - *heard >= SILENT_AFTER);
        silent.map(|(node, _)| node).collect()
    }

    pub fn is_present(&self, node: Uuid, now: Instant) -> bool {
        self.heard.contains_key(&node) || now - self.since < SILENT_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_leaves_and_one_that_says_so_leaves_at_once() {
        let start = Instant::now();
        let (one, two, three) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        let mut nodes = Presence::new(start);
        for node in [one, two, three] {
            nodes.heard(node, start);
        }
        assert!(nodes.left(one) && !nodes.left(one));
        nodes.heard(two, start + BEAT_EVERY);
        assert_eq!(nodes.expire(start + SILENT_AFTER), [three]);
        assert!(nodes.expire(start + SILENT_AFTER).is_empty());
        let now = start + SILENT_AFTER;
        assert!(nodes.is_present(two, now) && !nodes.is_present(three, now));
    }

    #[test]
    fn what_was_not_heard_yet_may_be_there_and_an_own_outage_is_no_silence() {
        let start = Instant::now();
        let (known, unknown) = (Uuid::new_v4(), Uuid::new_v4());
        let mut nodes = Presence::new(start);
        nodes.heard(known, start);
        assert!(nodes.is_present(unknown, start + BEAT_EVERY));
        let back = start + 2 * SILENT_AFTER;
        nodes.reconnected(back);
        assert!(nodes.expire(back + BEAT_EVERY).is_empty());
        assert!(nodes.is_present(unknown, back + BEAT_EVERY));
        assert_eq!(nodes.expire(back + SILENT_AFTER), [known]);
        assert!(!nodes.is_present(unknown, back + SILENT_AFTER));
    }
}
