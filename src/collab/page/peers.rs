//! The other peers on the board with their pointers. Each has its own signals, so that a move updates one pointer only.

use std::time::Duration;

use leptos::prelude::*;

use super::{
    browser::prefers_reduced_motion,
    interpolate::{Interpolation, Position},
};
use crate::collab::message::{BoardEvent, Move, Peer, PeerId};

/// A pointer is hidden after this long without an update, in milliseconds: its user is looking elsewhere.
const STALE_MS: f64 = 60_000.0;
/// How often stale pointers are searched.
const STALE_EVERY: Duration = Duration::from_secs(5);

/// All peers except the own one. Cheap to copy; all copies share one state.
#[derive(Clone, Copy)]
pub struct Peers {
    all: RwSignal<Vec<PeerRow>>,
    /// The pointers in motion. One loop of animation frames moves them all.
    moving: StoredValue<Vec<PeerRow>>,
}

/// One peer with its signals.
#[derive(Clone, Copy)]
pub struct PeerRow {
    pub id: PeerId,
    pub peer: RwSignal<Peer>,
    /// The offset of the drawn position from the received one, while the pointer moves.
    pub behind: RwSignal<Position>,
    pub stale: RwSignal<bool>,
    interpolation: StoredValue<Option<Interpolation>>,
    updated_at: StoredValue<f64>,
}

impl Peers {
    pub fn new(peers: Vec<Peer>) -> Self {
        // The rendered peers count as just received. The timestamps use the browser's clock, so they are set in the
        // effect.
        let rows = peers.into_iter().map(|peer| PeerRow::new(peer, 0.0));
        let this = Self {
            all: RwSignal::new(rows.collect()),
            moving: StoredValue::new(vec![]),
        };
        Effect::new(move |_| {
            let every = set_interval_with_handle(move || this.expire(), STALE_EVERY);
            on_cleanup(move || {
                if let Ok(every) = every {
                    every.clear();
                }
            });
        });
        this
    }

    pub fn rows(self) -> Vec<PeerRow> {
        self.all.get()
    }

    /// Peers that are already displayed keep their signals, because a keyed row never switches to other ones.
    pub fn replace(self, peers: Vec<Peer>) {
        let now = js_sys::Date::now();
        let row_of = |peer: Peer| match self.find(peer.id) {
            Some(known) => {
                known.set_peer(peer, now);
                known
            }
            None => PeerRow::new(peer, now),
        };
        self.all.set(peers.into_iter().map(row_of).collect());
    }

    /// Applies an event about another peer. Events about the own peer match no row and have no effect.
    pub fn apply(self, event: BoardEvent) {
        match event {
            BoardEvent::Joined { peer } => self.enter(peer),
            BoardEvent::Moved { moves } => self.moved(moves),
            BoardEvent::Hidden { id } => {
                if let Some(row) = self.find(id) {
                    row.hide();
                }
            }
            BoardEvent::Left { id } => self.all.update(|rows| rows.retain(|row| row.id != id)),
            BoardEvent::Saved { .. } => {}
        }
    }

    fn enter(self, peer: Peer) {
        let now = js_sys::Date::now();
        match self.find(peer.id) {
            Some(known) => known.set_peer(peer, now),
            None => self.all.update(|rows| rows.push(PeerRow::new(peer, now))),
        }
    }

    fn moved(self, moves: Vec<Move>) {
        let now = js_sys::Date::now();
        // In a hidden tab nobody sees the movement, and without animation frames it would never end.
        let jumps = prefers_reduced_motion() || document().hidden();
        let mut begun = vec![];
        for (id, x, y) in moves {
            let Some(row) = self.find(id) else { continue };
            if row.move_to((x, y), now, jumps) {
                begun.push(row);
            }
        }
        if begun.is_empty() {
            return;
        }
        let idle = self.moving.try_update_value(|moving| {
            let idle = moving.is_empty();
            for row in begun {
                if !moving.iter().any(|known| known.id == row.id) {
                    moving.push(row);
                }
            }
            idle
        });
        if idle == Some(true) {
            request_animation_frame(move || self.animate());
        }
    }

    /// Runs once per animation frame.
    fn animate(self) {
        let now = js_sys::Date::now();
        let more = self.moving.try_update_value(|moving| {
            moving.retain(|row| row.advance(now));
            !moving.is_empty()
        });
        if more == Some(true) {
            request_animation_frame(move || self.animate());
        }
    }

    fn expire(self) {
        let now = js_sys::Date::now();
        let rows = self.all.try_get_untracked().unwrap_or_default();
        rows.into_iter().for_each(|row| row.expire(now));
    }

    fn find(self, wanted: PeerId) -> Option<PeerRow> {
        self.all.with_untracked(|rows| {
            let found = rows.iter().find(|row| row.id == wanted);
            found.copied()
        })
    }
}

impl PeerRow {
    fn new(peer: Peer, now: f64) -> Self {
        Self {
            id: peer.id,
            peer: RwSignal::new(peer),
            behind: RwSignal::new((0.0, 0.0)),
            stale: RwSignal::new(false),
            interpolation: StoredValue::new(None),
            updated_at: StoredValue::new(now),
        }
    }

    fn set_peer(self, peer: Peer, now: f64) {
        self.hide();
        self.peer.set(peer);
        self.mark_fresh(now);
    }

    /// Returns whether the pointer is in motion now.
    fn move_to(self, position: Position, now: f64, jumps: bool) -> bool {
        self.mark_fresh(now);
        let shown = self.peer.with_untracked(|peer| peer.x.zip(peer.y));
        let interpolation = match (shown, self.interpolation.get_value()) {
            (Some(_), Some(interpolation)) if !jumps => interpolation.move_to(position, now),
            (Some(from), None) if !jumps => Interpolation::rest(from, now).move_to(position, now),
            _ => Interpolation::rest(position, now),
        };
        self.interpolation.set_value(Some(interpolation));
        self.behind.set(interpolation.behind(now));
        self.peer
            .update(|peer| (peer.x, peer.y) = (Some(position.0), Some(position.1)));
        !interpolation.is_over(now)
    }

    /// Returns whether the pointer is still in motion.
    fn advance(self, now: f64) -> bool {
        // The row may have been disposed by then.
        let Some(Some(interpolation)) = self.interpolation.try_get_value() else {
            return false;
        };
        let _ = self.behind.try_set(interpolation.behind(now));
        !interpolation.is_over(now)
    }

    fn hide(self) {
        self.interpolation.set_value(None);
        self.behind.set((0.0, 0.0));
        self.peer.update(|peer| (peer.x, peer.y) = (None, None));
    }

    fn mark_fresh(self, now: f64) {
        self.updated_at.set_value(now);
        if self.stale.get_untracked() {
            self.stale.set(false);
        }
    }

    fn expire(self, now: f64) {
        let updated_at = self.updated_at.try_get_value().unwrap_or(now);
        if updated_at == 0.0 {
            self.updated_at.set_value(now);
        } else if now - updated_at > STALE_MS && self.stale.try_get_untracked() == Some(false) {
            self.stale.set(true);
        }
    }
}
