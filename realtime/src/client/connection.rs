//! The driver: feeds the state machine, executes its actions, keeps its one timer, and listens to the window.
//!
//! Not generic: an event stream and a socket differ by their `Transport` alone, and status line and inspector take any
//! [`Connection`].

use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    rc::Rc,
};

use gloo_timers::callback::Timeout;
use leptos::{ev, prelude::*, task::spawn_local};
use send_wrapper::SendWrapper;

use super::{
    observer::{DropReason, Observer, TraceEvent},
    probe::{self, Question, Renewals},
};
use crate::{
    position::Position,
    sharing::{Asked, Role},
    status::{Action, ConnectionStatus, Input, Machine, Policy},
};

/// A timer set for longer than this overflows the browser's 32 bits and would fire at once.
const LONGEST_TIMER_MS: f64 = 2_000_000_000.0;

/// A connection as a page sees it. Copied into components; the connection itself ends with the component that made it.
#[derive(Clone, Copy)]
pub struct Connection {
    /// The state machine's state.
    pub status: Signal<ConnectionStatus>,
    /// When something last came in (Unix milliseconds).
    pub last_event_at: Signal<Option<f64>>,
    /// The newest round trip in milliseconds; sockets only.
    pub round_trip: Signal<Option<f64>>,
    /// Events that could not be decoded, or (of a socket) whose type is unknown.
    pub undecoded: Signal<u64>,
    /// The position of the last event; event streams only.
    pub position: Signal<Option<Position>>,
    /// What this tab is to the other tabs of the browser; shared event streams only.
    pub role: Signal<Role>,
    /// The server's name for this connection, from `hello` or `welcome`; of a follower, for its leader's.
    pub id: Signal<Option<String>>,
    /// How many connections of this endpoint the server has, this one included: its newest word, while the connection stands.
    pub connections: Signal<Option<usize>>,
    tap: Observer,
    driver: StoredValue<Option<SendWrapper<Driver>>>,
}

/// What differs between an event stream and a socket.
pub(super) trait Transport {
    /// Opens a connection at the position seen last; reports to `driver`.
    fn open(&mut self, driver: &Driver);
    /// Detaches all handlers, then closes. Nothing of the old connection is reported afterwards.
    fn abandon(&mut self);
    /// The connection is not wanted any more: gives back whatever outlives single connections.
    fn resign(&mut self) {}
    /// Sends a ping that carries `now`; sockets only.
    fn ping(&mut self, now: f64);
    /// The address for the request that finds out why a stream was refused.
    fn probe_url(&self) -> String;
}

/// A running connection. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Driver(Rc<Shared>);

struct Shared {
    machine: RefCell<Machine>,
    transport: RefCell<Box<dyn Transport>>,
    /// Inputs that came while one was being executed: closing a connection can call back at once.
    pending: RefCell<VecDeque<Input>>,
    timer: RefCell<Option<Timeout>>,
    /// On the window; they end with the component, since the driver is first made in an effect that may run again.
    listeners: RefCell<Vec<WindowListenerHandle>>,
    /// While it is set the browser counts as offline, whatever it says.
    unplugged: RefCell<Option<Timeout>>,
    /// Types of events that could not be decoded.
    complained: RefCell<HashSet<String>>,
    /// Who asked for what is being done.
    asked: Cell<Asked>,
    /// The request of a probe or a renewal that is under way; it is aborted when this is dropped.
    question: RefCell<Option<Question>>,
    signals: Signals,
}

/// What a driver writes and a page reads.
#[derive(Clone, Copy)]
pub(super) struct Signals {
    status: RwSignal<ConnectionStatus>,
    last_event_at: RwSignal<Option<f64>>,
    round_trip: RwSignal<Option<f64>>,
    undecoded: RwSignal<u64>,
    position: RwSignal<Option<Position>>,
    role: RwSignal<Role>,
    id: RwSignal<Option<String>>,
    connections: RwSignal<Option<usize>>,
    renewals: Option<Renewals>,
    pub(super) tap: Observer,
    driver: StoredValue<Option<SendWrapper<Driver>>>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self {
            // What the server renders too: it never connects.
            status: RwSignal::new(ConnectionStatus::Connecting { attempt: 0 }),
            last_event_at: RwSignal::new(None),
            round_trip: RwSignal::new(None),
            undecoded: RwSignal::new(0),
            position: RwSignal::new(None),
            role: RwSignal::new(Role::Alone),
            id: RwSignal::new(None),
            connections: RwSignal::new(None),
            renewals: use_context(),
            tap: Observer::new(),
            driver: StoredValue::new(None),
        }
    }

    pub(super) fn connection(self) -> Connection {
        Connection {
            status: self.status.into(),
            last_event_at: self.last_event_at.into(),
            round_trip: self.round_trip.into(),
            undecoded: self.undecoded.into(),
            position: self.position.into(),
            role: self.role.into(),
            id: self.id.into(),
            connections: self.connections.into(),
            tap: self.tap,
            driver: self.driver,
        }
    }

    /// Starts the driver; once, in an effect.
    pub(super) fn start(self, policy: Policy, transport: Box<dyn Transport>) -> Driver {
        let driver = self.driver(policy, transport);
        driver.listen_to_window();
        self.driver
            .set_value(Some(SendWrapper::new(driver.clone())));
        driver
    }

    /// A driver that nothing drives yet.
    pub(super) fn driver(self, policy: Policy, transport: Box<dyn Transport>) -> Driver {
        Driver(Rc::new(Shared {
            machine: RefCell::new(Machine::new(policy)),
            transport: RefCell::new(transport),
            pending: RefCell::default(),
            timer: RefCell::default(),
            listeners: RefCell::default(),
            unplugged: RefCell::default(),
            complained: RefCell::default(),
            asked: Cell::default(),
            question: RefCell::default(),
            signals: self,
        }))
    }

    /// Ends the connection with the component that owns it.
    pub(super) fn end_on_cleanup(self) {
        on_cleanup(move || {
            if let Some(Some(driver)) = self.driver.try_update_value(Option::take) {
                let driver = driver.take();
                driver.feed(Input::Unwanted);
                let listeners = driver.0.listeners.take();
                listeners.into_iter().for_each(WindowListenerHandle::remove);
            }
        });
    }
}

