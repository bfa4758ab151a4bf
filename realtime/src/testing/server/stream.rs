//! An event stream that a script has accepted.

use std::{
    cell::Cell,
    marker::PhantomData,
    rc::{Rc, Weak},
    time::Duration,
};

use serde::Serialize;

use super::history::History;
use crate::{
    client::platform::{
        NamedEvent, after,
        scripted::{Link, Report, World},
    },
    contract::StreamContract,
    message::{Hello, StreamControl},
    position::Position,
    status::Answer,
};

/// Between two heartbeats, in milliseconds.
const HEARTBEAT_MS: u64 = 15_000;

/// An event stream that the page has opened. Its first event is one of the hellos; before that the script may
/// [refuse](AcceptedStream::refuse) it. From then on it sends a heartbeat every 15 s by itself.
///
/// # Panics
///
/// Its methods panic if the page has closed the stream, or if the order is wrong: a second hello, an event before it.
pub struct AcceptedStream<C> {
    world: Rc<World>,
    history: History,
    id: String,
    state: Rc<State>,
    contract: PhantomData<C>,
}

struct State {
    link: Rc<Link>,
    is_greeted: Cell<bool>,
    is_stalled: Cell<bool>,
}

impl<C: StreamContract> AcceptedStream<C> {
    pub(super) fn new(world: Rc<World>, link: Rc<Link>, history: History, id: String) -> Self {
        let state = Rc::new(State {
            link,
            is_greeted: Cell::new(false),
            is_stalled: Cell::new(false),
        });
        let contract = PhantomData;
        Self {
            world,
            history,
            id,
            state,
            contract,
        }
    }

    /// The address that the page requested, position included.
    pub fn url(&self) -> &str {
        &self.state.link.url
    }

    /// The position after which the page wants to go on; `None` if it has none.
    pub fn resumes_after(&self) -> Option<Position> {
        let (_, after) = self.url().split_once("last_event_id=")?;
        after.split('&').next()?.parse().ok()
    }

    /// Whether the page still holds the stream.
    pub fn is_open(&self) -> bool {
        self.state.link.is_held()
    }

    /// The hello of a stream that begins with a state: send it with [`AcceptedStream::state`].
    #[track_caller]
    pub fn hello(&self) {
        let head = self.history.head();
        self.greet(self.hello_at(head, false, 0));
    }

    /// The hello of a stream that resumes, and what the page has missed: these events, at the positions that follow the page's.
    ///
    /// # Panics
    ///
    /// Panics if the page asked for no position.
    #[track_caller]
    pub fn hello_resumed(&self, missed: &[C::Event]) {
        let Some(after) = self.resumes_after() else {
            panic!("the page asked for no position: {}", self.url());
        };
        self.history.move_to(&after);
        self.greet(self.hello_at(after, true, missed.len()));
        for event in missed {
            self.event(event);
        }
    }

    /// The hello of a stream that cannot resume, because the history is gone: a restart of the server, or too long an absence.
    /// Positions begin anew. A state follows: send it with [`AcceptedStream::state`].
    #[track_caller]
    pub fn hello_unrecovered(&self) {
        self.history.restart();
        self.hello();
    }

    /// Opens the stream with this hello, for a test that is about one of its fields.
    #[track_caller]
    pub fn greet(&self, hello: Hello) {
        self.must_be_open();
        let was_greeted = self.state.is_greeted.replace(true);
        assert!(!was_greeted, "the stream has had its hello");
        let position = Position::new(hello.epoch.clone(), hello.offset);
        let id = hello.recovered.then_some(position);
        let heartbeat_ms = hello.heartbeat_ms;
        self.state.link.report(Report::Open);
        self.send(&StreamControl::Hello(hello), id);
        beat(Rc::downgrade(&self.state), heartbeat_ms);
    }

    /// An event that gives the page a state, at the position of the newest event. Several may follow each other.
    #[track_caller]
    pub fn state(&self, event: &C::Event) {
        self.must_be_greeted();
        self.send(event, Some(self.history.head()));
    }

