//! For tests: whatever happens to messages on the way, everybody ends with the same text.

#![allow(
    clippy::unwrap_used,
    reason = "in a test an unwrap is an assertion, in its helpers too"
)]

use proptest::prelude::*;
use yrs::{StateVector, updates::decoder::Decode};

use super::{document::Document, test_client::Client};

/// What may happen next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Insert(usize, usize, String),
    Remove(usize, usize, usize),
    /// The oldest message on the way to or from a client arrives.
    Deliver(usize),
    /// It is lost.
    Drop(usize),
    /// It arrives, and once more later.
    Double(usize),
    /// It falls behind the others.
    Delay(usize),
    /// The client connects anew: both say what they have and get what they lack.
    Reconnect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>;
    prop_oneof![
        4 => (any(), any(), "[a-zäß世🦀\\n]{1,4}").prop_map(|(who, at, text)| Step::Insert(who, at, text)),
        2 => (any(), any(), 1..5_usize).prop_map(|(who, at, length)| Step::Remove(who, at, length)),
        4 => any().prop_map(Step::Deliver),
        1 => any().prop_map(Step::Drop),
        1 => any().prop_map(Step::Double),
        1 => any().prop_map(Step::Delay),
        1 => any().prop_map(Step::Reconnect),
    ]
}

/// Clients around a server, and what is on the way between them.
struct World {
    server: Document,
    clients: Vec<Client>,
    /// For each client: what is on the way to the server, and back.
    up: Vec<Vec<Vec<u8>>>,
    down: Vec<Vec<Vec<u8>>>,
}

impl World {
    fn new(clients: usize) -> Self {
        Self {
            server: Document::default(),
            clients: (1..=clients as u64).map(Client::new).collect(),
            up: vec![vec![]; clients],
            down: vec![vec![]; clients],
        }
    }

    fn take(&mut self, step: Step) {
        let many = self.clients.len();
        match step {
            Step::Insert(who, at, text) => {
                let who = who % many;
                // Between two halves of a character nobody can type.
                let boundaries = boundaries(&self.clients[who].string());
                let at = boundaries[at % boundaries.len()];
                let update = self.clients[who].insert(at, &text);
                self.up[who].push(update);
            }
            Step::Remove(who, at, length) => {
                let who = who % many;
                let boundaries = boundaries(&self.clients[who].string());
                let from = at % boundaries.len();
                let to = (from + length).min(boundaries.len() - 1);
                if from < to {
                    let length = boundaries[to] - boundaries[from];
                    let update = self.clients[who].remove(boundaries[from], length);
                    self.up[who].push(update);
                }
            }
            Step::Deliver(lane) => {
                if let Some((who, up, message)) = self.oldest(lane) {
                    self.arrive(who, up, &message);
                }
            }
            Step::Drop(lane) => drop(self.oldest(lane)),
            Step::Double(lane) => {
                if let Some((who, up, message)) = self.oldest(lane) {
                    self.arrive(who, up, &message);
                    self.lane(who, up).push(message);
                }
            }
            Step::Delay(lane) => {
                if let Some((who, up, message)) = self.oldest(lane) {
                    self.lane(who, up).push(message);
                }
            }
            Step::Reconnect(who) => self.reconnect(who % many),
        }
    }

    fn lane(&mut self, who: usize, up: bool) -> &mut Vec<Vec<u8>> {
        if up {
            &mut self.up[who]
        } else {
            &mut self.down[who]
        }
    }

    fn oldest(&mut self, lane: usize) -> Option<(usize, bool, Vec<u8>)> {
        let (who, up) = ((lane / 2) % self.clients.len(), lane.is_multiple_of(2));
        let lane = self.lane(who, up);
        (!lane.is_empty())
            .then(|| lane.remove(0))
            .map(|message| (who, up, message))
    }

    fn arrive(&mut self, who: usize, up: bool, message: &[u8]) {
        if !up {
            return self.clients[who].apply(message);
        }
        let taken = self.server.take(message).unwrap();
        if let Some(change) = taken.change {
            let others = self.down.iter_mut().enumerate();
            others
                .filter(|(other, _)| *other != who)
                .for_each(|(_, lane)| lane.push(change.clone()));
        }
    }

    fn reconnect(&mut self, who: usize) {
        self.up[who].clear();
        self.down[who].clear();
        let answer = self
            .server
            .difference(&self.clients[who].state_vector())
            .unwrap();
        self.clients[who].apply(&answer);
        let answer = self.clients[who].difference(&self.server.state_vector());
        self.arrive(who, true, &answer);
    }
}

/// Where a caret may stand, in UTF-16 units.
fn boundaries(text: &str) -> Vec<u32> {
    let ends = text.chars().scan(0, |at, character| {
        *at += character.len_utf16() as u32;
        Some(*at)
    });
    std::iter::once(0).chain(ends).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn everybody_ends_with_the_same_text_whatever_is_lost_doubled_or_late(
        clients in 3..=6_usize,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(clients);
        steps.into_iter().for_each(|step| world.take(step));
        // At last everybody connects anew; twice, so that the first have what the last brought.
        (0..2 * clients).for_each(|who| world.reconnect(who % clients));
        let text = world.server.text();
        let clocks = |bytes: &[u8]| StateVector::decode_v1(bytes).unwrap();
        let state_vector = clocks(&world.server.state_vector());
        for client in &world.clients {
            prop_assert_eq!(client.string(), text.clone());
            prop_assert_eq!(clocks(&client.state_vector()), state_vector.clone());
        }
        // And so does who reads it from the log's snapshot.
        let newcomer = Client::new(99);
        newcomer.apply(&world.server.snapshot().unwrap());
        prop_assert_eq!(newcomer.string(), text);
    }
}
