//! The driver of a connection: it feeds the state machine, executes its actions, keeps its timer, and listens to the window.
//!
//! It is not generic: an event stream and a socket differ only in their `Transport`, and the status line and the inspector
//! work with any [`Connection`].

use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    rc::Rc,
};

use leptos::prelude::*;
use send_wrapper::SendWrapper;

use super::{
    config::ClientConfig,
    credential::{Credential, Credentials},
    observer::{DropReason, Observers, Payload, TraceEvent},
    platform::{self, Change, Listeners, Timer, now, random},
    task::Task,
};
use crate::{
    position::Position,
    sharing::{Asked, Role},
    status::{Action, ConnectionStatus, Input, Machine, Policy, Renewal, StopReason},
};

/// The longest timer, in milliseconds. A longer one would overflow the browser's 32 bits and fire at once.
const LONGEST_TIMER_MS: f64 = 2_000_000_000.0;

/// A page's handle to a connection. It can be copied into components. The connection ends with the component that created it.
#[derive(Clone, Copy)]
pub struct Connection {
    /// The state machine's state.
    pub status: Signal<ConnectionStatus>,
    /// When the last frame was received (Unix milliseconds).
    pub last_event_at: Signal<Option<f64>>,
    /// The latest round trip time in milliseconds; sockets only.
    pub round_trip: Signal<Option<f64>>,
    /// The number of events that could not be decoded, or (on a socket) whose type is unknown.
    pub decode_errors: Signal<u64>,
    /// The number of volatile commands that were dropped because the uplink was full; sockets only.
    pub unsent: Signal<u64>,
    /// The position of the last event; event streams only.
    pub position: Signal<Option<Position>>,
    /// The role of this tab among the tabs of the browser; shared event streams only.
    pub role: Signal<Role>,
    /// The server's id for this connection, from `hello` or `welcome`. In a follower it is the id of the leader's connection.
    pub id: Signal<Option<String>>,
    /// The number of connections of this endpoint that the server reported last, this one included; `None` unless open.
    pub connections: Signal<Option<usize>>,
    observers: Observers,
    driver: StoredValue<Option<SendWrapper<Driver>>>,
}

/// Deliberate faults of a connection, for tests and for pages that show how it recovers.
#[derive(Clone, Copy)]
pub struct Faults(Connection);

/// The operations in which an event stream and a socket differ.
pub(super) trait Transport {
    /// Opens a connection at the last position and reports to `driver`. The connection obtains its credential with
    /// [`Driver::authorize`].
    fn open(&mut self, driver: &Driver);
    /// Detaches all handlers, then closes. The old connection reports nothing afterwards.
    fn abandon(&mut self);
    /// The connection is no longer wanted: releases what outlives a single connection.
    fn resign(&mut self) {}
    /// Sends a ping that carries `now`; sockets only.
    fn ping(&mut self, now: f64);
    /// The address of the next connection, without a credential.
    fn url(&self) -> String;
    /// The address of the last attempt, for the request that determines why a stream was refused.
    fn refused_url(&self) -> String {
        self.url()
    }
}

/// A running connection. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub(super) struct Driver(Rc<Shared>);

struct Shared {
    machine: RefCell<Machine>,
    transport: RefCell<Box<dyn Transport>>,
    /// Inputs received while another one is processed: closing a connection can call back synchronously.
    pending: RefCell<VecDeque<Input>>,
    /// A timer, and when it fires (Unix milliseconds).
    timer: RefCell<Option<(f64, Timer)>>,
    /// Window listeners. They are removed with the component rather than with the effect that created the driver, because an
    /// effect may run again.
    listeners: RefCell<Option<Listeners>>,
    /// While set, the browser counts as offline, whatever it reports.
    unplugged: RefCell<Option<Timer>>,
    /// Event types for which a decoding error has been logged.
    logged_types: RefCell<HashSet<String>>,
    /// What triggered the action being executed.
    asked: Cell<Asked>,
    /// The probe or renewal in progress.
    request: RefCell<Option<Task>>,
    credentials: Option<Credentials>,
    config: ClientConfig,
    signals: Signals,
}