impl Connection {
    /// Tries again now, from wherever it waits or stopped.
    pub fn reconnect(self) {
        self.feed(Input::RetryNow);
    }

    /// Closes and stays closed.
    pub fn close(self) {
        self.feed(Input::Unwanted);
    }

    /// Closes and opens anew, for a change that the server learns only with a new connection (another name).
    pub fn restart(self) {
        self.feed(Input::Wanted);
    }

    /// Is told of everything that this connection sees from here on; takes the place of whoever was told before.
    pub fn watch(self, watcher: impl Fn(TraceEvent) + 'static) {
        self.tap.watch(watcher);
    }

    /// The address that it connects to next, position included; `None` before it first did.
    pub fn address(self) -> Option<String> {
        let driver = self.driver()?;
        let address = driver.0.transport.borrow().probe_url();
        Some(address)
    }

    /// Behaves for `milliseconds` as if the browser had no network: cuts the connection and opens none.
    pub fn go_offline(self, milliseconds: u32) {
        if let Some(driver) = self.driver() {
            driver.go_offline(milliseconds);
        }
    }

    /// Abandons the connection at once, as if the wire had broken; it comes back like any that is lost.
    pub fn cut(self) {
        self.feed(Input::Cut);
    }

    fn feed(self, input: Input) {
        if let Some(driver) = self.driver() {
            driver.feed(input);
        }
    }

    fn driver(self) -> Option<Driver> {
        let driver = self
            .driver
            .try_with_value(|driver| driver.as_ref().map(|driver| (**driver).clone()));
        driver.flatten()
    }
}

impl Driver {
    /// Takes an input and executes what follows from it.
    pub(super) fn feed(&self, input: Input) {
        self.0.pending.borrow_mut().push_back(input);
        // Somebody further up the stack is at it already.
        let Ok(mut machine) = self.0.machine.try_borrow_mut() else {
            return;
        };
        loop {
            let Some(input) = self.0.pending.borrow_mut().pop_front() else {
                break;
            };
            self.0.asked.set(match input {
                Input::Wanted => Asked::ByOpening,
                Input::RetryNow => Asked::ByPerson,
                _ => Asked::ByItself,
            });
            for action in machine.step(input, now(), js_sys::Math::random()) {
                if let Some(more) = self.execute(action) {
                    machine.stop(more);
                }
            }
        }
        let (status, deadline) = (machine.status().clone(), machine.deadline());
        drop(machine);
        if matches!(
            status,
            ConnectionStatus::Closed | ConnectionStatus::Stopped { .. }
        ) {
            self.0.transport.borrow_mut().resign();
        }
        self.set_timer(deadline);
        if status != ConnectionStatus::Open {
            self.counted(None);
        }
        if self
            .0
            .signals
            .status
            .try_with_untracked(|shown| *shown != status)
            == Some(true)
        {
            self.saw(|| TraceEvent::Status(status.clone()));
            self.0.signals.status.set(status);
        }
    }

    /// Who asked for the connection that is being opened.
    pub(super) fn asked(&self) -> Asked {
        self.0.asked.get()
    }

    /// The server's count of open connections; `None`: it is not known (any more).
    pub(super) fn counted(&self, connections: Option<usize>) {
        let signal = self.0.signals.connections;
        if signal.try_get_untracked() != Some(connections) {
            let _ = signal.try_set(connections);
        }
    }

    /// The server has named this connection.
    pub(super) fn named(&self, id: String) {
        let _ = self.0.signals.id.try_set(Some(id));
    }

    /// Tells whoever watches.
    pub(super) fn saw(&self, see: impl FnOnce() -> TraceEvent) {
        self.0.signals.tap.tell(see);
    }

