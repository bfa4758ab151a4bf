//! What a roster tells the other nodes of a cluster, and what it hears from them.
//!
//! A peer of another node has a pointer and awareness states as those who are here, and no connection. What is heard of it
//! is sent to those who are here, and never announced again.

use std::{collections::BTreeSet, time::Instant};

use uuid::Uuid;

use super::Roster;
use crate::collab::{
    message::{BoardEvent, Move, NOBODY, Peer, PeerId},
    server::elsewhere::{Announcement, News, States},
};

impl Roster {
    /// The roster of a board that other nodes may have open too.
    pub fn shared() -> Self {
        Self {
            news: Some(News::default()),
            ..Self::default()
        }
    }

    /// Whether the other nodes are to be told something with the next tick.
    pub fn has_news(&self) -> bool {
        self.news.as_ref().is_some_and(|news| !news.is_empty())
    }

    /// The other nodes are told nothing more: this one says goodbye.
    pub fn fall_silent(&mut self) {
        self.news = None;
    }

    /// What the other nodes are told with a tick: what was gathered, and what the pointers of those who are here did.
    pub(super) fn take_news(&mut self, hidden: &BTreeSet<PeerId>, moves: &[Move]) -> Option<News> {
        let mut news = std::mem::take(self.news.as_mut()?);
        let is_here = |id: &PeerId| self.subscribers.contains_key(id);
        news.hidden = hidden.iter().copied().filter(is_here).collect();
        let moves = moves.iter().copied().filter(|(id, ..)| is_here(id));
        news.moves = moves.collect();
        (!news.is_empty()).then_some(news)
    }

    /// Everybody who is here, for the other nodes; `None` if there is nobody, or nobody is to be told. Takes the place of
    /// what was gathered for them.
    pub fn everybody(&mut self) -> Option<(Vec<Peer>, States)> {
        let news = self.news.as_mut()?;
        let is_here = |id: PeerId| self.subscribers.contains_key(&id);
        let peers = self.pointers.peers(is_here);
        let states = self.awareness.owned().filter(|(owner, _)| is_here(*owner));
        let states: States = states
            .map(|(owner, state)| (state.client, (owner, state.clone())))
            .collect();
        if peers.is_empty() && states.is_empty() {
            return None;
        }
        *news = News::default();
        Some((peers, states))
    }

    /// Another node has announced something. `newest_peer`: the highest id of any socket of this node so far. Returns whether
    /// a tick has to follow.
    pub fn heard(&mut self, announcement: Announcement, newest_peer: PeerId, now: Instant) -> bool {
        match announcement {
            Announcement::Here {
                node,
                peers,
                states,
            } => {
                let owners = states.values().map(|(owner, _)| *owner);
                let there: BTreeSet<_> = peers.iter().map(|peer| peer.id).chain(owners).collect();
                let old = self.awareness.remove_where(newest_peer, |client, owner| {
                    there.contains(&owner) && !states.contains_key(&client)
                });
                self.broadcast_awareness(&old, NOBODY);
                let left = self.elsewhere.here(node, there, now);
                let news = News {
                    joined: peers,
                    states,
                    left,
                    ..News::default()
                };
                self.apply(news, newest_peer);
            }
            Announcement::Changed { node, news } => {
                self.elsewhere.changed(node, &news, now);
                self.apply(news, newest_peer);
            }
            Announcement::Gone { node } => self.gone(node, newest_peer),
            Announcement::Opened => {}
        }
        self.pointers.has_changed()
    }

    /// A node left the cluster.
    pub fn gone(&mut self, node: Uuid, newest_peer: PeerId) {
        for id in self.elsewhere.gone(node) {
            self.remove(id, newest_peer);
        }
    }

    /// Removes the peers of nodes that were silent for too long.
    pub fn expire(&mut self, newest_peer: PeerId, now: Instant) {
        for id in self.elsewhere.expire(now) {
            self.remove(id, newest_peer);
        }
    }

    fn apply(&mut self, news: News, newest_peer: PeerId) {
        for peer in news.joined {
            if self.pointers.join_elsewhere(&peer) {
                self.broadcast(&BoardEvent::Joined { peer });
            }
        }
        for id in news.hidden {
            self.pointers.hide(id);
        }
        for (id, x, y) in news.moves {
            self.pointers.move_to(id, x, y);
        }
        let states = news.states.into_values();
        let changed = self.awareness.apply_elsewhere(newest_peer, states);
        self.broadcast_awareness(&changed, NOBODY);
        for id in news.left {
            self.remove(id, newest_peer);
        }
    }
}

#[cfg(test)]
#[path = "others_tests.rs"]
mod tests;
