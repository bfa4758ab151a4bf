//! The roster of a board: its connections, and what each is sent (pointers, awareness, updates, what is saved).
//! Everything is in memory behind one lock; `board.rs` handles the durable part. `roster/others.rs` adds the peers of other
//! nodes.

mod others;

use std::collections::{HashMap, VecDeque};

use axum::extract::ws::Message as Frame;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    awareness::{Awareness, RejectReason},
    elsewhere::{Elsewhere, News},
    pointers::Pointers,
};
use crate::{
    collab::{
        message::{BoardEvent, Move, Peer, PeerId},
        protocol::{ClientState, Clocks, Message, encode_awareness, encode_state_vector},
    },
    session::User,
};
use realtime::server::queue::{OutQueue, encode};

/// The maximum number of peers in a `welcome`. More would not fit into the new client's queue, nor be visible on a
/// board.
const MOST_PEERS: usize = 2_000;

/// The connections of one board.
#[derive(Default)]
pub struct Roster {
    pointers: Pointers,
    awareness: Awareness,
    subscribers: HashMap<PeerId, Subscriber>,
    /// The number of the newest change on disk. Changes are counted from when the board was opened.
    newest_saved: u64,
    /// The clocks on disk. Only a new connection is sent all of them.
    durable: Clocks,
    /// The peers at other nodes. `pointers` and `awareness` hold them too.
    elsewhere: Elsewhere,
    /// What the other nodes are told with the next tick; `None` if nobody is to be told.
    news: Option<News>,
}

struct Subscriber {
    queue: OutQueue,
    /// Uses our subprotocol. The others are Yjs clients and are sent binary messages only.
    ours: bool,
    /// Everything on disk was sent once. From then on only the changes are sent.
    initial_state_sent: bool,
    /// An update from this socket was refused for lack of room. The client must be asked again for everything it has.
    refused: bool,
    saving: Saving,
}

/// How many of a socket's updates are on disk.
#[derive(Default)]
struct Saving {
    /// The updates received from this socket, accepted or refused.
    received: u64,
    /// The updates that are not on disk yet, oldest first: the number of the change that saves them, and how many they
    /// are. The list never has more entries than there are unsaved changes, however often the same update is sent.
    unsaved: VecDeque<(u64, u64)>,
    /// The sum of the counts in `unsaved`.
    waiting: u64,
    /// How many updates are on disk.
    saved: u64,
}

impl Saving {
    /// Updates are in the document, and on disk with the change `sequence`.
    fn accepted(&mut self, sequence: u64, updates: u64) {
        self.waiting += updates;
        match self.unsaved.back_mut() {
            Some((newest, many)) if *newest >= sequence => *many += updates,
            _ => self.unsaved.push_back((sequence, updates)),
        }
    }

    /// Counts the updates on disk with the change `newest`. Returns whether there are more than before.
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

impl Roster {
    /// All peers with a pointer.
    pub fn peers(&self) -> Vec<Peer> {
        self.pointers.peers(|_| true)
    }

    /// Adds a client of ours, which is welcomed with the other peers.
    pub fn join(
        &mut self,
        id: PeerId,
        user: User,
        queue: OutQueue,
        welcome: impl FnOnce(Vec<Peer>) -> Frame,
    ) {
        let peer = self.pointers.join(id, user);
        if let Some(news) = &mut self.news {
            news.joined.push(peer.clone());
        }
        self.broadcast(&BoardEvent::Joined { peer });
        let mut others = self.pointers.peers(|other| other != id);
        others.truncate(MOST_PEERS);
        // Queued before the roster has the queue, so that every later event comes after the `welcome` or is already in
        // it.
        queue.push(welcome(others));
        self.subscribe(id, queue, true);
    }

    /// Adds a Yjs client, which has no pointer, but perhaps a caret.
    pub fn join_yjs(&mut self, id: PeerId, queue: OutQueue) {
        self.subscribe(id, queue, false);
    }

