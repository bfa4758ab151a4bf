//! The clients of a document and their carets, as the clients report them: the server's side of the awareness of
//! y-protocols.
//!
//! The rules for clocks are those of y-protocols (`applyAwarenessUpdate` in awareness.js): a higher clock wins, and
//! `null` at the same clock removes. In addition, each id belongs to the socket that last advanced its clock, and is
//! removed when that socket closes. y-websocket sends every state that it receives back again. Such an echo advances no
//! clock, so it does not take over an id. Removed ids are remembered for a while, so that an echo does not bring them
//! back.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::de::IgnoredAny;

use crate::collab::{
    message::PeerId,
    protocol::{ClientState, GONE},
};

/// The maximum number of ids for one socket. A page has one; a program may have a few.
const IDS: usize = 8;
/// The maximum length of a state, in bytes.
const STATE_BYTES: usize = 4 * 1024;
/// The maximum size of all states of a document together, in bytes. A new client gets them in one message, which must
/// fit into its queue.
const TOTAL_BYTES: usize = 512 * 1024;
/// The highest clock that is accepted from a client without a known state. A real client counts its moves, so this is
/// enough for years.
const FIRST_CLOCK: u64 = 1 << 32;
/// How far a socket may advance the clock of an id that belongs to another socket: a client that reconnects on a new
/// socket has moved in the meantime. Without a bound, a stranger could push another client's clock to the largest
/// number, and that client's own next state would be an error.
const FOREIGN_JUMP: u64 = 1 << 20;
/// The number of removed ids that are remembered. An echo arrives within a round trip.
const REMEMBERED: usize = 256;

/// The awareness of one document.
#[derive(Debug, Default)]
pub struct Awareness {
    clients: HashMap<u64, Client>,
    /// The size of the states of all clients together.
    bytes: usize,
    /// The ids that were removed last, oldest first.
    removed: VecDeque<Removed>,
}

#[derive(Debug)]
struct Client {
    state: ClientState,
    owner: PeerId,
}

#[derive(Debug)]
struct Removed {
    client: u64,
    clock: u64,
    /// Sockets of this node with a higher id were opened later. They never received the state, so what they send is not an
    /// echo. The ids of other nodes are not compared.
    newest_peer: PeerId,
}

/// Why a state was rejected. The states before it were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    #[error("an awareness state has at most {STATE_BYTES} bytes")]
    TooLong,
    /// Other clients parse it, and invalid JSON would break them.
    #[error("an awareness state is JSON")]
    NotJson,
    #[error("a connection speaks for at most {IDS} clients")]
    Ids,
    #[error("the awareness states of a document have at most {TOTAL_BYTES} bytes together")]
    Crowded,
}

impl Awareness {
    /// Applies states from a socket. Returns those that changed anything, to be sent to the others: the last one of
    /// each client. `newest_peer` is the highest id of any socket of this node so far.
    pub fn apply(
        &mut self,
        from: PeerId,
        newest_peer: PeerId,
        states: Vec<ClientState>,
    ) -> (Vec<ClientState>, Result<(), RejectReason>) {
        let (mut changed, mut result) = (BTreeMap::new(), Ok(()));
        for state in states {
            match self.apply_one(from, newest_peer, &state) {
                Ok(true) => drop(changed.insert(state.client, state)),
                Ok(false) => {}
                Err(reason) => {
                    result = Err(reason);
                    break;
                }
            }
        }
        (changed.into_values().collect(), result)
    }

    /// Applies states of sockets at other nodes, which have checked them. Returns those that changed anything. None of
    /// them is an echo: the node of a socket knows what it sent to it before. What exceeds the size of all states is left
    /// out.
    pub fn apply_elsewhere(
        &mut self,
        newest_peer: PeerId,
        states: impl IntoIterator<Item = (PeerId, ClientState)>,
    ) -> Vec<ClientState> {
        let mut changed = vec![];
        for (owner, state) in states {
            let known = self.clients.get(&state.client);
            let clock = known.map(|known| known.state.clock);
            let advances = clock.is_none_or(|clock| state.clock > clock);
            let applies = if state.state == GONE {
                let is_owner = known.is_some_and(|known| known.owner == owner);
                let removes = advances || (is_owner && clock == Some(state.clock));
                removes && self.remove(state.client, newest_peer).is_some()
            } else {
                advances && self.insert(owner, &state).is_ok()
            };
            if applies {
                changed.push(state);
            }
        }
        changed
    }

