//! Everybody who is connected to one board, and what each is told: pointers, awareness, updates, what is saved. All of it in
//! memory, behind one lock; what is durable is in `board.rs`.

use std::collections::{HashMap, VecDeque};

use axum::extract::ws::Message as Frame;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    awareness::{Awareness, Unfit},
    cursors::Cursors,
    message::{BoardEvent, Peer, PeerId},
    protocol::{ClientState, Message, encode_awareness},
};
use crate::{
    realtime::server::queue::{OutQueue, encode},
    session::User,
};

/// Those whom a newcomer is told of: more would not fit into its queue, nor be seen on a board.
const MOST_PEERS: usize = 2_000;

/// The people of one board.
#[derive(Default)]
pub struct People {
    cursors: Cursors,
    awareness: Awareness,
    listeners: HashMap<PeerId, Listener>,
    durable: Durable,
}

/// What is on disk.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// The newest change that is; changes are counted since the board was opened.
    sequence: u64,
    /// In base64, once for all who are told.
    state_vector: String,
}

impl Durable {
    pub fn new(sequence: u64, state_vector: &[u8]) -> Self {
        Self {
            sequence,
            state_vector: BASE64_STANDARD.encode(state_vector),
        }
    }
}

struct Listener {
    queue: OutQueue,
    /// Speaks our subprotocol; the others are Yjs clients and get binary messages only.
    ours: bool,
    /// Updates that came from here, taken or refused.
    came: u64,
    /// The changes that came from here and are not on disk yet.
    unsaved: VecDeque<u64>,
    /// How many are.
    saved: u64,
}

impl People {
    /// Everybody with a pointer.
    pub fn peers(&self) -> Vec<Peer> {
        // Peer ids begin at 1: nobody is left out.
        self.cursors.peers(0)
    }

    /// Somebody of ours, who is greeted with the others.
    pub fn enter(
        &mut self,
        id: PeerId,
        user: User,
        queue: OutQueue,
        welcome: impl FnOnce(Vec<Peer>) -> Frame,
    ) {
        let peer = self.cursors.enter(id, user);
        self.tell(&BoardEvent::Joined { peer });
        let mut others = self.cursors.peers(id);
        others.truncate(MOST_PEERS);
        // Before anybody else has the queue: what they tell comes after it, or is in it.
        queue.push(welcome(others));
        self.listen(id, queue, true);
    }

    /// A Yjs client: no pointer, but perhaps a caret.
    pub fn enter_yjs(&mut self, id: PeerId, queue: OutQueue) {
        self.listen(id, queue, false);
    }

    /// Tells a newcomer who is here and what is saved, after its welcome.
    pub fn brief(&mut self, id: PeerId) {
        let states = encode_states(self.awareness.states());
        let saved = self.saved_event(id);
        if let Some(listener) = self.listeners.get(&id) {
            listener.queue.push(states);
            saved.inspect(|saved| listener.queue.push_json(saved));
        }
    }

    /// Gone for everybody.
    pub fn leave(&mut self, id: PeerId, newest_peer: PeerId) {
        if let Some(listener) = self.listeners.remove(&id)
            && listener.ours
        {
            self.cursors.leave(id);
            self.tell(&BoardEvent::Left { id });
        }
        let gone = self.awareness.leave(id, newest_peer);
        self.tell_awareness(&gone, id);
    }

    /// Moves a pointer. Says whether it is the first since the last tick.
    pub fn move_to(&mut self, id: PeerId, x: f32, y: f32) -> bool {
        self.cursors.move_to(id, x, y)
    }

    /// Hides a pointer. Says whether it was shown.
    pub fn hide(&mut self, id: PeerId) -> bool {
        self.cursors.hide(id)
    }

    /// Tells everybody who hid since the last tick, and who moved, the latter in one message.
    pub fn tick(&mut self) {
        for id in self.cursors.take_hidden() {
            self.tell(&BoardEvent::Hidden { id });
        }
        let moves = self.cursors.take_moves();
        if moves.is_empty() {
            return;
        }
        let change = encode(&BoardEvent::Moved { moves });
        // Encoded at most once too, and only if somebody is slow.
        let mut whole: Option<Frame> = None;
        for listener in self.ours() {
            listener.queue.push_volatile(&change, || {
                whole
                    .get_or_insert_with(|| {
                        encode(&BoardEvent::Moved {
                            moves: self.cursors.places(),
                        })
                    })
                    .clone()
            });
        }
    }

    /// Takes awareness states from a socket and tells the others.
    pub fn aware(
        &mut self,
        from: PeerId,
        newest_peer: PeerId,
        states: Vec<ClientState>,
    ) -> Result<(), Unfit> {
        let (changed, taken) = self.awareness.take(from, newest_peer, states);
        self.tell_awareness(&changed, from);
        taken
    }

    /// Tells one socket everybody's state.
    pub fn answer_awareness(&self, id: PeerId) {
        if let Some(listener) = self.listeners.get(&id) {
            listener.queue.push(encode_states(self.awareness.states()));
        }
    }

    /// Tells everybody but its sender of an update.
    pub fn tell_update(&self, update: &[u8], from: PeerId) {
        let frame = Frame::Binary(Message::Update(update).encode().into());
        let others = self.listeners.iter().filter(|(id, _)| **id != from);
        others.for_each(|(_, listener)| listener.queue.push(frame.clone()));
    }

    /// A socket sent an update.
    pub fn came(&mut self, from: PeerId) {
        if let Some(listener) = self.listeners.get_mut(&from) {
            listener.came += 1;
        }
    }

