//! The clients in the text and their carets, from the point of view of one client: the awareness protocol of
//! [y-protocols](https://github.com/yjs/y-protocols/blob/master/awareness.js).
//!
//! Pure. A client's state is accepted if its clock is higher than the known one, or if the clock is equal and the state
//! says that the client is gone. Each client renews its own state every 15 s and forgets clients that were silent for
//! 30 s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::position::RelativePosition;
use crate::collab::protocol::{ClientState, GONE, encode_awareness};
use realtime::json::decode;

/// The own state is sent again after this time, in milliseconds.
const RENEW_MS: f64 = 15_000.0;
/// A client that is silent for this long is considered gone, in milliseconds.
const FORGET_MS: f64 = 30_000.0;
/// The maximum number of clients that are remembered: a peer can claim any number of them.
const MOST_CLIENTS: usize = 2_048;

/// The state that our pages send, and the part of other clients' states that is understood. Anything else in a state is
/// ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    #[serde(default)]
    pub user: Option<StateUser>,
    /// The position in the text; `None` if the client is elsewhere.
    #[serde(default)]
    pub cursor: Option<Cursor>,
}

/// The `user` field that Yjs's editors set with `awareness.setLocalStateField('user', …)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateUser {
    #[serde(default)]
    pub name: Option<String>,
    /// `#rrggbb`.
    #[serde(default)]
    pub color: Option<String>,
    /// The user's id on this server. Yjs's own editors send none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A selection: the caret is at `head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub anchor: RelativePosition,
    pub head: RelativePosition,
}

/// The effect of received states, or of time that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwarenessChange {
    /// Another client joined, left or changed.
    pub changed: bool,
    /// The body of an awareness message to be sent.
    pub send: Option<Vec<u8>>,
}

/// The clients of a document.
pub struct Awareness {
    me: u64,
    clock: u64,
    /// `None` if this client is not present.
    state: Option<String>,
    renewed_at: f64,
    others: BTreeMap<u64, Other>,
}

struct Other {
    clock: u64,
    /// `None` if the client is gone. Kept until it would have been forgotten, so that a late state with an older clock
    /// does not bring it back.
    state: Option<State>,
    received_at: f64,
}

impl Awareness {
    pub fn new(me: u64) -> Self {
        Self {
            me,
            clock: 0,
            state: None,
            renewed_at: 0.0,
            others: BTreeMap::new(),
        }
    }

    /// Sets the own state; `None` removes it. Returns the message body to be sent, if the state changed.
    pub fn set(&mut self, state: Option<&State>, now: f64) -> Option<Vec<u8>> {
        let state = state.and_then(|state| serde_json::to_string(state).ok());
        if state == self.state {
            return None;
        }
        self.state = state;
        Some(self.encode_next(now))
    }

    /// A connection was opened. Returns the message body to be sent. It has a new clock, because the server may have
    /// announced this client as gone in the meantime.
    pub fn connected(&mut self, now: f64) -> Option<Vec<u8>> {
        self.state.is_some().then(|| self.encode_next(now))
    }

    /// Forgets the other clients: without a connection their states are unknown.
    pub fn disconnected(&mut self) {
        self.others.clear();
    }

    pub fn apply(&mut self, states: Vec<ClientState>, now: f64) -> AwarenessChange {
        let mut change = AwarenessChange::default();
        for ClientState {
            client,
            clock,
            state,
        } in states
        {
            let gone = state == GONE;
            if client == self.me {
                // A peer announced this client as gone, or has a later state of it. Sending a state with a higher clock
                // corrects that.
                let is_overtaken = clock > self.clock || (gone && clock == self.clock);
                self.clock = self.clock.max(clock);
                if is_overtaken && self.state.is_some() {
                    change.send = Some(self.encode_next(now));
                }
                continue;
            }
            let known = self.others.get(&client);
            let is_newer = match known {
                Some(known) => {
                    clock > known.clock || (clock == known.clock && gone && known.state.is_some())
                }
                None => self.others.len() < MOST_CLIENTS,
            };
            if !is_newer {
                continue;
            }
            // A state of an unknown shape is a client of which nothing is known.
            let state = (!gone).then(|| decode(&state).unwrap_or_default());
            change.changed |= known.and_then(|known| known.state.as_ref()) != state.as_ref();
            let other = Other {
                clock,
                state,
                received_at: now,
            };
            self.others.insert(client, other);
        }
        change
    }

    /// Handles the passing of time. Call it every few seconds.
    pub fn tick(&mut self, now: f64) -> AwarenessChange {
        let shown = |others: &BTreeMap<u64, Other>| {
            others
                .values()
                .filter(|other| other.state.is_some())
                .count()
        };
        let before = shown(&self.others);
        self.others
            .retain(|_, other| now - other.received_at < FORGET_MS);
        let renewal = self.state.is_some() && now - self.renewed_at >= RENEW_MS;
        AwarenessChange {
            changed: shown(&self.others) != before,
            send: renewal.then(|| self.encode_next(now)),
        }
    }

    /// The last state was not sent: the next [`Awareness::tick`] sends it again.
    pub fn unsent(&mut self) {
        self.renewed_at = f64::NEG_INFINITY;
    }