    /// Removes the ids of a socket. Returns the states that announce this to the others.
    pub fn leave(&mut self, peer: PeerId, newest_peer: PeerId) -> Vec<ClientState> {
        self.remove_where(newest_peer, |_, owner| owner == peer)
    }

    /// Removes the ids that a predicate names by client and owner. Returns the states that announce this to the others.
    pub fn remove_where(
        &mut self,
        newest_peer: PeerId,
        is_gone: impl Fn(u64, PeerId) -> bool,
    ) -> Vec<ClientState> {
        let clients = self.clients.iter();
        let gone = clients.filter(|(client, known)| is_gone(**client, known.owner));
        let mut gone: Vec<u64> = gone.map(|(client, _)| *client).collect();
        gone.sort_unstable();
        gone.into_iter()
            .filter_map(|client| self.remove(client, newest_peer))
            .collect()
    }

    /// The states of all clients.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &ClientState> {
        self.clients.values().map(|known| &known.state)
    }

    /// The states of all clients with their owners.
    pub fn owned(&self) -> impl Iterator<Item = (PeerId, &ClientState)> {
        let clients = self.clients.values();
        clients.map(|known| (known.owner, &known.state))
    }

    fn apply_one(
        &mut self,
        from: PeerId,
        newest_peer: PeerId,
        state: &ClientState,
    ) -> Result<bool, RejectReason> {
        let known = self.clients.get(&state.client);
        let (clock, owner) = match known {
            Some(known) => (Some(known.state.clock), Some(known.owner)),
            None => (self.removed_clock(state.client, from), None),
        };
        let most = match (clock, owner == Some(from)) {
            (_, true) => u64::MAX,
            (Some(clock), false) => clock.saturating_add(FOREIGN_JUMP),
            (None, false) => FIRST_CLOCK,
        };
        if state.clock > most {
            return Ok(false);
        }
        let advances = clock.is_none_or(|clock| state.clock > clock);
        if state.state == GONE {
            // At the same clock only the owner of the state may remove it.
            let removes = advances || (owner == Some(from) && clock == Some(state.clock));
            if !removes || known.is_none() {
                return Ok(false);
            }
            self.remove(state.client, newest_peer);
            return Ok(true);
        }
        if !advances {
            return Ok(false);
        }
        if state.state.len() > STATE_BYTES {
            return Err(RejectReason::TooLong);
        }
        if serde_json::from_str::<IgnoredAny>(&state.state).is_err() {
            return Err(RejectReason::NotJson);
        }
        let owned = |known: &&Client| known.owner == from;
        if owner != Some(from) && self.clients.values().filter(owned).count() >= IDS {
            return Err(RejectReason::Ids);
        }
        self.insert(from, state).map(|()| true)
    }

    fn insert(&mut self, owner: PeerId, state: &ClientState) -> Result<(), RejectReason> {
        let known = self.clients.get(&state.client);
        let before = known.map_or(0, |known| known.state.state.len());
        let bytes = self.bytes - before + state.state.len();
        if bytes > TOTAL_BYTES {
            return Err(RejectReason::Crowded);
        }
        self.bytes = bytes;
        let client = Client {
            state: state.clone(),
            owner,
        };
        self.clients.insert(state.client, client);
        Ok(())
    }

    /// The clock at which a client was removed, if a state from `from` may be an echo of the removed one.
    fn removed_clock(&self, client: u64, from: PeerId) -> Option<u64> {
        let mut latest_first = self.removed.iter().rev();
        let removed = latest_first.find(|removed| removed.client == client)?;
        (from <= removed.newest_peer).then_some(removed.clock)
    }

    fn remove(&mut self, client: u64, newest_peer: PeerId) -> Option<ClientState> {
        let ClientState { clock, state, .. } = self.clients.remove(&client)?.state;
        self.bytes -= state.len();
        if self.removed.len() == REMEMBERED {
            self.removed.pop_front();
        }
        self.removed.push_back(Removed {
            client,
            clock,
            newest_peer,
        });
        Some(ClientState {
            client,
            clock,
            state: GONE.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    const ANA: PeerId = 1;
    const BEN: PeerId = 2;
    /// A socket that was opened after all others in these tests.
    const LATER: PeerId = 9;

    fn state(client: u64, clock: u64, state: &str) -> ClientState {
        ClientState {
            client,
            clock,
            state: state.to_owned(),
        }
    }

    /// The states that were changed by a socket's states.
    fn apply(awareness: &mut Awareness, from: PeerId, states: &[ClientState]) -> Vec<ClientState> {
        let (changed, result) = awareness.apply(from, BEN.max(from), states.to_vec());
        assert_eq!(result, Ok(()));
        changed
    }

    #[test]
    fn a_higher_clock_wins_and_null_at_the_same_clock_removes() {
        let mut awareness = Awareness::default();
        let first = [state(7, 3, "{}")];
        assert_eq!(apply(&mut awareness, ANA, &first), first);
        assert_eq!(apply(&mut awareness, ANA, &[state(7, 2, "{\"a\":1}")]), []);
        assert_eq!(apply(&mut awareness, ANA, &[state(7, 3, "{\"a\":1}")]), []);
        let gone = [state(7, 3, GONE)];
        assert_eq!(apply(&mut awareness, ANA, &gone), gone);
        assert_eq!(awareness.states().len(), 0);
    }

    #[test]
    fn a_client_cannot_push_the_clock_of_another_to_the_maximum() {
        let mut awareness = Awareness::default();
        let mine = [state(7, 3, "{}")];
        apply(&mut awareness, ANA, &mine);
        for far in [FOREIGN_JUMP + 4, (1 << 53) - 1] {
            assert_eq!(apply(&mut awareness, BEN, &[state(7, far, "{}")]), []);
            assert_eq!(apply(&mut awareness, BEN, &[state(7, far, GONE)]), []);
        }
        assert_eq!(apply(&mut awareness, BEN, &[state(8, 1 << 53, "{}")]), []);
        // A new socket of the same page has advanced the clock.
        let back = [state(7, 40, "{}")];
        assert_eq!(apply(&mut awareness, LATER, &back), back);
    }

    #[test]
    fn invalid_json_is_refused() {
        let mut awareness = Awareness::default();
        for text in ["", "x", "{", "{}{}"] {
            let (changed, result) = awareness.apply(ANA, ANA, vec![state(7, 1, text)]);
            assert_eq!((changed, result), (vec![], Err(RejectReason::NotJson)));
        }
    }

    #[test]
    fn an_echo_takes_over_no_id_and_restores_no_removed_one() {
        let mut awareness = Awareness::default();
        let ana = [state(7, 3, "{}")];
        apply(&mut awareness, ANA, &ana);
        assert_eq!(apply(&mut awareness, BEN, &ana), []);
        assert_eq!(apply(&mut awareness, BEN, &[state(7, 3, GONE)]), []);
        assert_eq!(awareness.leave(BEN, BEN), []);
        assert_eq!(awareness.leave(ANA, BEN), [state(7, 3, GONE)]);
        assert_eq!(apply(&mut awareness, BEN, &ana), []);
        assert_eq!(awareness.states().len(), 0);
    }

    #[test]
    fn a_client_that_reconnects_with_the_same_clock_is_accepted_at_once() {
        let mut awareness = Awareness::default();
        let ana = [state(7, 3, "{}")];
        apply(&mut awareness, ANA, &ana);
        awareness.leave(ANA, BEN);
        assert_eq!(apply(&mut awareness, LATER, &ana), ana);
        // The new socket owns the id, so the late close of the old socket does not remove it.
        assert_eq!(awareness.leave(ANA, LATER), []);
        assert_eq!(awareness.leave(LATER, LATER), [state(7, 3, GONE)]);
    }

    #[test]
    fn a_socket_that_advances_the_clock_owns_the_id() {
        let mut awareness = Awareness::default();
        apply(&mut awareness, ANA, &[state(7, 3, "{}")]);
        apply(&mut awareness, BEN, &[state(7, 4, "{}")]);
        assert_eq!(awareness.leave(ANA, BEN), []);
        assert_eq!(awareness.leave(BEN, BEN), [state(7, 4, GONE)]);
    }

    #[test]
    fn a_state_of_another_node_follows_the_clocks_and_is_never_an_echo() {
        let mut awareness = Awareness::default();
        // Lower and higher than any id of a socket here.
        for elsewhere in [0, 1 << 50] {
            let mut apply_elsewhere =
                |state: &ClientState| awareness.apply_elsewhere(BEN, [(elsewhere, state.clone())]);
            let first = state(7, 3, "{}");
            assert_eq!(apply_elsewhere(&first), from_ref(&first));
            assert_eq!(apply_elsewhere(&first), []);
            assert_eq!(apply_elsewhere(&state(7, 2, GONE)), []);
            let gone = state(7, 3, GONE);
            assert_eq!(apply_elsewhere(&gone), from_ref(&gone));
            assert_eq!(apply_elsewhere(&gone), []);
            // The client has reconnected at that node with the clock that it had.
            assert_eq!(apply_elsewhere(&first), from_ref(&first));
            // An echo of a socket here takes the id over neither before nor after the removal.
            assert_eq!(apply(&mut awareness, ANA, from_ref(&first)), []);
            assert_eq!(awareness.leave(elsewhere, BEN), [gone]);
            assert_eq!(apply(&mut awareness, ANA, &[first]), []);
        }
    }

    #[test]
    fn an_id_moves_between_nodes_with_its_clock() {
        const ELSEWHERE: PeerId = 1 << 50;
        let mut awareness = Awareness::default();
        apply(&mut awareness, ANA, &[state(7, 3, "{}")]);
        let moved = state(7, 4, "{}");
        let changed = awareness.apply_elsewhere(BEN, [(ELSEWHERE, moved.clone())]);
        assert_eq!(changed, [moved]);
        assert_eq!(awareness.leave(ANA, BEN), []);
        let back = [state(7, 5, "{}")];
        assert_eq!(apply(&mut awareness, BEN, &back), back);
        let old = awareness.apply_elsewhere(BEN, [(ELSEWHERE, state(7, 4, GONE))]);
        assert_eq!(old, []);
        assert_eq!(awareness.leave(ELSEWHERE, BEN), []);
        assert_eq!(awareness.owned().next(), Some((BEN, &back[0])));
    }

    #[test]
    fn a_socket_has_few_ids_and_short_states() {
        let mut awareness = Awareness::default();
        let many: Vec<_> = (0..9).map(|client| state(client, 1, "{}")).collect();
        let (changed, result) = awareness.apply(ANA, BEN, many);
        assert_eq!((changed.len(), result), (8, Err(RejectReason::Ids)));
        // The socket may still change its own ids, and a removed one makes room for another.
        apply(&mut awareness, ANA, &[state(3, 2, "{}"), state(4, 1, GONE)]);
        apply(&mut awareness, ANA, &[state(8, 1, "{}")]);
        let long = state(3, 3, &"x".repeat(STATE_BYTES + 1));
        assert_eq!(
            awareness.apply(ANA, BEN, vec![long]).1,
            Err(RejectReason::TooLong)
        );
    }

    #[test]
    fn all_states_of_a_document_fit_into_a_newcomers_queue() {
        let mut awareness = Awareness::default();
        let text = format!("\"{}\"", "x".repeat(STATE_BYTES - 2));
        let most = (TOTAL_BYTES / STATE_BYTES) as u64;
        for client in 0..most {
            apply(&mut awareness, client + 1, &[state(client, 1, &text)]);
        }
        let one_more = vec![state(most, 1, "{}")];
        let refused = awareness.apply(most + 1, most + 1, one_more.clone());
        assert_eq!(refused, (vec![], Err(RejectReason::Crowded)));
        // A shorter state and a removed one make room.
        apply(&mut awareness, 1, &[state(0, 2, "{}")]);
        apply(&mut awareness, most + 1, &one_more);
        awareness.leave(2, most + 1);
        apply(&mut awareness, 3, &[state(2, 2, &text)]);
        apply(&mut awareness, most + 2, &[state(most + 1, 1, &text)]);
    }

    #[test]
    fn only_the_last_state_of_each_client_is_returned() {
        let mut awareness = Awareness::default();
        let steps: Vec<_> = (1..=1_000).map(|clock| state(7, clock, "{}")).collect();
        assert_eq!(apply(&mut awareness, ANA, &steps), [state(7, 1_000, "{}")]);
    }

    #[test]
    fn the_list_of_removed_ids_is_bounded() {
        let mut awareness = Awareness::default();
        for client in 0..10 * REMEMBERED as u64 {
            apply(&mut awareness, ANA, &[state(client, 1, "{}")]);
            apply(&mut awareness, ANA, &[state(client, 1, GONE)]);
        }
        assert_eq!(awareness.removed.len(), REMEMBERED);
    }
}