    /// Sends a new client the awareness states and everything that is saved, after its `welcome`. Both may be long,
    /// which does not mean that the client reads slowly, so they count as answers.
    pub fn send_initial_state(&mut self, id: PeerId) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return;
        };
        subscriber
            .queue
            .push_answer(encode_states(self.awareness.states()));
        subscriber.saving.count(self.newest_saved);
        subscriber.initial_state_sent = true;
        if subscriber.ours {
            let saved = saved_event(&self.durable, subscriber.saving.saved);
            subscriber.queue.push_answer(encode(&saved));
        }
    }

    /// Removes a connection and announces that to the others.
    pub fn leave(&mut self, id: PeerId, newest_peer: PeerId) {
        self.subscribers.remove(&id);
        self.remove(id, newest_peer);
        if let Some(news) = &mut self.news {
            news.left.push(id);
        }
    }

    /// Removes a peer of any node and announces that to those who are here.
    fn remove(&mut self, id: PeerId, newest_peer: PeerId) {
        // A Yjs client has no pointer.
        if self.pointers.leave(id) {
            self.broadcast(&BoardEvent::Left { id });
        }
        let gone = self.awareness.leave(id, newest_peer);
        self.broadcast_awareness(&gone, id);
    }

    /// Moves a pointer. Returns whether it is the first move since the last tick.
    pub fn move_to(&mut self, id: PeerId, x: f32, y: f32) -> bool {
        self.pointers.move_to(id, x, y)
    }

    /// Hides a pointer. Returns whether it was visible.
    pub fn hide(&mut self, id: PeerId) -> bool {
        self.pointers.hide(id)
    }

    /// Sends the pointers that were hidden since the last tick, and those that moved, the latter in one message. Returns
    /// what is to be announced to the other nodes.
    pub fn tick(&mut self) -> Option<News> {
        let (hidden, moves) = (self.pointers.take_hidden(), self.pointers.take_moves());
        let news = self.take_news(&hidden, &moves);
        for id in hidden {
            self.broadcast(&BoardEvent::Hidden { id });
        }
        if !moves.is_empty() {
            self.send_moves(moves);
        }
        news
    }

    fn send_moves(&self, moves: Vec<Move>) {
        let change = encode(&BoardEvent::Moved { moves });
        // Encoded at most once too, and only if a reader is slow.
        let mut whole: Option<Frame> = None;
        for subscriber in self.ours() {
            subscriber.queue.push_volatile(&change, || {
                whole
                    .get_or_insert_with(|| {
                        encode(&BoardEvent::Moved {
                            moves: self.pointers.positions(),
                        })
                    })
                    .clone()
            });
        }
    }

    /// Applies awareness states from a socket and sends the changes to the others.
    pub fn apply_awareness(
        &mut self,
        from: PeerId,
        newest_peer: PeerId,
        states: Vec<ClientState>,
    ) -> Result<(), RejectReason> {
        let (changed, result) = self.awareness.apply(from, newest_peer, states);
        self.broadcast_awareness(&changed, from);
        if let Some(news) = &mut self.news {
            let owned = |state: ClientState| (state.client, (from, state));
            news.states.extend(changed.into_iter().map(owned));
        }
        result
    }

    /// Sends the states of all clients to one socket.
    pub fn send_awareness(&self, id: PeerId) {
        if let Some(subscriber) = self.subscribers.get(&id) {
            subscriber
                .queue
                .push(encode_states(self.awareness.states()));
        }
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Sends an update to everybody except its sender.
    pub fn broadcast_update(&self, update: &[u8], from: PeerId) {
        let frame = Frame::Binary(Message::Update(update).encode().into());
        let others = self.subscribers.iter().filter(|(id, _)| **id != from);
        others.for_each(|(_, subscriber)| subscriber.queue.push(frame.clone()));
    }

    /// Counts an update received from a socket.
    pub fn received(&mut self, from: PeerId) {
        if let Some(subscriber) = self.subscribers.get_mut(&from) {
            subscriber.saving.received += 1;
        }
    }

    /// Marks a Yjs client whose update was refused for lack of room.
    pub fn refused(&mut self, from: PeerId) {
        if let Some(subscriber) = self.subscribers.get_mut(&from) {
            subscriber.refused = true;
        }
    }

    /// Whether an update of a connected client was refused for lack of room.
    pub fn has_refused(&self) -> bool {
        self.subscribers
            .values()
            .any(|subscriber| subscriber.refused)
    }

    /// Asks the marked clients for everything that they have and the document, with this state vector, lacks.
    pub fn sync_refused(&mut self, state_vector: &[u8]) {
        let question = Frame::Binary(Message::SyncStep1(state_vector).encode().into());
        for subscriber in self.subscribers.values_mut() {
            if std::mem::take(&mut subscriber.refused) {
                subscriber.queue.push(question.clone());
            }
        }
    }

    /// A socket's message is in the document; it is saved with the change `sequence`. `whole`: it holds everything that
    /// the socket has, including updates that were refused or could not be applied before.
    pub fn accepted(&mut self, from: PeerId, sequence: u64, whole: bool) {
        let Some(subscriber) = self.subscribers.get_mut(&from) else {
            return;
        };
        let Subscriber { saving, .. } = &mut *subscriber;
        saving.accepted(sequence, 1);
        if whole {
            let refused = saving
                .received
                .saturating_sub(saving.saved + saving.waiting);
            saving.accepted(sequence, refused);
        }
        // If all of it was known, nothing is written, so no later event would report it.
        if saving.count(self.newest_saved) && subscriber.receives_saved() {
            let saved = saved_event(&Clocks::new(), subscriber.saving.saved);
            subscriber.queue.push_json(&saved);
        }
    }

    /// The clocks on disk that the clients were sent, or will be sent first.
    pub fn durable(&self) -> &Clocks {
        &self.durable
    }

    /// These clocks are on disk: they were read from there.
    pub fn found_saved(&mut self, clocks: Clocks) {
        self.saved(self.newest_saved, clocks);
    }

    /// Everything up to the change `newest` is on disk. `moved`: the clocks that it moved.
    pub fn saved(&mut self, newest: u64, mut moved: Clocks) {
        self.newest_saved = newest;
        // A client that changed the node may have had its updates saved there before they are saved here.
        moved.retain(|client, clock| {
            let known = self.durable.get(client);
            known.is_none_or(|known| known < clock)
        });
        // Clients with the same number of saved updates get the same message, which is encoded once for all of them.
        let mut encoded = HashMap::<u64, Frame>::new();
        for subscriber in self.subscribers.values_mut() {
            let is_news = subscriber.saving.count(newest) || !moved.is_empty();
            if is_news && subscriber.receives_saved() {
                let updates = subscriber.saving.saved;
                let event = || encode(&saved_event(&moved, updates));
                let frame = encoded.entry(updates).or_insert_with(event);
                subscriber.queue.push(frame.clone());
            }
        }
        self.durable.extend(moved);
    }

    fn subscribe(&mut self, id: PeerId, queue: OutQueue, ours: bool) {
        let subscriber = Subscriber {
            queue,
            ours,
            initial_state_sent: false,
            refused: false,
            saving: Saving::default(),
        };
        self.subscribers.insert(id, subscriber);
    }

    fn ours(&self) -> impl Iterator<Item = &Subscriber> {
        self.subscribers
            .values()
            .filter(|subscriber| subscriber.ours)
    }

    /// Encodes an event once and queues it for all clients of ours.
    fn broadcast(&self, event: &BoardEvent) {
        let message = encode(event);
        self.ours()
            .for_each(|subscriber| subscriber.queue.push(message.clone()));
    }

    /// Sends states to the others, and to the sender too if it is a Yjs client. A Yjs client closes a connection on
    /// which it received nothing for 30 s. If it is alone, its own awareness, renewed every 15 s, is all there is to
    /// receive (`messageReconnectTimeout` of y-websocket).
    fn broadcast_awareness(&self, changed: &[ClientState], from: PeerId) {
        if changed.is_empty() {
            return;
        }
        let frame = encode_states(changed.iter());
        for (id, subscriber) in &self.subscribers {
            if *id != from || !subscriber.ours {
                subscriber.queue.push(frame.clone());
            }
        }
    }
}

impl Subscriber {
    fn receives_saved(&self) -> bool {
        self.ours && self.initial_state_sent
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
