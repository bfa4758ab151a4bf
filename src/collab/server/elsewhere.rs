//! Who is on a board at the other nodes of a cluster, and what nodes tell each other about boards. Pure: announcements and
//! the time go in, and who left comes out.
//!
//! A node announces what changed among its own peers once a tick, in one message, and all of them every [`RENEW_EVERY`].
//! Announcements are volatile. What a lost one said is repaired by the next announcement of everybody.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::collab::{
    message::{Move, Peer, PeerId},
    protocol::ClientState,
};

/// How often a node announces everybody who is on a board.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);
/// The peers of a node that has not announced everybody for this long are gone: one announcement may be lost.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(25);
/// How often such nodes are looked for, so that their peers are gone within 30 s.
pub const EXPIRE_EVERY: Duration = Duration::from_secs(5);
/// The subject on which a node says that it ends. Each board has a subject of its own, so that a node reads nothing about
/// boards that it has not open.
pub const NODES: &str = "collab-nodes";

/// Awareness states by client, each with the peer that it belongs to.
pub type States = BTreeMap<u64, (PeerId, ClientState)>;

/// What nodes tell each other about a board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announcement {
    /// A node has opened the board, and does not know yet who is where.
    Opened,
    /// Everybody who is on the board at a node.
    Here {
        node: Uuid,
        peers: Vec<Peer>,
        states: States,
    },
    /// What changed at a node.
    Changed { node: Uuid, news: News },
    /// A node shuts down: its peers leave all boards.
    Gone { node: Uuid },
}

/// What changed among the peers of a node. To be applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct News {
    pub joined: Vec<Peer>,
    pub hidden: Vec<PeerId>,
    pub moves: Vec<Move>,
    pub states: States,
    /// Their awareness states go with them.
    pub left: Vec<PeerId>,
}

impl News {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The bits of a peer id that count the sockets of a node.
const COUNTER_BITS: u32 = 26;
/// The bits above them, which a cluster's node takes from its id.
const NODE_BITS: u32 = 27;

/// The number after which the peer ids of a node begin. On one server they are 1, 2, 3 and so on. In a cluster they begin
/// with 27 bits of the node's random id; the 26 bits below them count 67 million sockets, and both fit into a number of
/// JavaScript. Two of n nodes begin alike with a probability of about n²/2²⁸: of ten nodes, 1 in 2.7 million. The pointers
/// and carets of two peers would then be taken for those of one; texts have no part in it.
pub fn peers_begin_after(node: Option<Uuid>) -> PeerId {
    let random = |node: Uuid| node.as_u128() as PeerId & ((1 << NODE_BITS) - 1);
    node.map_or(0, |node| random(node) << COUNTER_BITS)
}

/// The peers of one board at other nodes.
#[derive(Debug, Default)]
pub struct Elsewhere(HashMap<Uuid, AtNode>);

#[derive(Debug)]
struct AtNode {
    /// When the node last announced everybody.
    renewed: Instant,
    /// The peers that have a pointer or an awareness state.
    peers: BTreeSet<PeerId>,
}

impl AtNode {
    fn new(peers: BTreeSet<PeerId>, now: Instant) -> Self {
        Self {
            renewed: now,
            peers,
        }
    }
}

impl Elsewhere {
    /// These peers are on the board at a node. Returns who left it.
    pub fn here(&mut self, node: Uuid, peers: BTreeSet<PeerId>, now: Instant) -> Vec<PeerId> {
        let here = AtNode::new(peers.clone(), now);
        let before = self.0.insert(node, here);
        let left = |before: AtNode| before.peers.difference(&peers).copied().collect();
        before.map_or_else(Vec::new, left)
    }

    /// These changes were announced by a node.
    pub fn changed(&mut self, node: Uuid, news: &News, now: Instant) {
        let at_node = self.0.entry(node);
        let at_node = at_node.or_insert_with(|| AtNode::new(BTreeSet::new(), now));
        at_node.peers.extend(news.joined.iter().map(|peer| peer.id));
        let owners = news.states.values().map(|(owner, _)| *owner);
        at_node.peers.extend(owners);
        for id in &news.left {
            at_node.peers.remove(id);
        }
    }

