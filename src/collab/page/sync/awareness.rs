//! Who is there and where their carets are, as one client knows it: the awareness protocol of
//! [y-protocols](https://github.com/yjs/y-protocols/blob/master/awareness.js).
//!
//! Pure. A state of a client counts when its clock is higher than the one known, or is the same and says that the client is
//! gone. Everybody renews their own every 15 s and forgets whoever was not heard of for 30 s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::position::RelativePosition;
use crate::collab::protocol::{ClientState, GONE, encode_awareness};

/// One's own state is told again after this, in milliseconds.
const RENEW_MS: f64 = 15_000.0;
/// Whoever is silent for so long is gone, in milliseconds.
const FORGET_MS: f64 = 30_000.0;
/// More clients than this are not remembered: their number is the word of whoever tells it.
const MOST_CLIENTS: usize = 2_048;

/// What our pages tell of themselves, and what is understood of others'. Anything else in a state is left alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    #[serde(default)]
    pub user: Option<StateUser>,
    /// Where they are in the text; `None` when they are elsewhere.
    #[serde(default)]
    pub cursor: Option<Cursor>,
}

/// As `awareness.setLocalStateField('user', …)` has it in Yjs's editors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateUser {
    #[serde(default)]
    pub name: Option<String>,
    /// `#rrggbb`.
    #[serde(default)]
    pub color: Option<String>,
    /// The user's id here; Yjs's own editors have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A selection: the caret is at `head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub anchor: RelativePosition,
    pub head: RelativePosition,
}

/// What follows from what was heard, or from the time that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Somebody else came, went or changed.
    pub changed: bool,
    /// To be sent: an awareness message's inside.
    pub send: Option<Vec<u8>>,
}

/// The clients of a document.
pub struct Presence {
    me: u64,
    clock: u64,
    /// `None`: not there.
    state: Option<String>,
    renewed_at: f64,
    others: BTreeMap<u64, Other>,
}

struct Other {
    clock: u64,
    /// `None`: gone. Kept until it would have been forgotten, so that late news of an older clock do not bring them back.
    state: Option<State>,
    heard_at: f64,
}

impl Presence {
    pub fn new(me: u64) -> Self {
        Self {
            me,
            clock: 0,
            state: None,
            renewed_at: 0.0,
            others: BTreeMap::new(),
        }
    }

    /// Sets one's own state; `None` leaves. Returns what is to be sent: nothing when it is the same.
    pub fn set(&mut self, state: Option<&State>, now: f64) -> Option<Vec<u8>> {
        let state = state.and_then(|state| serde_json::to_string(state).ok());
        if state == self.state {
            return None;
        }
        self.state = state;
        Some(self.tell(now))
    }

    /// A connection stands: what is to be sent. With a new clock, since the server may have called us gone meanwhile.
    pub fn connected(&mut self, now: f64) -> Option<Vec<u8>> {
        self.state.is_some().then(|| self.tell(now))
    }

    /// Who the others are is not known any more.
    pub fn disconnected(&mut self) {
        self.others.clear();
    }

    pub fn hear(&mut self, states: Vec<ClientState>, now: f64) -> Heard {
        let mut heard = Heard::default();
        for ClientState {
            client,
            clock,
            state,
        } in states
        {
            let gone = state == GONE;
            if client == self.me {
                // Somebody says that we are gone, or has a later word of ours than we: the next is ours again.
                let outrun = clock > self.clock || (gone && clock == self.clock);
                self.clock = self.clock.max(clock);
                if outrun && self.state.is_some() {
                    heard.send = Some(self.tell(now));
                }
                continue;
            }
            let known = self.others.get(&client);
            let news = match known {
                Some(known) => {
                    clock > known.clock || (clock == known.clock && gone && known.state.is_some())
                }
                None => self.others.len() < MOST_CLIENTS,
            };
            if !news {
                continue;
            }
            // A state of another shape is somebody of whom nothing is known.
            let state = (!gone).then(|| serde_json::from_str(&state).unwrap_or_default());
            heard.changed |= known.and_then(|known| known.state.as_ref()) != state.as_ref();
            let other = Other {
                clock,
                state,
                heard_at: now,
            };
            self.others.insert(client, other);
        }
        heard
    }

    /// Time passed: to be called every few seconds.
    pub fn tick(&mut self, now: f64) -> Heard {
        let shown = |others: &BTreeMap<u64, Other>| {
            others
                .values()
                .filter(|other| other.state.is_some())
                .count()
        };
        let before = shown(&self.others);
        self.others
            .retain(|_, other| now - other.heard_at < FORGET_MS);
        let renewal = self.state.is_some() && now - self.renewed_at >= RENEW_MS;
        Heard {
            changed: shown(&self.others) != before,
            send: renewal.then(|| self.tell(now)),
        }
    }

