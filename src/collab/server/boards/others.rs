//! Exchanges who is on the open boards with the other nodes of a cluster.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::{interval, timeout};

use super::Collab;
use crate::{
    bus::announcement,
    collab::{
        message::Peer,
        server::{
            board::Board,
            elsewhere::{Announcement, EXPIRE_EVERY, NODES, RENEW_EVERY},
            store::Store,
        },
    },
};

/// How long a page waits for the other nodes to say who is on its board.
const PAGE_WAITS: Duration = Duration::from_millis(500);

impl Collab {
    /// Exchanges the peers of a board with the other nodes that have it open, as long as it is open here.
    pub(super) async fn exchange(self, board: Arc<Board>) {
        let mut heard = board.listen();
        // The others answer with everybody who is there.
        board.announce(|_| Announcement::Opened);
        let mut questions = board.questions();
        let (mut renewals, mut rounds) = (interval(RENEW_EVERY), interval(EXPIRE_EVERY));
        loop {
            tokio::select! {
                announcement = heard.next() => match announcement {
                    Some(bytes) => self.heard(&board, &bytes),
                    None => return,
                },
                Some(question) = questions.next() => {
                    if let Ok(peers) = serde_json::to_vec(&board.roster().peers()) {
                        question.answer(peers.into());
                    }
                }
                _ = renewals.tick() => board.announce_everybody(),
                _ = rounds.tick() => board.roster().expire(self.newest_peer(), Instant::now()),
            }
        }
    }

    /// Who is on a board that is not open here: any node that has it open knows the peers at all nodes. Nobody if none has, or
    /// if the others do not answer in time for a page.
    pub(super) async fn peers_elsewhere(&self, name: &str) -> Vec<Peer> {
        let store = Store::new(self.0.bus.clone(), name);
        let asked = self.0.bus.ask(store.name(), Bytes::new());
        let answer = timeout(PAGE_WAITS, asked).await.ok().flatten();
        answer
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn heard(&self, board: &Arc<Board>, bytes: &[u8]) {
        match announcement::read(bytes) {
            Some(Announcement::Opened) => board.announce_everybody(),
            Some(announcement) => {
                let newest = self.newest_peer();
                let moved = board.roster().heard(announcement, newest, Instant::now());
                if moved {
                    self.schedule(board);
                }
            }
            None => {}
        }
    }

    /// Removes the peers of nodes that leave the cluster. Ends at once on a bus of one process.
    pub async fn follow_nodes(self) {
        let bus = &self.0.bus;
        let Some(_) = bus.node() else { return };
        let (mut heard, mut departures) = (bus.listen(NODES), bus.departures());
        loop {
            let gone = tokio::select! {
                announcement = heard.next() => match announcement {
                    Some(bytes) => announcement::read(&bytes),
                    None => return,
                },
                Some(node) = departures.next() => Some(Announcement::Gone { node }),
            };
            if let Some(Announcement::Gone { node }) = gone {
                for board in self.open_boards() {
                    board.roster().gone(node, self.newest_peer());
                }
            }
        }
    }

    /// Tells the other nodes that this one ends, so that its peers leave at once.
    pub(super) fn say_goodbye(&self) {
        for board in self.open_boards() {
            board.roster().fall_silent();
        }
        announcement::announce(&self.0.bus, NODES, |node| Announcement::Gone { node });
    }
}

#[cfg(test)]
#[path = "others_tests.rs"]
mod tests;
