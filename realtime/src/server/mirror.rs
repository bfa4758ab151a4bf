//! A topic on several nodes: one of them owns it, the others mirror it, and a client resumes at any of them.
//!
//! The owner publishes what it sends to its own clients: the encoded events, with the offset before them. A mirror applies
//! the events to its own state and keeps the same ring, so positions mean the same on all nodes. A mirror that misses
//! something finds a gap, and asks the owner for it. Until it has the answer its clients get nothing: they never see a hole.
//!
//! Each ownership has a term, higher than those before it, and begins a new epoch. So two nodes that both think that they
//! own the topic never publish under one epoch, and a mirror follows the higher term. Clients learn of a new owner as of
//! any new epoch: `recovered: false` and the state.
//!
//! The messages between nodes go through a [`Carrier`], and may be lost. A message is a header as one line of JSON,
//! followed by the events as they are encoded for clients.

use std::{
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    history::Entry,
    metric,
    reader::{Pending, Reader},
    topic::{Delivery, REPLAY_CAP, Selection, Topic},
};
use crate::{
    event_parser::EventParser,
    json,
    position::{Epoch, Position},
};

/// How often the owner says where its topic stands, so that a mirror notices that it missed the last events.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A mirror that hears nothing for this long asks.
const ASK_AFTER: Duration = Duration::from_secs(3);
/// A mirror that knows nothing yet asks again after this time: the owner may just be beginning.
const ASK_FIRST_AFTER: Duration = Duration::from_millis(100);
/// How long an event may take to come by itself that a client has already. Then the mirror asks for it.
const COMES_WITHIN: Duration = Duration::from_millis(200);
/// An owner that is not heard for this long no longer counts, and a lower term may replace its own: the place that hands out
/// terms may have been restored from an older copy.
const FORGET_AFTER: Duration = Duration::from_secs(10);
/// The bytes of one message, about.
const MESSAGE_BYTES: usize = 256 * 1024;

/// Carries the messages of one topic between nodes, for example over NATS.
pub trait Carrier: Send + Sync + 'static {
    /// Sends a message to the mirrors at the other nodes. It may be lost.
    fn publish(&self, message: Bytes);

    /// Receives what other nodes publish from now on. The stream ends when there is nothing more to hear.
    fn subscribe(&self) -> BoxStream<'static, Bytes>;

    /// Asks the other nodes, and returns the answer of the one that owns the topic; `None` if there is none in time.
    fn ask(&self, question: Bytes) -> BoxFuture<'static, Option<Bytes>>;

    /// Receives what mirrors ask. Only the owner calls it.
    fn questions(&self) -> BoxStream<'static, CarriedQuestion>;
}

/// A question of a mirror, and how it is answered.
pub struct CarriedQuestion {
    /// What is asked.
    pub question: Bytes,
    /// Sends the answer to the mirror.
    pub answer: Box<dyn FnOnce(Bytes) + Send>,
}

/// The state of a topic that can be mirrored. It is sent to mirrors as JSON.
pub trait Mirrored: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The events that change the state.
    type Event: DeserializeOwned;
    /// The keys of the topic's events.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// Changes the state as an event says, as the owner did when it published the event. Returns the event's key. `None`
    /// if the event does not belong to this state; then the mirror asks for the whole state.
    fn apply(&mut self, event: Self::Event) -> Option<Self::Key>;

    /// The key of an event that the state includes already.
    fn key(&self, event: &Self::Event) -> Option<Self::Key>;
}

/// A topic that other nodes have too. Either [`Mirror::own`] or [`Mirror::follow`] runs.
pub struct Mirror<S: Mirrored> {
    topic: Topic<S, S::Key>,
    carrier: Arc<dyn Carrier>,
    /// The term under which the topic's history began; 0 before this node owned or followed it.
    term: AtomicU64,
    /// Whether the topic is the owner's, or was: it has a state that clients may see.
    is_known: watch::Sender<bool>,
    /// Whether this node owns the topic now, so that nobody knows more of it.
    owns: AtomicBool,
    /// When this node owned the topic last, or heard its owner. A std mutex: it is held for a copy.
    heard: Mutex<Instant>,
}