    /// A node left. Returns the peers that were there.
    pub fn gone(&mut self, node: Uuid) -> Vec<PeerId> {
        let at_node = self.0.remove(&node);
        at_node.map_or_else(Vec::new, |at_node| at_node.peers.into_iter().collect())
    }

    /// Forgets the nodes that have not announced everybody for too long. Returns the peers that were there.
    pub fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        let is_silent = |at_node: &AtNode| now.duration_since(at_node.renewed) >= FORGOTTEN_AFTER;
        let silent = self.0.extract_if(|_, at_node| is_silent(at_node));
        silent.flat_map(|(_, at_node)| at_node.peers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bus::announcement, collab::protocol::GONE, session::User};

    const ONE: Uuid = Uuid::from_u128(1);
    const TWO: Uuid = Uuid::from_u128(2);
    const NONE: [PeerId; 0] = [];

    fn peer(id: PeerId) -> Peer {
        Peer {
            id,
            user: User::new(Uuid::from_u128(id.into()), "Ada".into()),
            x: None,
            y: None,
        }
    }

    fn state(client: u64, owner: PeerId) -> (u64, (PeerId, ClientState)) {
        let state = ClientState {
            client,
            clock: 1,
            state: GONE.into(),
        };
        (client, (owner, state))
    }

    #[test]
    fn an_announcement_of_everybody_repairs_what_was_lost() {
        let (mut elsewhere, now) = (Elsewhere::default(), Instant::now());
        assert_eq!(elsewhere.here(ONE, [1, 2].into(), now), NONE);
        assert_eq!(elsewhere.here(TWO, [7].into(), now), NONE);
        assert_eq!(elsewhere.here(ONE, [2, 3].into(), now), [1]);
        assert_eq!(elsewhere.gone(ONE), [2, 3]);
        assert_eq!(elsewhere.gone(ONE), NONE);
        assert_eq!(elsewhere.gone(TWO), [7]);
    }

    #[test]
    fn changes_name_peers_with_a_pointer_and_peers_with_a_caret_only() {
        let (mut elsewhere, now) = (Elsewhere::default(), Instant::now());
        let came = News {
            joined: vec![peer(1), peer(2)],
            states: States::from([state(70, 3)]),
            ..News::default()
        };
        elsewhere.changed(ONE, &came, now);
        let left = News {
            left: vec![2],
            ..News::default()
        };
        elsewhere.changed(ONE, &left, now);
        assert_eq!(elsewhere.gone(ONE), [1, 3]);
    }

    #[test]
    fn a_node_that_does_not_announce_everybody_is_forgotten_whatever_else_it_says() {
        let (mut elsewhere, start) = (Elsewhere::default(), Instant::now());
        elsewhere.here(ONE, [1].into(), start);
        elsewhere.here(TWO, [2].into(), start);
        let later = start + FORGOTTEN_AFTER - RENEW_EVERY;
        elsewhere.here(TWO, [2].into(), later);
        elsewhere.changed(ONE, &News::default(), later);
        assert_eq!(elsewhere.expire(later), NONE);
        assert_eq!(elsewhere.expire(start + FORGOTTEN_AFTER), [1]);
        assert_eq!(elsewhere.expire(later + FORGOTTEN_AFTER), [2]);
    }

    #[test]
    fn an_announcement_is_read_as_it_was_written() {
        let news = News {
            joined: vec![peer(1)],
            hidden: vec![2],
            moves: vec![(1, 0.1235, 1.0)],
            states: States::from([state((1 << 53) - 1, 1)]),
            left: vec![3],
        };
        let changed = Announcement::Changed { node: ONE, news };
        let bytes = serde_json::to_vec(&changed).unwrap();
        assert_eq!(announcement::read(&bytes), Some(changed));
        assert_eq!(
            announcement::read::<Announcement>(b"{\"of a newer version\":{}}"),
            None
        );
    }

    #[test]
    fn peer_ids_of_two_nodes_differ_and_are_numbers_of_javascript() {
        assert_eq!(peers_begin_after(None), 0);
        let (one, two) = (peers_begin_after(Some(ONE)), peers_begin_after(Some(TWO)));
        assert_eq!(two - one, 1 << COUNTER_BITS);
        let last = peers_begin_after(Some(Uuid::max())) + (1 << COUNTER_BITS) - 1;
        assert_eq!(last, crate::collab::protocol::MAX_NUMBER);
    }
}
