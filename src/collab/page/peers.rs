//! Everybody else on the board, with their pointers: a signal each, so that a move touches one.

use std::time::Duration;

use leptos::prelude::*;

use super::{
    browser::prefers_reduced_motion,
    interpolate::{Glide, Place},
};
use crate::collab::message::{BoardEvent, Move, Peer, PeerId};

/// A pointer that was not heard of for so long is not shown any more, in milliseconds: whoever it is of looks elsewhere.
const STALE_MS: f64 = 60_000.0;
/// How often that is looked at.
const STALE_EVERY: Duration = Duration::from_secs(5);

/// Everybody but oneself. All copies are one.
#[derive(Clone, Copy)]
pub struct Peers {
    all: RwSignal<Vec<PeerRow>>,
    /// Those that glide; one loop of animation frames moves them all.
    gliding: StoredValue<Vec<PeerRow>>,
}

/// One of them.
#[derive(Clone, Copy)]
pub struct PeerRow {
    pub id: PeerId,
    pub peer: RwSignal<Peer>,
    /// How far it is shown from its place, while it glides there.
    pub behind: RwSignal<Place>,
    pub stale: RwSignal<bool>,
    glide: StoredValue<Option<Glide>>,
    heard_at: StoredValue<f64>,
}

impl Peers {
    pub fn new(peers: Vec<Peer>) -> Self {
        // What the page was rendered with is as good as heard now: the clock is the browser's, and begins in the effect.
        let rows = peers.into_iter().map(|peer| PeerRow::new(peer, 0.0));
        let this = Self {
            all: RwSignal::new(rows.collect()),
            gliding: StoredValue::new(vec![]),
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

    /// Whoever is shown already keeps their signals: a keyed row never looks for others.
    pub fn replace(self, peers: Vec<Peer>) {
        let now = js_sys::Date::now();
        let row_of = |peer: Peer| match self.find(peer.id) {
            Some(known) => {
                known.hear(peer, now);
                known
            }
            None => PeerRow::new(peer, now),
        };
        self.all.set(peers.into_iter().map(row_of).collect());
    }

    /// Takes what the server says of others; of oneself it finds nothing, and does nothing.
    pub fn take(self, event: BoardEvent) {
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
            Some(known) => known.hear(peer, now),
            None => self.all.update(|rows| rows.push(PeerRow::new(peer, now))),
        }
    }

    fn moved(self, moves: Vec<Move>) {
        let now = js_sys::Date::now();
        // Nobody sees a hidden tab's pointers glide, and no animation frame ends it there.
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
        let idle = self.gliding.try_update_value(|gliding| {
            let idle = gliding.is_empty();
            for row in begun {
                if !gliding.iter().any(|known| known.id == row.id) {
                    gliding.push(row);
                }
            }
            idle
        });
        if idle == Some(true) {
            request_animation_frame(move || self.glide());
        }
    }

    /// One animation frame.
    fn glide(self) {
        let now = js_sys::Date::now();
        let more = self.gliding.try_update_value(|gliding| {
            gliding.retain(|row| row.glide_on(now));
            !gliding.is_empty()
        });
        if more == Some(true) {
            request_animation_frame(move || self.glide());
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
            glide: StoredValue::new(None),
            heard_at: StoredValue::new(now),
        }
    }

    fn hear(self, peer: Peer, now: f64) {
        self.hide();
        self.peer.set(peer);
        self.fresh(now);
    }

    /// Says whether it glides now.
    fn move_to(self, place: Place, now: f64, jumps: bool) -> bool {
        self.fresh(now);
        let shown = self.peer.with_untracked(|peer| peer.x.zip(peer.y));
        let glide = match (shown, self.glide.get_value()) {
            (Some(_), Some(glide)) if !jumps => glide.aim(place, now),
            (Some(from), None) if !jumps => Glide::rest(from, now).aim(place, now),
            _ => Glide::rest(place, now),
        };
        self.glide.set_value(Some(glide));
        self.behind.set(glide.behind(now));
        self.peer
            .update(|peer| (peer.x, peer.y) = (Some(place.0), Some(place.1)));
        !glide.is_over(now)
    }

    /// Says whether it goes on.
    fn glide_on(self, now: f64) -> bool {
        // The row may be gone by then.
        let Some(Some(glide)) = self.glide.try_get_value() else {
            return false;
        };
        let _ = self.behind.try_set(glide.behind(now));
        !glide.is_over(now)
    }

    fn hide(self) {
        self.glide.set_value(None);
        self.behind.set((0.0, 0.0));
        self.peer.update(|peer| (peer.x, peer.y) = (None, None));
    }

    fn fresh(self, now: f64) {
        self.heard_at.set_value(now);
        if self.stale.get_untracked() {
            self.stale.set(false);
        }
    }

    fn expire(self, now: f64) {
        let heard_at = self.heard_at.try_get_value().unwrap_or(now);
        if heard_at == 0.0 {
            self.heard_at.set_value(now);
        } else if now - heard_at > STALE_MS && self.stale.try_get_untracked() == Some(false) {
            self.stale.set(true);
        }
    }
}
