//! Who is in a document and where their carets are, as their clients say: the awareness of y-protocols, on the server's side.
//!
//! The rules for clocks are y-protocols' (`applyAwarenessUpdate` in awareness.js): a higher clock wins, and `null` at the same
//! clock removes. On top of them each id belongs to a socket, the one that last advanced its clock, and goes when that socket
//! does. y-websocket sends every state that it hears of back again: such echoes advance nothing, so they take nobody's id, and
//! what was removed is remembered for a while, so that they do not bring it back.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::de::IgnoredAny;

use crate::collab::{
    message::PeerId,
    protocol::{ClientState, GONE},
};

/// Ids that one socket may have: a page has one, a program may speak for a few.
const IDS: usize = 8;
/// The longest state in bytes.
const STATE_BYTES: usize = 4 * 1024;
/// All states of a document together, in bytes: a newcomer gets them in one message, which has to fit into its queue.
const TOTAL_BYTES: usize = 512 * 1024;
/// Clocks up to here are taken from a client that is new here. A real one counts moves: this is years of them.
const FIRST_CLOCK: u64 = 1 << 32;
/// So far a socket may move the clock of a client that is not its own: whoever comes back on a new socket has moved meanwhile.
/// Any jump would let a stranger push somebody's clock to the end of numbers, where their own next word is an error.
const FOREIGN_JUMP: u64 = 1 << 20;
/// Removed ids that are remembered; an echo comes within a round trip.
const REMEMBERED: usize = 256;

/// The awareness of one document.
#[derive(Debug, Default)]
pub struct Awareness {
    clients: HashMap<u64, Client>,
    /// What the states of all clients come to.
    bytes: usize,
    /// What was removed lately, oldest first.
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
    /// Sockets with a higher id came later. They were never told of the state: what they send is no echo.
    newest_peer: PeerId,
}

/// Why a state was not taken; those before it were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    #[error("an awareness state has at most {STATE_BYTES} bytes")]
    TooLong,
    /// Other clients parse it, and trip over what is none.
    #[error("an awareness state is JSON")]
    NotJson,
    #[error("a connection speaks for at most {IDS} clients")]
    Ids,
    #[error("the awareness states of a document have at most {TOTAL_BYTES} bytes together")]
    Crowded,
}

impl Awareness {
    /// Takes states from a socket. Returns those that changed anything, for the others, the last of each client;
    /// `newest_peer` is the highest id that any socket has so far.
    pub fn take(
        &mut self,
        from: PeerId,
        newest_peer: PeerId,
        states: Vec<ClientState>,
    ) -> (Vec<ClientState>, Result<(), RejectReason>) {
        let (mut changed, mut taken) = (BTreeMap::new(), Ok(()));
        for state in states {
            match self.take_one(from, newest_peer, &state) {
                Ok(true) => drop(changed.insert(state.client, state)),
                Ok(false) => {}
                Err(unfit) => {
                    taken = Err(unfit);
                    break;
                }
            }
        }
        (changed.into_values().collect(), taken)
    }

    /// Removes what a socket spoke for. Returns what tells the others so.
    pub fn leave(&mut self, peer: PeerId, newest_peer: PeerId) -> Vec<ClientState> {
        let owned = self.clients.iter().filter(|(_, known)| known.owner == peer);
        let mut gone: Vec<u64> = owned.map(|(client, _)| *client).collect();
        gone.sort_unstable();
        gone.into_iter()
            .filter_map(|client| self.remove(client, newest_peer))
            .collect()
    }

