//! Who is on a board and where their pointers are. Pure: it keeps the newest place of each and knows which moved.

use std::collections::{BTreeMap, BTreeSet};

use crate::collab::message::{Move, Peer, PeerId};
use crate::session::User;

/// The pointers of one board.
#[derive(Debug, Default)]
pub struct Cursors {
    peers: BTreeMap<PeerId, Peer>,
    moved: BTreeSet<PeerId>,
    hidden: BTreeSet<PeerId>,
}

impl Cursors {
    /// Everybody but `except`.
    pub fn peers(&self, except: PeerId) -> Vec<Peer> {
        self.peers
            .values()
            .filter(|peer| peer.id != except)
            .cloned()
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub fn enter(&mut self, id: PeerId, user: User) -> Peer {
        let peer = Peer {
            id,
            user,
            x: None,
            y: None,
        };
        self.peers.insert(id, peer.clone());
        peer
    }

    pub fn leave(&mut self, id: PeerId) {
        self.peers.remove(&id);
        self.moved.remove(&id);
        self.hidden.remove(&id);
    }

    /// Moves a pointer. Says whether it is the first since the last tick.
    pub fn move_to(&mut self, id: PeerId, x: f32, y: f32) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else {
            return false;
        };
        let place = (Some(tenthousandths(x)), Some(tenthousandths(y)));
        if (peer.x, peer.y) == place {
            return false;
        }
        (peer.x, peer.y) = place;
        let first = self.moved.is_empty();
        self.moved.insert(id);
        self.hidden.remove(&id);
        first
    }

    /// Hides a pointer. Says whether it was shown.
    pub fn hide(&mut self, id: PeerId) -> bool {
        self.moved.remove(&id);
        let peer = self.peers.get_mut(&id);
        let shown = peer.is_some_and(|peer| (peer.x.take(), peer.y.take()) != (None, None));
        if shown {
            self.hidden.insert(id);
        }
        shown
    }

    /// The pointers that were hidden since the last call, and are still.
    pub fn take_hidden(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.hidden)
    }

    /// The newest places of the pointers that moved since the last call.
    pub fn take_moves(&mut self) -> Vec<Move> {
        let moved = std::mem::take(&mut self.moved);
        moved
            .iter()
            .filter_map(|id| self.peers.get(id))
            .filter_map(place)
            .collect()
    }

    /// Where every pointer is.
    pub fn places(&self) -> Vec<Move> {
        self.peers.values().filter_map(place).collect()
    }
}

fn place(peer: &Peer) -> Option<Move> {
    Some((peer.id, peer.x?, peer.y?))
}

/// A tenth of a pixel on a board of a thousand: finer is only longer on the wire.
fn tenthousandths(value: f32) -> f32 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Cursors {
        let mut cursors = Cursors::default();
        for id in [1, 2, 3] {
            cursors.enter(id, User::new(uuid::Uuid::new_v4(), format!("peer {id}")));
        }
        cursors
    }

    #[test]
    fn only_the_newest_place_of_a_tick_is_told() {
        let mut cursors = board();
        assert!(cursors.move_to(2, 0.1, 0.1));
        assert!(!cursors.move_to(2, 0.2, 0.2));
        assert!(!cursors.move_to(1, 0.123_456, 1.0));
        assert_eq!(cursors.take_moves(), [(1, 0.1235, 1.0), (2, 0.2, 0.2)]);
        assert_eq!(cursors.take_moves(), []);
        assert_eq!(cursors.places().len(), 2);
    }

    #[test]
    fn a_pointer_that_rests_tells_nothing() {
        let mut cursors = board();
        cursors.move_to(1, 0.5, 0.5);
        cursors.take_moves();
        assert!(!cursors.move_to(1, 0.500_001, 0.5));
        assert_eq!(cursors.take_moves(), []);
    }

    #[test]
    fn a_hidden_or_departed_pointer_is_not_told_after_all() {
        let mut cursors = board();
        cursors.move_to(1, 0.5, 0.5);
        cursors.move_to(2, 0.5, 0.5);
        assert!(cursors.hide(1));
        assert!(!cursors.hide(1));
        cursors.leave(2);
        assert_eq!(cursors.take_moves(), []);
        assert_eq!(cursors.take_hidden(), [1].into());
        cursors.move_to(1, 0.2, 0.5);
        cursors.hide(1);
        cursors.move_to(1, 0.3, 0.5);
        assert_eq!(cursors.take_hidden(), [].into(), "it is shown again");
        assert_eq!(cursors.peers(3).len(), 1);
    }
}
