//! Tests that all clients end with the same text, whatever happens to messages in transit.

#![allow(
    clippy::unwrap_used,
    reason = "in a test an unwrap is an assertion, in its helpers too"
)]

use proptest::prelude::*;
use yrs::{StateVector, updates::decoder::Decode};

use super::{document::Document, test_client::TestClient};

/// The next step. Numbers are taken modulo what exists.
#[derive(Clone, Debug)]
enum Step {
    Insert(usize, usize, String),
    Remove(usize, usize, usize),
    /// The oldest message in transit to or from a client arrives.
    Deliver(usize),
    /// It is lost.
    Drop(usize),
    /// It arrives now, and once more later.
    Double(usize),
    /// It moves behind the others.
    Delay(usize),
    /// The client reconnects: both sides send their state vectors and get what they lack.
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

/// Clients around a server, with the messages in transit between them.
struct World {
    server: Document,
    clients: Vec<TestClient>,
    /// For each client: the messages in transit to the server, and back.
    up: Vec<Vec<Vec<u8>>>,
    down: Vec<Vec<Vec<u8>>>,
}

impl World {
    fn new(clients: usize) -> Self {
        Self {
            server: Document::default(),
            clients: (1..=clients as u64).map(TestClient::new).collect(),
            up: vec![vec![]; clients],
            down: vec![vec![]; clients],
        }
    }

    fn apply(&mut self, step: Step) {
        let many = self.clients.len();
        match step {
            Step::Insert(who, at, text) => {
                let who = who % many;
                // Nobody can type between the two halves of a character.
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
            Step::Deliver(channel) => {
                if let Some((who, up, message)) = self.oldest(channel) {
                    self.arrive(who, up, &message);
                }
            }
            Step::Drop(channel) => drop(self.oldest(channel)),
            Step::Double(channel) => {
                if let Some((who, up, message)) = self.oldest(channel) {
                    self.arrive(who, up, &message);
                    self.channel(who, up).push(message);
                }
            }
            Step::Delay(channel) => {
                if let Some((who, up, message)) = self.oldest(channel) {
                    self.channel(who, up).push(message);
                }
            }
            Step::Reconnect(who) => self.reconnect(who % many),
        }
    }

    fn channel(&mut self, who: usize, up: bool) -> &mut Vec<Vec<u8>> {
        if up {
            &mut self.up[who]
        } else {
            &mut self.down[who]
        }
    }

    fn oldest(&mut self, channel: usize) -> Option<(usize, bool, Vec<u8>)> {
        let (who, up) = (
            (channel / 2) % self.clients.len(),
            channel.is_multiple_of(2),
        );
        let channel = self.channel(who, up);
        (!channel.is_empty())
            .then(|| channel.remove(0))
            .map(|message| (who, up, message))
    }

    fn arrive(&mut self, who: usize, up: bool, message: &[u8]) {
        if !up {
            return self.clients[who].apply(message);
        }
        let applied = self.server.take(message).unwrap();
        if let Some(change) = applied.change {
            let others = self.down.iter_mut().enumerate();
            others
                .filter(|(other, _)| *other != who)
                .for_each(|(_, channel)| channel.push(change.clone()));
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

/// The possible caret positions, in UTF-16 units.
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
        steps.into_iter().for_each(|step| world.apply(step));
        // At the end every client reconnects, twice, so that the first ones also get what the last ones brought.
        (0..2 * clients).for_each(|who| world.reconnect(who % clients));
        let text = world.server.text();
        let clocks = |bytes: &[u8]| StateVector::decode_v1(bytes).unwrap();
        let state_vector = clocks(&world.server.state_vector());
        for client in &world.clients {
            prop_assert_eq!(client.string(), text.clone());
            prop_assert_eq!(clocks(&client.state_vector()), state_vector.clone());
        }
        // A client that reads the log's snapshot has the same text.
        let newcomer = TestClient::new(99);
        newcomer.apply(&world.server.snapshot().unwrap());
        prop_assert_eq!(newcomer.string(), text);
    }
}