    /// Everybody.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &ClientState> {
        self.clients.values().map(|known| &known.state)
    }

    fn take_one(
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
            // At the same clock only who owns the state may take it back.
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
        let before = known.map_or(0, |known| known.state.state.len());
        let bytes = self.bytes - before + state.state.len();
        if bytes > TOTAL_BYTES {
            return Err(RejectReason::Crowded);
        }
        self.bytes = bytes;
        let client = Client {
            state: state.clone(),
            owner: from,
        };
        self.clients.insert(state.client, client);
        Ok(true)
    }

    /// The clock at which a client was removed, if what `from` sends may be an echo of what it was.
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
    use super::*;

    const ANA: PeerId = 1;
    const BEN: PeerId = 2;
    /// A socket that came after everything else here.
    const LATER: PeerId = 9;

    fn state(client: u64, clock: u64, state: &str) -> ClientState {
        ClientState {
            client,
            clock,
            state: state.to_owned(),
        }
    }

    /// What a socket's states changed.
    fn take(awareness: &mut Awareness, from: PeerId, states: &[ClientState]) -> Vec<ClientState> {
        let (changed, taken) = awareness.take(from, BEN.max(from), states.to_vec());
        assert_eq!(taken, Ok(()));
        changed
    }

    #[test]
    fn a_higher_clock_wins_and_null_at_the_same_clock_removes() {
        let mut awareness = Awareness::default();
        let first = [state(7, 3, "{}")];
        assert_eq!(take(&mut awareness, ANA, &first), first);
        assert_eq!(take(&mut awareness, ANA, &[state(7, 2, "{\"a\":1}")]), []);
        assert_eq!(take(&mut awareness, ANA, &[state(7, 3, "{\"a\":1}")]), []);
        let gone = [state(7, 3, GONE)];
        assert_eq!(take(&mut awareness, ANA, &gone), gone);
        assert_eq!(awareness.states().len(), 0);
    }

    #[test]
    fn nobody_pushes_the_clock_of_another_to_the_end_of_numbers() {
        let mut awareness = Awareness::default();
        let mine = [state(7, 3, "{}")];
        take(&mut awareness, ANA, &mine);
        for far in [FOREIGN_JUMP + 4, (1 << 53) - 1] {
            assert_eq!(take(&mut awareness, BEN, &[state(7, far, "{}")]), []);
            assert_eq!(take(&mut awareness, BEN, &[state(7, far, GONE)]), []);
        }
        assert_eq!(take(&mut awareness, BEN, &[state(8, 1 << 53, "{}")]), []);
        // A new socket of the same page has moved on.
        let back = [state(7, 40, "{}")];
        assert_eq!(take(&mut awareness, LATER, &back), back);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let mut awareness = Awareness::default();
        for text in ["", "x", "{", "{}{}"] {
            let (changed, taken) = awareness.take(ANA, ANA, vec![state(7, 1, text)]);
            assert_eq!((changed, taken), (vec![], Err(RejectReason::NotJson)));
        }
    }

    #[test]
    fn an_echo_takes_no_id_and_brings_nobody_back() {
        let mut awareness = Awareness::default();
        let ana = [state(7, 3, "{}")];
        take(&mut awareness, ANA, &ana);
        assert_eq!(take(&mut awareness, BEN, &ana), []);
        assert_eq!(take(&mut awareness, BEN, &[state(7, 3, GONE)]), []);
        assert_eq!(awareness.leave(BEN, BEN), []);
        assert_eq!(awareness.leave(ANA, BEN), [state(7, 3, GONE)]);
        assert_eq!(take(&mut awareness, BEN, &ana), []);
        assert_eq!(awareness.states().len(), 0);
    }

    #[test]
    fn who_comes_back_with_the_same_clock_is_there_at_once() {
        let mut awareness = Awareness::default();
        let ana = [state(7, 3, "{}")];
        take(&mut awareness, ANA, &ana);
        awareness.leave(ANA, BEN);
        assert_eq!(take(&mut awareness, LATER, &ana), ana);
        // The new socket owns it: the old one's end, seen late, takes nothing away.
        assert_eq!(awareness.leave(ANA, LATER), []);
        assert_eq!(awareness.leave(LATER, LATER), [state(7, 3, GONE)]);
    }

    #[test]
    fn a_socket_that_advances_the_clock_owns_the_id() {
        let mut awareness = Awareness::default();
        take(&mut awareness, ANA, &[state(7, 3, "{}")]);
        take(&mut awareness, BEN, &[state(7, 4, "{}")]);
        assert_eq!(awareness.leave(ANA, BEN), []);
        assert_eq!(awareness.leave(BEN, BEN), [state(7, 4, GONE)]);
    }

    #[test]
    fn a_socket_speaks_for_few_clients_in_short_states() {
        let mut awareness = Awareness::default();
        let many: Vec<_> = (0..9).map(|client| state(client, 1, "{}")).collect();
        let (changed, taken) = awareness.take(ANA, BEN, many);
        assert_eq!((changed.len(), taken), (8, Err(RejectReason::Ids)));
        // What it has it may go on changing, and one that goes makes room for another.
        take(&mut awareness, ANA, &[state(3, 2, "{}"), state(4, 1, GONE)]);
        take(&mut awareness, ANA, &[state(8, 1, "{}")]);
        let long = state(3, 3, &"x".repeat(STATE_BYTES + 1));
        assert_eq!(
            awareness.take(ANA, BEN, vec![long]).1,
            Err(RejectReason::TooLong)
        );
    }

    #[test]
    fn all_states_of_a_document_fit_into_a_newcomers_queue() {
        let mut awareness = Awareness::default();
        let text = format!("\"{}\"", "x".repeat(STATE_BYTES - 2));
        let most = (TOTAL_BYTES / STATE_BYTES) as u64;
        for client in 0..most {
            take(&mut awareness, client + 1, &[state(client, 1, &text)]);
        }
        let one_more = vec![state(most, 1, "{}")];
        let refused = awareness.take(most + 1, most + 1, one_more.clone());
        assert_eq!(refused, (vec![], Err(RejectReason::Crowded)));
        // A shorter state and one that goes make room.
        take(&mut awareness, 1, &[state(0, 2, "{}")]);
        take(&mut awareness, most + 1, &one_more);
        awareness.leave(2, most + 1);
        take(&mut awareness, 3, &[state(2, 2, &text)]);
        take(&mut awareness, most + 2, &[state(most + 1, 1, &text)]);
    }

    #[test]
    fn the_others_are_told_of_a_client_once_however_often_it_changed() {
        let mut awareness = Awareness::default();
        let steps: Vec<_> = (1..=1_000).map(|clock| state(7, clock, "{}")).collect();
        assert_eq!(take(&mut awareness, ANA, &steps), [state(7, 1_000, "{}")]);
    }

    #[test]
    fn the_memory_of_the_removed_is_bounded() {
        let mut awareness = Awareness::default();
        for client in 0..10 * REMEMBERED as u64 {
            take(&mut awareness, ANA, &[state(client, 1, "{}")]);
            take(&mut awareness, ANA, &[state(client, 1, GONE)]);
        }
        assert_eq!(awareness.removed.len(), REMEMBERED);
    }
}