/// The first line of a message.
#[derive(Serialize, Deserialize)]
struct Header<S> {
    term: u64,
    epoch: Epoch,
    /// The offset before the first event of the message.
    after: u64,
    /// The offset of the owner's newest event.
    head: u64,
    /// The topic has ended with the event at `head`.
    ended: bool,
    /// The state at `head`, for a mirror that cannot go on from where it is. The events of the message are in it.
    state: Option<S>,
}

/// What a mirror asks: the events after a position, or the whole state.
#[derive(Serialize, Deserialize)]
struct Wanted {
    after: Option<Position>,
}

/// What a mirror makes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// The mirror has everything up to the message's head.
    Applied,
    /// Something is missing before it.
    Gap,
    /// An event does not belong to the state.
    Misfit,
    /// It is of an owner of the past, or cannot be read.
    Ignored,
}

impl<S: Mirrored> Mirror<S> {
    /// A topic of this node, which the others share through the carrier.
    pub fn new(topic: Topic<S, S::Key>, carrier: impl Carrier) -> Self {
        Self {
            topic,
            carrier: Arc::new(carrier),
            term: AtomicU64::new(0),
            is_known: watch::Sender::new(false),
            owns: AtomicBool::new(false),
            heard: Mutex::new(Instant::now()),
        }
    }

    /// How long nothing was heard of the owner; zero for the owner itself.
    pub fn silence(&self) -> Duration {
        self.heard().elapsed()
    }

    /// Whether this node has owned or followed the topic, so that its state and its positions are those of the others.
    pub fn is_known(&self) -> bool {
        *self.is_known.borrow()
    }

    /// Resolves when this node has owned or followed the topic. Before that its state is not what other nodes show.
    pub async fn known(&self) {
        // The sender is this one's, so it is not closed.
        let _ = self
            .is_known
            .subscribe()
            .wait_for(|is_known| *is_known)
            .await;
    }

    /// Owns the topic under a term: begins a new epoch, and publishes the events and answers the mirrors until it is
    /// dropped. A topic that was owned under this term before goes on.
    pub async fn own(&self, term: u64) {
        if self.term.swap(term, Ordering::Relaxed) != term || !self.is_known() {
            self.topic.begin_anew();
        }
        self.is_known.send_replace(true);
        self.serve(term).await;
    }

    /// Owns the topic under its first term, for ever and with the history that it has.
    pub async fn own_for_ever(&self) {
        self.is_known.send_replace(true);
        self.serve(0).await;
    }