    /// The other clients that are present.
    pub fn others(&self) -> impl Iterator<Item = (u64, &State)> {
        let others = self.others.iter();
        others.filter_map(|(client, other)| Some((*client, other.state.as_ref()?)))
    }

    fn encode_next(&mut self, now: f64) -> Vec<u8> {
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

    fn states(client: u64, clock: u64, state: &str) -> Vec<ClientState> {
        vec![ClientState {
            client,
            clock,
            state: state.to_owned(),
        }]
    }

    fn names(awareness: &Awareness) -> Vec<String> {
        let name = |(_, state): (u64, &State)| state.user.clone()?.name;
        awareness.others().filter_map(name).collect()
    }

    fn sent(message: Option<Vec<u8>>) -> (u64, String) {
        let states = decode_awareness(&message.unwrap()).unwrap();
        assert_eq!((states.len(), states[0].client), (1, 1));
        (states[0].clock, states[0].state.clone())
    }

    const ADA: &str = r##"{"user":{"name":"Ada","color":"#123456"},"more":[1]}"##;

    #[test]
    fn a_state_that_was_not_sent_is_sent_at_the_next_tick() {
        let mut awareness = Awareness::new(1);
        sent(awareness.set(Some(&named("Ada")), 0.0));
        assert_eq!(awareness.tick(5_000.0).send, None);
        awareness.unsent();
        assert_eq!(sent(awareness.tick(10_000.0).send).0, 2);
        assert_eq!(awareness.tick(15_000.0).send, None);
    }

    #[test]
    fn a_higher_clock_wins_and_an_equal_one_only_removes() {
        let mut awareness = Awareness::new(1);
        assert!(awareness.apply(states(2, 5, ADA), 0.0).changed);
        assert_eq!(names(&awareness), ["Ada"]);
        for (clock, state, changed) in [(4, "null", false), (5, ADA, false), (6, ADA, false)] {
            assert_eq!(
                awareness.apply(states(2, clock, state), 0.0).changed,
                changed
            );
        }
        assert!(awareness.apply(states(2, 6, GONE), 0.0).changed);
        assert!(
            !awareness.apply(states(2, 6, ADA), 0.0).changed,
            "late news"
        );
        assert_eq!(awareness.others().count(), 0);
        assert!(awareness.apply(states(2, 7, ADA), 0.0).changed);
    }

    #[test]
    fn a_state_of_another_shape_is_still_a_client() {
        let mut awareness = Awareness::new(1);
        for (client, state) in [(2, "{}"), (3, "[]"), (4, r#"{"user":7}"#), (5, "no json")] {
            assert!(awareness.apply(states(client, 1, state), 0.0).changed);
        }
        assert_eq!(awareness.others().count(), 4);
    }

    #[test]
    fn the_own_state_is_sent_when_it_changes_and_renewed_in_time() {
        let mut awareness = Awareness::new(1);
        assert_eq!(awareness.connected(0.0), None);
        let (clock, state) = sent(awareness.set(Some(&named("Me")), 0.0));
        assert_eq!(clock, 1);
        assert_eq!(
            state,
            r#"{"user":{"name":"Me","color":null},"cursor":null}"#
        );
        assert_eq!(awareness.set(Some(&named("Me")), 1.0), None);
        assert_eq!(awareness.tick(14_999.0), AwarenessChange::default());
        assert_eq!(sent(awareness.tick(15_000.0).send).0, 2);
        assert_eq!(awareness.tick(16_000.0), AwarenessChange::default());
        assert_eq!(sent(awareness.connected(17_000.0)).0, 3);
        assert_eq!(sent(awareness.set(None, 18_000.0)), (4, GONE.to_owned()));
        assert_eq!(awareness.tick(90_000.0), AwarenessChange::default());
    }

    #[test]
    fn a_present_client_that_is_announced_as_gone_sends_its_state_again() {
        let mut awareness = Awareness::new(1);
        awareness.set(Some(&named("Me")), 0.0);
        assert_eq!(awareness.apply(states(1, 0, GONE), 0.0).send, None);
        assert_eq!(sent(awareness.apply(states(1, 1, GONE), 0.0).send).0, 2);
        assert_eq!(sent(awareness.apply(states(1, 8, GONE), 0.0).send).0, 9);
        // An echo of the own state changes nothing.
        assert_eq!(
            awareness.apply(states(1, 9, "{}"), 0.0),
            AwarenessChange::default()
        );
        awareness.set(None, 0.0);
        assert_eq!(awareness.apply(states(1, 20, GONE), 0.0).send, None);
    }

    #[test]
    fn silent_clients_are_forgotten_and_all_are_after_a_disconnect() {
        let mut awareness = Awareness::new(1);
        awareness.apply(states(2, 1, ADA), 0.0);
        awareness.apply(states(3, 1, ADA), 20_000.0);
        assert!(!awareness.tick(29_999.0).changed);
        assert!(awareness.tick(30_000.0).changed);
        assert_eq!(awareness.others().count(), 1);
        awareness.disconnected();
        assert_eq!(awareness.others().count(), 0);
        assert!(awareness.apply(states(2, 1, ADA), 31_000.0).changed);
    }
}