    /// A socket's message is in the document; it is saved with the change `sequence`. `whole`: with everything that the
    /// socket has, also what was refused or could not be taken before.
    pub fn took(&mut self, from: PeerId, sequence: u64, whole: bool) {
        let durable = self.durable.sequence;
        let Some(listener) = self.listeners.get_mut(&from) else {
            return;
        };
        listener.unsaved.push_back(sequence);
        let counted = listener.saved + listener.unsaved.len() as u64;
        if whole {
            let refused = listener.came.saturating_sub(counted);
            listener.unsaved.extend((0..refused).map(|_| sequence));
        }
        // All of it was known: nothing has to be written, so nobody would tell later.
        if sequence <= durable {
            self.tell_saved(from);
        }
    }

    /// What is on disk has grown.
    pub fn saved(&mut self, durable: Durable) {
        self.durable = durable;
        let everybody: Vec<PeerId> = self.listeners.keys().copied().collect();
        everybody.into_iter().for_each(|id| self.tell_saved(id));
    }

    fn tell_saved(&mut self, id: PeerId) {
        if let Some(event) = self.saved_event(id)
            && let Some(listener) = self.listeners.get(&id)
        {
            listener.queue.push_json(&event);
        }
    }

    /// What a socket of ours is told of the durable state.
    fn saved_event(&mut self, id: PeerId) -> Option<BoardEvent> {
        let durable = &self.durable;
        let listener = self.listeners.get_mut(&id)?;
        while listener
            .unsaved
            .front()
            .is_some_and(|sequence| *sequence <= durable.sequence)
        {
            listener.unsaved.pop_front();
            listener.saved += 1;
        }
        listener.ours.then(|| BoardEvent::Saved {
            state_vector: durable.state_vector.clone(),
            updates: listener.saved,
        })
    }

    fn listen(&mut self, id: PeerId, queue: OutQueue, ours: bool) {
        let listener = Listener {
            queue,
            ours,
            came: 0,
            unsaved: VecDeque::new(),
            saved: 0,
        };
        self.listeners.insert(id, listener);
    }

    fn ours(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values().filter(|listener| listener.ours)
    }

    /// Encodes once, queues for all of ours.
    fn tell(&self, event: &BoardEvent) {
        let message = encode(event);
        self.ours()
            .for_each(|listener| listener.queue.push(message.clone()));
    }

    /// Tells the others; a Yjs client also of its own. It closes a connection on which it heard nothing for 30 s, and when it
    /// is alone its own awareness, renewed every 15 s, is all there is to hear (`messageReconnectTimeout` of y-websocket).
    fn tell_awareness(&self, changed: &[ClientState], from: PeerId) {
        if changed.is_empty() {
            return;
        }
        let frame = encode_states(changed.iter());
        for (id, listener) in &self.listeners {
            if *id != from || !listener.ours {
                listener.queue.push(frame.clone());
            }
        }
    }
}

fn encode_states<'a>(states: impl ExactSizeIterator<Item = &'a ClientState>) -> Frame {
    let states = encode_awareness(states);
    Frame::Binary(Message::Awareness(&states).encode().into())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Somebody of ours on the board.
    fn enter(people: &mut People, id: PeerId) -> OutQueue {
        let (queue, user) = (OutQueue::default(), User::new(Uuid::new_v4(), "Ana".into()));
        let welcome = |others: Vec<Peer>| {
            let others: Vec<PeerId> = others.iter().map(|peer| peer.id).collect();
            Frame::Text(format!("welcome {others:?}").into())
        };
        people.enter(id, user, queue.clone(), welcome);
        queue
    }

    /// What waits in a queue, as far as it is text.
    async fn told(queue: &OutQueue) -> Vec<String> {
        let messages = queue.take().await.messages;
        let texts = messages.into_iter().filter_map(|message| match message {
            Frame::Text(text) => Some(text.as_str().to_owned()),
            _ => None,
        });
        texts.collect()
    }

    #[tokio::test]
    async fn the_welcome_is_first_and_what_is_told_meanwhile_comes_after_it() {
        let mut people = People::default();
        let ana = enter(&mut people, 1);
        let ben = enter(&mut people, 2);
        people.leave(1, 2);
        let ana = told(&ana).await;
        assert_eq!(ana[0], "welcome []");
        assert!(ana[1].starts_with(r#"{"type":"joined""#), "{ana:?}");
        assert_eq!(
            told(&ben).await,
            ["welcome [1]", r#"{"type":"left","id":1}"#]
        );
    }

    #[tokio::test]
    async fn a_pointer_that_comes_and_goes_is_told_once_a_tick() {
        let mut people = People::default();
        let ana = enter(&mut people, 1);
        enter(&mut people, 2);
        told(&ana).await;
        for step in 0..1_000 {
            people.move_to(2, step as f32 / 1_000.0, 0.5);
            people.hide(2);
        }
        people.tick();
        people.tick();
        assert_eq!(told(&ana).await, [r#"{"type":"hidden","id":2}"#]);
    }

    #[tokio::test]
    async fn an_answer_with_all_that_a_socket_has_counts_for_what_was_refused_before() {
        let mut people = People::default();
        let ana = enter(&mut people, 1);
        told(&ana).await;
        // The second of three is refused.
        for _ in 0..3 {
            people.came(1);
        }
        people.took(1, 1, false);
        people.took(1, 2, false);
        people.saved(Durable::new(2, &[0]));
        assert!(told(&ana).await[0].ends_with(r#""updates":2}"#));
        // What lacks it is no such answer; one that has everything is.
        people.came(1);
        people.took(1, 3, true);
        people.saved(Durable::new(3, &[0]));
        assert!(told(&ana).await[0].ends_with(r#""updates":4}"#));
    }
}
