//! Everybody who is connected to one board, and what each is told: pointers, awareness, updates, what is saved. All of it in
//! memory, behind one lock; what is durable is in `board.rs`.

use std::collections::{HashMap, VecDeque};

use axum::extract::ws::Message as Frame;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    awareness::{Awareness, RejectReason},
    pointers::Cursors,
};
use crate::collab::{
    message::{BoardEvent, Peer, PeerId},
    protocol::{ClientState, Clocks, Message, encode_awareness, encode_state_vector},
};
use crate::session::User;
use realtime::server::queue::{OutQueue, encode};

/// Those whom a newcomer is told of: more would not fit into its queue, nor be seen on a board.
const MOST_PEERS: usize = 2_000;

/// The people of one board.
#[derive(Default)]
pub struct People {
    cursors: Cursors,
    awareness: Awareness,
    listeners: HashMap<PeerId, Listener>,
    /// The newest change that is on disk; changes are counted since the board was opened.
    newest_saved: u64,
    /// What is on disk: only a newcomer is told all of it.
    durable: Clocks,
}

struct Listener {
    queue: OutQueue,
    /// Speaks our subprotocol; the others are Yjs clients and get binary messages only.
    ours: bool,
    /// It was told all that is on disk: from then on what was added is enough.
    briefed: bool,
    /// An update from here found no room: it is to be asked again for all that it has.
    refused: bool,
    saving: Saving,
}

/// How many of a socket's updates are on disk.
#[derive(Default)]
struct Saving {
    /// Updates that came from here, taken or refused.
    came: u64,
    /// What is not on disk yet, oldest first: the change with which it will be, and how many updates that are. Never more
    /// entries than changes that are not on disk, however often the same is sent.
    unsaved: VecDeque<(u64, u64)>,
    /// How many those are.
    waiting: u64,
    /// How many are on disk.
    saved: u64,
}

impl Saving {
    /// Updates are in the document, and on disk with the change `sequence`.
    fn took(&mut self, sequence: u64, updates: u64) {
        self.waiting += updates;
        match self.unsaved.back_mut() {
            Some((newest, many)) if *newest >= sequence => *many += updates,
            _ => self.unsaved.push_back((sequence, updates)),
        }
    }

    /// Counts what is on disk with the change `newest`. Says whether that is more than before.
    fn count(&mut self, newest: u64) -> bool {
        let before = self.saved;
        while let Some((sequence, many)) = self.unsaved.front().copied()
            && sequence <= newest
        {
            self.unsaved.pop_front();
            self.saved += many;
            self.waiting -= many;
        }
        self.saved > before
    }
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

    /// Tells a newcomer who is here and all that is saved, after its welcome. Both may be long, and say nothing of how fast
    /// the newcomer reads: they count as answers.
    pub fn brief(&mut self, id: PeerId) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        listener
            .queue
            .push_answer(encode_states(self.awareness.states()));
        listener.saving.count(self.newest_saved);
        listener.briefed = true;
        if listener.ours {
            let saved = saved_event(&self.durable, listener.saving.saved);
            listener.queue.push_answer(encode(&saved));
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
    ) -> Result<(), RejectReason> {
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
            listener.saving.came += 1;
        }
    }

    /// A Yjs client's update found no room.
    pub fn refused(&mut self, from: PeerId) {
        if let Some(listener) = self.listeners.get_mut(&from) {
            listener.refused = true;
        }
    }

    /// Whether an update of somebody who is here found no room.
    pub fn has_refused(&self) -> bool {
        self.listeners.values().any(|listener| listener.refused)
    }

    /// Asks whoever was refused for all that it has and the document, with this state vector, lacks.
    pub fn ask_the_refused(&mut self, state_vector: &[u8]) {
        let question = Frame::Binary(Message::SyncStep1(state_vector).encode().into());
        for listener in self.listeners.values_mut() {
            if std::mem::take(&mut listener.refused) {
                listener.queue.push(question.clone());
            }
        }
    }

    /// A socket's message is in the document; it is saved with the change `sequence`. `whole`: with everything that the
    /// socket has, also what was refused or could not be taken before.
    pub fn took(&mut self, from: PeerId, sequence: u64, whole: bool) {
        let Some(listener) = self.listeners.get_mut(&from) else {
            return;
        };
        let Listener { saving, .. } = &mut *listener;
        saving.took(sequence, 1);
        if whole {
            let refused = saving.came.saturating_sub(saving.saved + saving.waiting);
            saving.took(sequence, refused);
        }
        // Where all of it was known nothing has to be written, so nobody would tell later.
        if saving.count(self.newest_saved) && listener.is_told_what_is_saved() {
            let saved = saved_event(&Clocks::new(), listener.saving.saved);
            listener.queue.push_json(&saved);
        }
    }

    /// What was on disk when the board was opened, before anybody is told of it.
    pub fn loaded(&mut self, durable: &Clocks) {
        self.durable.clone_from(durable);
    }

    /// Everything up to the change `newest` is on disk. `moved`: the clocks that were moved by it.
    pub fn saved(&mut self, newest: u64, moved: Clocks) {
        self.newest_saved = newest;
        // Whoever has the same number of updates on disk is told the same: it is encoded once for all of them.
        let mut encoded = HashMap::<u64, Frame>::new();
        for listener in self.listeners.values_mut() {
            let is_news = listener.saving.count(newest) || !moved.is_empty();
            if is_news && listener.is_told_what_is_saved() {
                let updates = listener.saving.saved;
                let event = || encode(&saved_event(&moved, updates));
                let frame = encoded.entry(updates).or_insert_with(event);
                listener.queue.push(frame.clone());
            }
        }
        self.durable.extend(moved);
    }

    fn listen(&mut self, id: PeerId, queue: OutQueue, ours: bool) {
        let listener = Listener {
            queue,
            ours,
            briefed: false,
            refused: false,
            saving: Saving::default(),
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

impl Listener {
    fn is_told_what_is_saved(&self) -> bool {
        self.ours && self.briefed
    }
}

fn saved_event(clocks: &Clocks, updates: u64) -> BoardEvent {
    BoardEvent::Saved {
        state_vector: BASE64_STANDARD.encode(encode_state_vector(clocks)),
        updates,
    }
}

fn encode_states<'a>(states: impl ExactSizeIterator<Item = &'a ClientState>) -> Frame {
    let states = encode_awareness(states);
    Frame::Binary(Message::Awareness(&states).encode().into())
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