    async fn serve(&self, term: u64) {
        self.owns.store(true, Ordering::Relaxed);
        let mut questions = self.carrier.questions().fuse();
        let (mut reader, mut has_ended) = (self.source(), false);
        let mut beats = interval(BEAT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = reader.changed(), if !has_ended => {
                    let after = reader.written().offset;
                    match reader.take(MESSAGE_BYTES) {
                        Pending::Events(frames) => self.publish(term, &reader, after, &frames),
                        Pending::Nothing => {}
                        // The mirrors find the gap.
                        Pending::Lagged => reader = self.source(),
                        // Said at once. A mirror may miss it: the beats and the answers repeat it.
                        Pending::Ended => {
                            has_ended = true;
                            self.publish(term, &reader, after, &[]);
                        }
                    }
                }
                _ = beats.tick() => {
                    *self.heard() = Instant::now();
                    let at = reader.written().offset;
                    self.publish(term, &reader, at, &[]);
                }
                Some(asked) = questions.next() => self.answer(term, asked),
            }
        }
    }

    /// Follows the owner until it is dropped, or there is nothing more to hear.
    pub async fn follow(&self) {
        self.owns.store(false, Ordering::Relaxed);
        let mut messages = self.carrier.subscribe();
        self.catch_up().await;
        loop {
            let wait = match self.is_known() {
                true => ASK_AFTER,
                false => ASK_FIRST_AFTER,
            };
            let received = match timeout(wait, messages.next()).await {
                Ok(Some(message)) => self.received(&message),
                Ok(None) => return,
                Err(_) => Received::Gap,
            };
            match received {
                Received::Gap => self.catch_up().await,
                Received::Misfit => self.ask(None).await,
                Received::Applied | Received::Ignored => {}
            }
        }
    }

    /// Waits until this node has what a client has that comes from another one. A mirror may be a moment behind, and the client
    /// would begin anew for nothing, with a state older than what it saw. Without an answer of the owner this returns all the
    /// same.
    pub async fn reach(&self, after: Option<&Position>) {
        let Some(after) = after.filter(|_| !self.owns.load(Ordering::Relaxed)) else {
            return;
        };
        if after.epoch != self.topic.head().epoch {
            // A new owner may have begun, of which only the client's last node has heard.
            return self.catch_up().await;
        }
        let is_behind = || {
            let head = self.topic.head();
            head.epoch == after.epoch && head.offset < after.offset
        };
        if !is_behind() {
            return;
        }
        let mut reader = self.source();
        let comes = async {
            while is_behind() {
                match reader.take(MESSAGE_BYTES) {
                    Pending::Lagged => reader = self.source(),
                    Pending::Ended => return,
                    Pending::Events(_) | Pending::Nothing => reader.changed().await,
                }
            }
        };
        if timeout(COMES_WITHIN, comes).await.is_err() {
            self.catch_up().await;
        }
    }

    /// Asks the owner once for what this mirror lacks; [`Mirror::follow`] does so by itself.
    pub async fn catch_up(&self) {
        let is_known = self.is_known();
        self.ask(is_known.then(|| self.topic.head())).await;
    }

    async fn ask(&self, after: Option<Position>) {
        metric::counter("mirror_gaps").increment(1);
        let Ok(question) = serde_json::to_vec(&Wanted { after }) else {
            return;
        };
        if let Some(answer) = self.carrier.ask(question.into()).await {
            self.received(&answer);
        }
    }

    /// Reads every event of the topic from the head on.
    fn source(&self) -> Reader<S::Key> {
        let none = |_: &S, _: &dyn Fn(&S::Key) -> bool| Vec::<()>::new();
        let mut reader = self.topic.open(None, Selection::all(), none).reader;
        reader.delivery = Delivery::EveryEvent;
        reader
    }

    fn publish(&self, term: u64, reader: &Reader<S::Key>, after: u64, frames: &[u8]) {
        let written = reader.written();
        self.send(term, &written.epoch, after, written.offset, frames);
    }

    fn send(&self, term: u64, epoch: &Epoch, after: u64, head: u64, frames: &[u8]) {
        let ended = self.topic.end_position();
        let header = Header::<&S> {
            term,
            epoch: epoch.clone(),
            after,
            head,
            ended: ended.is_some_and(|end| end.epoch == *epoch && end.offset <= head),
            state: None,
        };
        self.carrier.publish(encode(&header, [frames]));
    }

    fn answer(&self, term: u64, asked: CarriedQuestion) {
        // A question that cannot be read is one of a newer version; the whole state answers it too.
        let wanted: Option<Wanted> = serde_json::from_slice(&asked.question).ok();
        let after = wanted.and_then(|wanted| wanted.after);
        let missed = after.and_then(|after| {
            let (head, ended, frames) = self.topic.events_after(&after, REPLAY_CAP)?;
            let header = Header::<&S> {
                term,
                epoch: head.epoch,
                after: after.offset,
                head: head.offset,
                ended,
                state: None,
            };
            Some(encode(&header, &frames))
        });
        let message = missed.unwrap_or_else(|| {
            self.topic
                .copy(REPLAY_CAP, |state, position, ended, after, frames| {
                    let header = Header {
                        term,
                        epoch: position.epoch,
                        after,
                        head: position.offset,
                        ended,
                        state: Some(state),
                    };
                    encode(&header, frames)
                })
        });
        (asked.answer)(message);
    }

    /// A poisoned lock is used all the same: a time is whole.
    fn heard(&self) -> MutexGuard<'_, Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message of the owner.
    fn received(&self, message: &Bytes) -> Received {
        let Some((header, events)) = decode::<S>(message) else {
            tracing::warn!("a message of a topic's owner is not understood; it may be newer");
            return Received::Ignored;
        };
        let mut known = self.term.load(Ordering::Relaxed);
        if header.term < known {
            if self.silence() < FORGET_AFTER {
                return Received::Ignored;
            }
            known = 0;
            self.term.store(known, Ordering::Relaxed);
        }
        *self.heard() = Instant::now();
        let head = self.topic.head();
        let is_known = self.is_known();
        if let Some(state) = header.state {
            let keyed = events.into_iter().map(|event| {
                let key = state.key(&event.event)?;
                Some(event.entry(key))
            });
            // Without its events the state still stands; clients before it start from it.
            let entries: Option<Vec<_>> = keyed.collect();
            let entries = entries.unwrap_or_default();
            let position = Position::new(header.epoch, header.head);
            self.topic.replace(state, position, entries, header.ended);
            self.term.store(header.term, Ordering::Relaxed);
            self.is_known.send_replace(true);
            return Received::Applied;
        }
        let continues = is_known && header.term == known && header.epoch == head.epoch;
        if !continues || header.after > head.offset {
            return Received::Gap;
        }
        if header.head > head.offset || (header.ended && self.topic.end_position().is_none()) {
            let mut fits = true;
            let news = events
                .into_iter()
                .filter(|event| event.offset > head.offset);
            self.topic.apply_published(|state| {
                let applied = news.map_while(|event| {
                    let Carried {
                        offset,
                        event,
                        frame,
                    } = event;
                    let key = state.apply(event);
                    fits &= key.is_some();
                    Some(Entry {
                        offset,
                        key: key?,
                        frame,
                    })
                });
                let applied = applied.collect();
                (applied, header.ended && fits)
            });
            if !fits {
                return Received::Misfit;
            }
        }
        Received::Applied
    }
}