/// The signals that a driver writes and a page reads.
#[derive(Clone, Copy)]
pub(super) struct Signals {
    status: RwSignal<ConnectionStatus>,
    last_event_at: RwSignal<Option<f64>>,
    round_trip: RwSignal<Option<f64>>,
    decode_errors: RwSignal<u64>,
    unsent: RwSignal<u64>,
    position: RwSignal<Option<Position>>,
    role: RwSignal<Role>,
    id: RwSignal<Option<String>>,
    connections: RwSignal<Option<usize>>,
    config: StoredValue<ClientConfig>,
    pub(super) observers: Observers,
    driver: StoredValue<Option<SendWrapper<Driver>>>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self {
            // The server, which never connects, renders this state too.
            status: RwSignal::new(ConnectionStatus::Connecting { attempt: 0 }),
            last_event_at: RwSignal::new(None),
            round_trip: RwSignal::new(None),
            decode_errors: RwSignal::new(0),
            unsent: RwSignal::new(0),
            position: RwSignal::new(None),
            role: RwSignal::new(Role::Alone),
            id: RwSignal::new(None),
            connections: RwSignal::new(None),
            config: StoredValue::new(use_context().unwrap_or_default()),
            observers: Observers::new(),
            driver: StoredValue::new(None),
        }
    }

    pub(super) fn connection(self) -> Connection {
        Connection {
            status: self.status.into(),
            last_event_at: self.last_event_at.into(),
            round_trip: self.round_trip.into(),
            decode_errors: self.decode_errors.into(),
            unsent: self.unsent.into(),
            position: self.position.into(),
            role: self.role.into(),
            id: self.id.into(),
            connections: self.connections.into(),
            observers: self.observers,
            driver: self.driver,
        }
    }

    /// Creates and starts the driver. Called once, in an effect.
    pub(super) fn start(
        self,
        policy: Policy,
        credentials: Option<Credentials>,
        transport: Box<dyn Transport>,
    ) -> Driver {
        let driver = self.driver(policy, credentials, transport);
        driver.listen_to_window();
        self.driver
            .set_value(Some(SendWrapper::new(driver.clone())));
        driver
    }

    /// Creates a driver without window listeners.
    pub(super) fn driver(
        self,
        policy: Policy,
        credentials: Option<Credentials>,
        transport: Box<dyn Transport>,
    ) -> Driver {
        Driver(Rc::new(Shared {
            machine: RefCell::new(Machine::new(policy)),
            transport: RefCell::new(transport),
            pending: RefCell::default(),
            timer: RefCell::default(),
            listeners: RefCell::default(),
            unplugged: RefCell::default(),
            logged_types: RefCell::default(),
            asked: Cell::default(),
            request: RefCell::default(),
            credentials,
            config: self.config.get_value(),
            signals: self,
        }))
    }

    /// Counts a volatile command that was dropped because the uplink is full.
    pub(super) fn count_unsent(self, payload: impl FnOnce() -> Payload) {
        self.observers.notify(|| TraceEvent::Unsent(payload()));
        let _ = self.unsent.try_update(|count| *count += 1);
    }

    /// Ends the connection when the component that owns it is disposed.
    pub(super) fn end_on_cleanup(self) {
        on_cleanup(move || {
            if let Some(Some(driver)) = self.driver.try_update_value(Option::take) {
                let driver = driver.take();
                driver.feed(Input::Unwanted);
                drop(driver.0.listeners.take());
            }
        });
    }
}

impl Connection {
    /// Tries again now, whether the connection is waiting or has stopped.
    pub fn retry_now(self) {
        self.feed(Input::RetryNow);
    }

    /// Closes and stays closed.
    pub fn close(self) {
        self.feed(Input::Unwanted);
    }

    /// Closes and reopens the connection, for a change that the server learns only from a new connection (another user name).
    pub fn reconnect(self) {
        self.feed(Input::Wanted);
    }

    /// Calls `observer` with every trace event from now on, until the component that owns the connection is disposed. A
    /// connection can have several observers. Trace events contain neither addresses nor credentials.
    pub fn observe(self, observer: impl Fn(TraceEvent) + 'static) {
        self.observers.add(observer);
    }