    /// Everybody else who is there.
    pub fn others(&self) -> impl Iterator<Item = (u64, &State)> {
        let others = self.others.iter();
        others.filter_map(|(client, other)| Some((*client, other.state.as_ref()?)))
    }

    fn tell(&mut self, now: f64) -> Vec<u8> {
        self.clock += 1;
        self.renewed_at = now;
        let state = ClientState {
            client: self.me,
            clock: self.clock,
            state: self.state.clone().unwrap_or_else(|| GONE.to_owned()),
        };
        encode_awareness([&state].into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collab::protocol::decode_awareness;

    fn named(name: &str) -> State {
        State {
            user: Some(StateUser {
                name: Some(name.to_owned()),
                ..StateUser::default()
            }),
            cursor: None,
        }
    }

    fn said(client: u64, clock: u64, state: &str) -> Vec<ClientState> {
        vec![ClientState {
            client,
            clock,
            state: state.to_owned(),
        }]
    }

    fn names(presence: &Presence) -> Vec<String> {
        let name = |(_, state): (u64, &State)| state.user.clone()?.name;
        presence.others().filter_map(name).collect()
    }

    fn sent(message: Option<Vec<u8>>) -> (u64, String) {
        let states = decode_awareness(&message.unwrap()).unwrap();
        assert_eq!((states.len(), states[0].client), (1, 1));
        (states[0].clock, states[0].state.clone())
    }

    const ADA: &str = r##"{"user":{"name":"Ada","color":"#123456"},"more":[1]}"##;

    #[test]
    fn a_higher_clock_wins_and_the_same_only_says_gone() {
        let mut presence = Presence::new(1);
        assert!(presence.hear(said(2, 5, ADA), 0.0).changed);
        assert_eq!(names(&presence), ["Ada"]);
        for (clock, state, changed) in [(4, "null", false), (5, ADA, false), (6, ADA, false)] {
            assert_eq!(presence.hear(said(2, clock, state), 0.0).changed, changed);
        }
        assert!(presence.hear(said(2, 6, GONE), 0.0).changed);
        assert!(!presence.hear(said(2, 6, ADA), 0.0).changed, "late news");
        assert_eq!(presence.others().count(), 0);
        assert!(presence.hear(said(2, 7, ADA), 0.0).changed);
    }

    #[test]
    fn a_state_of_another_shape_is_somebody() {
        let mut presence = Presence::new(1);
        for (client, state) in [(2, "{}"), (3, "[]"), (4, r#"{"user":7}"#), (5, "no json")] {
            assert!(presence.hear(said(client, 1, state), 0.0).changed);
        }
        assert_eq!(presence.others().count(), 4);
    }

    #[test]
    fn ones_own_state_is_told_when_it_changes_and_renewed_in_time() {
        let mut presence = Presence::new(1);
        assert_eq!(presence.connected(0.0), None);
        let (clock, state) = sent(presence.set(Some(&named("Me")), 0.0));
        assert_eq!(clock, 1);
        assert_eq!(
            state,
            r#"{"user":{"name":"Me","color":null},"cursor":null}"#
        );
        assert_eq!(presence.set(Some(&named("Me")), 1.0), None);
        assert_eq!(presence.tick(14_999.0), Heard::default());
        assert_eq!(sent(presence.tick(15_000.0).send).0, 2);
        assert_eq!(presence.tick(16_000.0), Heard::default());
        assert_eq!(sent(presence.connected(17_000.0)).0, 3);
        assert_eq!(sent(presence.set(None, 18_000.0)), (4, GONE.to_owned()));
        assert_eq!(presence.tick(90_000.0), Heard::default());
    }

    #[test]
    fn who_is_called_gone_while_there_says_so_again() {
        let mut presence = Presence::new(1);
        presence.set(Some(&named("Me")), 0.0);
        assert_eq!(presence.hear(said(1, 0, GONE), 0.0).send, None);
        assert_eq!(sent(presence.hear(said(1, 1, GONE), 0.0).send).0, 2);
        assert_eq!(sent(presence.hear(said(1, 8, GONE), 0.0).send).0, 9);
        // Our own word that comes back is nothing new.
        assert_eq!(presence.hear(said(1, 9, "{}"), 0.0), Heard::default());
        presence.set(None, 0.0);
        assert_eq!(presence.hear(said(1, 20, GONE), 0.0).send, None);
    }

    #[test]
    fn who_is_silent_for_too_long_is_gone_and_nobody_is_there_after_a_cut() {
        let mut presence = Presence::new(1);
        presence.hear(said(2, 1, ADA), 0.0);
        presence.hear(said(3, 1, ADA), 20_000.0);
        assert!(!presence.tick(29_999.0).changed);
        assert!(presence.tick(30_000.0).changed);
        assert_eq!(presence.others().count(), 1);
        presence.disconnected();
        assert_eq!(presence.others().count(), 0);
        assert!(presence.hear(said(2, 1, ADA), 31_000.0).changed);
    }
}