/// An event of a message.
struct Carried<E> {
    offset: u64,
    event: E,
    frame: Bytes,
}

impl<E> Carried<E> {
    fn entry<K>(self, key: K) -> Entry<K> {
        Entry {
            offset: self.offset,
            key,
            frame: self.frame,
        }
    }
}

fn encode<S: Serialize>(
    header: &Header<S>,
    frames: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Bytes {
    let mut message = serde_json::to_vec(header).unwrap_or_else(|error| {
        // A programming error, as in `frame.rs`.
        tracing::error!(%error, "a state could not be encoded");
        vec![]
    });
    message.push(b'\n');
    for frame in frames {
        message.extend_from_slice(frame.as_ref());
    }
    message.into()
}

/// A message, decoded.
type Decoded<S> = (Header<S>, Vec<Carried<<S as Mirrored>::Event>>);

/// The header and the events of a message; `None` if any of it cannot be read.
fn decode<S: Mirrored>(message: &Bytes) -> Option<Decoded<S>> {
    let line = message.iter().position(|byte| *byte == b'\n')?;
    let header = serde_json::from_slice(&message[..line]).ok()?;
    let mut rest = message.slice(line + 1..);
    let mut events = vec![];
    while !rest.is_empty() {
        // An encoded event ends with an empty line, and holds no other.
        let end = rest.windows(2).position(|two| two == b"\n\n")? + 2;
        let frame = rest.split_to(end);
        let mut parser = EventParser::default();
        parser.feed(&frame);
        let parsed = parser.next_event()?;
        let position: Position = parsed.id?.parse().ok()?;
        events.push(Carried {
            offset: position.offset,
            event: json::decode(&parsed.data).ok()?,
            frame,
        });
    }
    Some((header, events))
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
