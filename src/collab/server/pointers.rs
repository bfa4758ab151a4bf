//! The peers of a board and their pointers. Pure: keeps the newest position of each pointer and the set of changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    collab::message::{Move, Peer, PeerId},
    session::User,
};

/// The pointers of one board.
#[derive(Debug, Default)]
pub struct Pointers {
    peers: BTreeMap<PeerId, Peer>,
    moved: BTreeSet<PeerId>,
    hidden: BTreeSet<PeerId>,
}

impl Pointers {
    /// The peers that a predicate names.
    pub fn peers(&self, wanted: impl Fn(PeerId) -> bool) -> Vec<Peer> {
        let peers = self.peers.values().filter(|peer| wanted(peer.id));
        peers.cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub fn join(&mut self, id: PeerId, user: User) -> Peer {
        let peer = Peer {
            id,
            user,
            x: None,
            y: None,
        };
        self.peers.insert(id, peer.clone());
        peer
    }

    /// Adds a peer of another node. If it is known, its pointer moves to where it is by now. Returns whether it is new.
    pub fn join_elsewhere(&mut self, peer: &Peer) -> bool {
        let known = self.peers.contains_key(&peer.id);
        match (peer.x, peer.y) {
            _ if !known => drop(self.peers.insert(peer.id, peer.clone())),
            (Some(x), Some(y)) => drop(self.move_to(peer.id, x, y)),
            _ => drop(self.hide(peer.id)),
        }
        !known
    }

    /// Removes a peer. Returns whether it was there.
    pub fn leave(&mut self, id: PeerId) -> bool {
        self.moved.remove(&id);
        self.hidden.remove(&id);
        self.peers.remove(&id).is_some()
    }

    /// Whether a pointer moved or was hidden since the last tick.
    pub fn has_changed(&self) -> bool {
        !self.moved.is_empty() || !self.hidden.is_empty()
    }

    /// Moves a pointer. Returns whether it is the first move since the last tick.
    pub fn move_to(&mut self, id: PeerId, x: f32, y: f32) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else {
            return false;
        };
        let position = (Some(tenthousandths(x)), Some(tenthousandths(y)));
        if (peer.x, peer.y) == position {
            return false;
        }
        (peer.x, peer.y) = position;
        let first = self.moved.is_empty();
        self.moved.insert(id);
        self.hidden.remove(&id);
        first
    }

    /// Hides a pointer. Returns whether it was visible.
    pub fn hide(&mut self, id: PeerId) -> bool {
        self.moved.remove(&id);
        let peer = self.peers.get_mut(&id);
        let shown = peer.is_some_and(|peer| (peer.x.take(), peer.y.take()) != (None, None));
        if shown {
            self.hidden.insert(id);
        }
        shown
    }

    /// The pointers that were hidden since the last call and still are.
    pub fn take_hidden(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.hidden)
    }

    /// The newest positions of the pointers that moved since the last call.
    pub fn take_moves(&mut self) -> Vec<Move> {
        let moved = std::mem::take(&mut self.moved);
        moved
            .iter()
            .filter_map(|id| self.peers.get(id))
            .filter_map(position)
            .collect()
    }

    /// The positions of all pointers.
    pub fn positions(&self) -> Vec<Move> {
        self.peers.values().filter_map(position).collect()
    }
}

fn position(peer: &Peer) -> Option<Move> {
    Some((peer.id, peer.x?, peer.y?))
}

/// A tenth of a pixel on a board of a thousand pixels. Higher precision would only make the messages longer.
fn tenthousandths(value: f32) -> f32 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Pointers {
        let mut pointers = Pointers::default();
        for id in [1, 2, 3] {
            pointers.join(id, User::new(uuid::Uuid::new_v4(), format!("peer {id}")));
        }
        pointers
    }

    #[test]
    fn only_the_newest_position_of_a_tick_is_sent() {
        let mut pointers = board();
        assert!(pointers.move_to(2, 0.1, 0.1));
        assert!(!pointers.move_to(2, 0.2, 0.2));
        assert!(!pointers.move_to(1, 0.123_456, 1.0));
        assert_eq!(pointers.take_moves(), [(1, 0.1235, 1.0), (2, 0.2, 0.2)]);
        assert_eq!(pointers.take_moves(), []);
        assert_eq!(pointers.positions().len(), 2);
    }

    #[test]
    fn a_resting_pointer_sends_nothing() {
        let mut pointers = board();
        pointers.move_to(1, 0.5, 0.5);
        pointers.take_moves();
        assert!(!pointers.move_to(1, 0.500_001, 0.5));
        assert_eq!(pointers.take_moves(), []);
    }

    #[test]
    fn a_hidden_or_removed_pointer_is_not_sent() {
        let mut pointers = board();
        pointers.move_to(1, 0.5, 0.5);
        pointers.move_to(2, 0.5, 0.5);
        assert!(pointers.hide(1));
        assert!(!pointers.hide(1));
        pointers.leave(2);
        assert_eq!(pointers.take_moves(), []);
        assert_eq!(pointers.take_hidden(), [1].into());
        pointers.move_to(1, 0.2, 0.5);
        pointers.hide(1);
        pointers.move_to(1, 0.3, 0.5);
        assert_eq!(pointers.take_hidden(), [].into(), "it is shown again");
        assert_eq!(pointers.peers(|id| id != 3).len(), 1);
    }

    #[test]
    fn a_peer_of_another_node_that_is_known_only_moves() {
        let mut pointers = board();
        let mut peer = pointers.peers(|id| id == 1).remove(0);
        peer.id = 9;
        (peer.x, peer.y) = (Some(0.5), Some(0.5));
        assert!(pointers.join_elsewhere(&peer));
        assert!(!pointers.has_changed(), "it joined with its place");
        assert!(!pointers.join_elsewhere(&peer) && !pointers.has_changed());
        peer.x = Some(0.25);
        assert!(!pointers.join_elsewhere(&peer));
        assert_eq!(pointers.take_moves(), [(9, 0.25, 0.5)]);
        (peer.x, peer.y) = (None, None);
        assert!(!pointers.join_elsewhere(&peer));
        assert_eq!(pointers.take_hidden(), [9].into());
        assert!(pointers.leave(9) && !pointers.leave(9));
    }
}