    /// The next event. Returns its position.
    #[track_caller]
    pub fn event(&self, event: &C::Event) -> Position {
        self.must_be_greeted();
        let position = self.history.next();
        self.send(event, Some(position.clone()));
        position
    }

    /// An event at any position, for instance a repeated one.
    #[track_caller]
    pub fn event_at(&self, position: &Position, event: &C::Event) {
        self.must_be_greeted();
        self.send(event, Some(position.clone()));
    }

    /// A heartbeat out of turn, which reports this number of open connections.
    #[track_caller]
    pub fn heartbeat(&self, connections: usize) {
        self.must_be_greeted();
        let at = self.world.now() as u64;
        self.send(&StreamControl::Heartbeat { at, connections }, None);
    }

    /// The server shuts down: it tells the page to come back after `retry` at the earliest, and ends the stream.
    #[track_caller]
    pub fn drain(&self, retry: Duration) {
        self.must_be_greeted();
        let retry_ms = retry.as_millis() as u64;
        self.send(&StreamControl::Drain { retry_ms }, None);
        self.cut();
    }

    /// The connection is lost and the browser notices. Before the hello it counts as a server that cannot be reached.
    #[track_caller]
    pub fn cut(&self) {
        self.must_be_open();
        self.state.link.report(Report::Error);
        self.world.settle();
    }

    /// The connection falls silent, and nobody notices: no heartbeat is sent from now on.
    pub fn stall(&self) {
        self.state.is_stalled.set(true);
    }

    /// The server refuses the stream with an HTTP status. The browser does not tell a page the status; the page asks again, and
    /// gets the same answer.
    #[track_caller]
    pub fn refuse(&self, status: u16) {
        self.refuse_with(Answer {
            status,
            ..Answer::default()
        });
    }

    /// Like [`AcceptedStream::refuse`], with `Retry-After`, or with the reason of a 401
    /// ([`close::reason`](crate::close::reason)).
    #[track_caller]
    pub fn refuse_with(&self, answer: Answer) {
        self.must_be_open();
        let was_greeted = self.state.is_greeted.get();
        assert!(
            !was_greeted,
            "a stream that has had its hello is not refused any more"
        );
        self.world.refusal.replace(Some(answer));
        self.state.link.report(Report::Error);
        self.world.settle();
        self.world.refusal.take();
    }

    fn hello_at(&self, position: Position, recovered: bool, replayed: usize) -> Hello {
        Hello {
            connection: self.id.clone(),
            epoch: position.epoch,
            offset: position.offset,
            recovered,
            replayed,
            heartbeat_ms: HEARTBEAT_MS,
            connections: 1,
        }
    }

    #[track_caller]
    fn must_be_open(&self) {
        assert!(
            self.is_open(),
            "the page has closed its stream {}",
            self.url()
        );
    }

    #[track_caller]
    fn must_be_greeted(&self) {
        self.must_be_open();
        assert!(
            self.state.is_greeted.get(),
            "the stream has not had its hello"
        );
    }

    fn send(&self, event: &impl Serialize, position: Option<Position>) {
        self.state.send(event, position);
        self.world.settle();
    }
}

impl State {
    fn send(&self, event: &impl Serialize, position: Option<Position>) {
        let (name, data) = match serde_json::to_value(event) {
            Ok(value) => (value["type"].as_str().map(str::to_owned), value.to_string()),
            Err(error) => panic!("the event cannot be serialized: {error}"),
        };
        self.link.report(Report::Event(NamedEvent {
            name: name.unwrap_or_default(),
            data,
            id: position.map(|at| at.to_string()).unwrap_or_default(),
        }));
    }
}

/// Sends a heartbeat, again and again while the stream is open.
fn beat(state: Weak<State>, every_ms: u64) {
    after(every_ms as u32, move || {
        let Some(open) = state.upgrade() else { return };
        if !open.link.is_held() || open.is_stalled.get() {
            return;
        }
        let at = World::current().now() as u64;
        let connections = 1;
        open.send(&StreamControl::Heartbeat { at, connections }, None);
        beat(state, every_ms);
    });
}