    /// The address of the next connection, position included, without a credential; `None` before the first one.
    pub fn url(self) -> Option<String> {
        let driver = self.driver()?;
        let url = driver.0.transport.borrow().url();
        Some(url)
    }

    /// The faults that can be caused deliberately on this connection.
    pub fn faults(self) -> Faults {
        Faults(self)
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

impl Faults {
    /// Abandons the connection at once, as if the network had failed. It recovers like any lost connection.
    pub fn cut(self) {
        self.0.feed(Input::Cut);
    }

    /// Behaves for `milliseconds` as if the browser had no network: cuts the connection and opens no other.
    pub fn go_offline(self, milliseconds: u32) {
        if let Some(driver) = self.0.driver() {
            driver.go_offline(milliseconds);
        }
    }
}

impl Driver {
    /// Feeds an input to the state machine and executes the resulting actions.
    pub(super) fn feed(&self, input: Input) {
        self.0.pending.borrow_mut().push_back(input);
        // A caller further up the stack is already processing inputs.
        let Ok(mut machine) = self.0.machine.try_borrow_mut() else {
            return;
        };
        let mut is_frame = true;
        loop {
            let Some(input) = self.0.pending.borrow_mut().pop_front() else {
                break;
            };
            is_frame &= matches!(input, Input::Frame);
            self.0.asked.set(match input {
                Input::Wanted => Asked::ByOpening,
                Input::RetryNow => Asked::ByPerson,
                _ => Asked::ByItself,
            });
            for action in machine.step(input, now(), random()) {
                if let Some(reason) = self.execute(action) {
                    machine.stop(reason);
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
        // A frame moves the deadline away, and there may be a thousand a second. So the timer stays. It fires too early, which
        // does nothing, and is set again for the rest.
        if !(is_frame && self.fires_by(deadline)) {
            self.set_timer(deadline);
        }
        if status != ConnectionStatus::Open {
            self.set_connections(None);
        }
        if self
            .0
            .signals
            .status
            .try_with_untracked(|shown| *shown != status)
            == Some(true)
        {
            self.trace(|| TraceEvent::Status(status.clone()));
            self.0.signals.status.set(status);
        }
    }

    /// What triggered the connection that is being opened.
    pub(super) fn asked(&self) -> Asked {
        self.0.asked.get()
    }

    /// Obtains the credential of an attempt and calls `open` with it; at once with `None` if the connection needs none. When
    /// the returned task is dropped, `open` is not called any more.
    pub(super) fn authorize(
        &self,
        open: impl FnOnce(&Self, Option<&Credential>) + 'static,
    ) -> Option<Task> {
        let Some(credentials) = self.0.credentials.clone() else {
            open(self, None);
            return None;
        };
        let driver = self.clone();
        Some(Task::spawn(async move {
            match credentials.obtain().await {
                Ok(credential) => {
                    driver.feed(Input::Authorized);
                    open(&driver, Some(&credential));
                }
                Err(error) => driver.feed(Input::Unauthorized { error }),
            }
        }))
    }

    /// Sets the server's count of open connections; `None` if it is not known.
    pub(super) fn set_connections(&self, connections: Option<usize>) {
        let signal = self.0.signals.connections;
        if signal.try_get_untracked() != Some(connections) {
            let _ = signal.try_set(connections);
        }
    }

    /// Sets the server's id for this connection.
    pub(super) fn set_id(&self, id: String) {
        let _ = self.0.signals.id.try_set(Some(id));
    }

    /// Reports a trace event to the observers, if there are any.
    pub(super) fn trace(&self, event: impl FnOnce() -> TraceEvent) {
        self.0.signals.observers.notify(event);
    }

    /// Records that a frame was received.
    pub(super) fn frame_received(&self) {
        let _ = self.0.signals.last_event_at.try_set(Some(now()));
    }

    pub(super) fn set_round_trip(&self, round_trip_ms: f64) {
        let _ = self.0.signals.round_trip.try_set(Some(round_trip_ms));
    }

    pub(super) fn set_position(&self, position: Option<Position>) {
        let _ = self.0.signals.position.try_set(position);
    }

    pub(super) fn set_role(&self, role: Role) {
        if self.0.signals.role.try_get_untracked() != Some(role) {
            let _ = self.0.signals.role.try_set(role);
        }
    }

    /// Counts an event that could not be decoded and logs the first one of its type.
    pub(super) fn could_not_decode(&self, name: &str, error: &str) {
        self.trace(|| TraceEvent::Dropped(DropReason::Undecoded));
        let _ = self.0.signals.decode_errors.try_update(|count| *count += 1);
        // One log line per type is enough to find the cause; one per event would bury everything else.
        let mut logged_types = self.0.logged_types.borrow_mut();
        if logged_types.insert(name.to_owned()) {
            leptos::logging::warn!("an event named {name:?} could not be decoded: {error}");
        }
    }

    /// Executes an action. Returns a reason to stop if the action cannot succeed.
    fn execute(&self, action: Action) -> Option<StopReason> {
        match action {
            // `go_offline` is in effect: behave as if there were no network.
            Action::Open if self.0.unplugged.borrow().is_some() => self.feed(Input::Cut),
            Action::Open => self.0.transport.borrow_mut().open(self),
            Action::Abandon => {
                self.0.request.take();
                self.0.transport.borrow_mut().abandon();
            }
            Action::Ping => self.0.transport.borrow_mut().ping(now()),
            Action::Probe { question } => {
                let (driver, url) = (self.clone(), self.0.transport.borrow().refused_url());
                self.0.request.replace(Some(Task::spawn(async move {
                    let answer = platform::why_refused(&url).await;
                    driver.feed(Input::Probed { question, answer });
                })));
            }
            // The next attempt obtains a new credential.
            Action::RenewSession { question } if self.0.credentials.is_some() => {
                let renewal = Renewal::Renewed;
                self.feed(Input::SessionRenewed { question, renewal });
            }
            Action::RenewSession { question } => {
                let driver = self.clone();
                self.0.request.replace(Some(Task::spawn(async move {
                    let renewal = driver.0.config.renew().await;
                    driver.feed(Input::SessionRenewed { question, renewal });
                })));
            }
            Action::DropKept => {
                if let Some(url) = &self.0.config.alive_url {
                    platform::flush_pooled_connections(url);
                }
            }
            Action::Reload => {
                return (!platform::reload_once(&self.0.config.storage_prefix))
                    .then_some(StopReason::ReloadDidNotHelp);
            }
        }
        None
    }

    fn set_timer(&self, deadline: Option<f64>) {
        // Dropping the old timer cancels it.
        *self.0.timer.borrow_mut() = deadline.map(|deadline| {
            let wait = (deadline - now()).clamp(0.0, LONGEST_TIMER_MS);
            let this = self.clone();
            let timer = Timer::new(wait as u32, move || this.feed(Input::Timer));
            (deadline, timer)
        });
    }

    /// Whether the timer fires at the deadline or before it. One that is overdue does not: timers stand still while the machine
    /// sleeps, and the clock does not.
    fn fires_by(&self, deadline: Option<f64>) -> bool {
        let timer = self.0.timer.borrow();
        timer
            .as_ref()
            .zip(deadline)
            .is_some_and(|((fires_at, _), deadline)| now() < *fires_at && *fires_at <= deadline)
    }

    fn listen_to_window(&self) {
        let this = self.clone();
        let changed = move |change| match change {
            Change::Network => this.check_network(),
            Change::Visibility => this.check_visibility(),
            Change::Shown => this.feed(Input::PageShown),
            Change::Hidden => this.feed(Input::PageHidden),
        };
        self.0.listeners.replace(Some(platform::listen(changed)));
        self.check_network();
        self.check_visibility();
    }
}

impl Driver {
    fn check_network(&self) {
        let unplugged = self.0.unplugged.borrow().is_some();
        self.feed(Input::Online(!unplugged && platform::is_online()));
    }

    fn check_visibility(&self) {
        self.feed(Input::Visible(platform::is_visible()));
    }

    fn go_offline(&self, milliseconds: u32) {
        let this = self.clone();
        let plug_in = Timer::new(milliseconds, move || {
            this.0.unplugged.take();
            this.check_network();
        });
        self.0.unplugged.replace(Some(plug_in));
        self.check_network();
        self.feed(Input::Cut);
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