    /// Something came in.
    pub(super) fn heard(&self) {
        let _ = self.0.signals.last_event_at.try_set(Some(now()));
    }

    pub(super) fn measured(&self, round_trip_ms: f64) {
        let _ = self.0.signals.round_trip.try_set(Some(round_trip_ms));
    }

    pub(super) fn moved(&self, position: Option<Position>) {
        let _ = self.0.signals.position.try_set(position);
    }

    pub(super) fn set_role(&self, role: Role) {
        if self.0.signals.role.try_get_untracked() != Some(role) {
            let _ = self.0.signals.role.try_set(role);
        }
    }

    pub(super) fn could_not_decode(&self, name: &str, error: &str) {
        self.saw(|| TraceEvent::DropReason(DropReason::Undecoded));
        let _ = self.0.signals.undecoded.try_update(|count| *count += 1);
        // Once a type is enough to find it; a log line an event would bury everything else.
        let mut complained = self.0.complained.borrow_mut();
        if complained.insert(name.to_owned()) {
            leptos::logging::warn!("an event named {name:?} could not be decoded: {error}");
        }
    }

    /// A reason to stop, when the action was in vain.
    fn execute(&self, action: Action) -> Option<&'static str> {
        match action {
            // It is to behave as if there were no network.
            Action::Open if self.0.unplugged.borrow().is_some() => self.feed(Input::Cut),
            Action::Open => self.0.transport.borrow_mut().open(self),
            Action::Abandon => {
                self.0.question.take();
                self.0.transport.borrow_mut().abandon();
            }
            Action::Ping => self.0.transport.borrow_mut().ping(now()),
            Action::Probe { question } => {
                let (driver, url) = (self.clone(), self.0.transport.borrow().probe_url());
                let signal = self.question();
                spawn_local(async move {
                    let answer = probe::why_refused(&url, signal).await;
                    driver.feed(Input::Probed { question, answer });
                });
            }
            Action::RenewSession { question } => {
                let (driver, signal) = (self.clone(), self.question());
                let renewals = self.0.signals.renewals;
                spawn_local(async move {
                    let renewal = probe::renew_session(signal, renewals).await;
                    driver.feed(Input::SessionRenewed { question, renewal });
                });
            }
            Action::DropKept => probe::drop_kept_connections(),
            Action::Reload => {
                return (!probe::reload_once())
                    .then_some("This page and the server do not fit together.");
            }
        }
        None
    }

    /// Begins a request, in the place of one that may still be under way.
    fn question(&self) -> Option<web_sys::AbortSignal> {
        let question = Question::new()?;
        let signal = question.signal();
        self.0.question.replace(Some(question));
        Some(signal)
    }

    fn set_timer(&self, deadline: Option<f64>) {
        // Dropping the old timer cancels it.
        *self.0.timer.borrow_mut() = deadline.map(|deadline| {
            let wait = (deadline - now()).clamp(0.0, LONGEST_TIMER_MS);
            let this = self.clone();
            Timeout::new(wait as u32, move || this.feed(Input::Timer))
        });
    }

    fn listen_to_window(&self) {
        let on = |input: fn() -> Input| {
            let this = SendWrapper::new(self.clone());
            move || this.feed(input())
        };
        let look = || {
            let this = SendWrapper::new(self.clone());
            move || this.look_at_network()
        };
        let (online, offline) = (look(), look());
        let (shown, hidden) = (on(|| Input::PageShown), on(|| Input::PageHidden));
        let visible = on(|| {
            Input::Visible(document().visibility_state() == web_sys::VisibilityState::Visible)
        });
        self.0.listeners.replace(vec![
            window_event_listener(ev::online, move |_| online()),
            window_event_listener(ev::offline, move |_| offline()),
            // Not `beforeunload`, which would close for a download too, and keeps pages out of the back-forward cache.
            window_event_listener_untyped("pagehide", move |_| hidden()),
            window_event_listener_untyped("pageshow", move |_| shown()),
            window_event_listener(ev::visibilitychange, move |_| visible()),
        ]);
        self.look_at_network();
        self.feed(Input::Visible(
            document().visibility_state() == web_sys::VisibilityState::Visible,
        ));
    }
}

impl Driver {
    fn look_at_network(&self) {
        let unplugged = self.0.unplugged.borrow().is_some();
        self.feed(Input::Online(!unplugged && window().navigator().on_line()));
    }

    fn go_offline(&self, milliseconds: u32) {
        let this = self.clone();
        let plug_in = Timeout::new(milliseconds, move || {
            this.0.unplugged.take();
            this.look_at_network();
        });
        self.0.unplugged.replace(Some(plug_in));
        self.look_at_network();
        self.feed(Input::Cut);
    }
}

/// Unix milliseconds. Not the monotonic clock: that one stands still while a laptop sleeps, and a connection does not.
pub(super) fn now() -> f64 {
    js_sys::Date::now()
}
