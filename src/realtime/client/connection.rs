//! The driver: feeds the state machine, executes its actions, keeps its one timer, and listens to the window.
//!
//! Not generic: an event stream and a socket differ by their `Transport` alone, and status line and inspector take any
//! [`Connection`].

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use gloo_timers::callback::Timeout;
use leptos::{ev, prelude::*, task::spawn_local};
use send_wrapper::SendWrapper;

use super::probe;
use crate::realtime::{
    position::Position,
    sharing::Role,
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
    /// Events that could not be decoded, or whose name is unknown.
    pub undecoded: Signal<u64>,
    /// The position of the last event; event streams only.
    pub position: Signal<Option<Position>>,
    /// What this tab is to the other tabs of the browser; shared event streams only.
    pub role: Signal<Role>,
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
            driver: self.driver,
        }
    }

    /// Starts the driver; once, in an effect.
    pub(super) fn start(self, policy: Policy, transport: Box<dyn Transport>) -> Driver {
        let driver = Driver(Rc::new(Shared {
            machine: RefCell::new(Machine::new(policy)),
            transport: RefCell::new(transport),
            pending: RefCell::default(),
            timer: RefCell::default(),
            listeners: RefCell::default(),
            signals: self,
        }));
        driver.listen_to_window();
        self.driver
            .set_value(Some(SendWrapper::new(driver.clone())));
        driver
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

    /// Abandons the connection at once, as if the wire had broken; it comes back like any that is lost.
    pub fn cut(self) {
        self.feed(Input::Cut);
    }

    fn feed(self, input: Input) {
        let driver = self
            .driver
            .try_with_value(|driver| driver.as_ref().map(|driver| (**driver).clone()));
        if let Some(driver) = driver.flatten() {
            driver.feed(input);
        }
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
        if self
            .0
            .signals
            .status
            .try_with_untracked(|shown| *shown != status)
            == Some(true)
        {
            self.0.signals.status.set(status);
        }
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
        let count = self.0.signals.undecoded.try_update(|count| {
            *count += 1;
            *count
        });
        // Once is enough to find it; a log line an event would bury everything else.
        if count == Some(1) {
            leptos::logging::warn!("an event named {name:?} could not be decoded: {error}");
        }
    }

    /// A reason to stop, when the action was in vain.
    fn execute(&self, action: Action) -> Option<&'static str> {
        match action {
            Action::Open => self.0.transport.borrow_mut().open(self),
            Action::Abandon => self.0.transport.borrow_mut().abandon(),
            Action::Ping => self.0.transport.borrow_mut().ping(now()),
            Action::Probe => {
                let (driver, url) = (self.clone(), self.0.transport.borrow().probe_url());
                spawn_local(async move {
                    let (status, retry_after_ms) = probe::status_of(&url).await;
                    driver.feed(Input::Probed {
                        status,
                        retry_after_ms,
                    });
                });
            }
            Action::RenewSession => {
                let driver = self.clone();
                spawn_local(async move {
                    driver.feed(Input::SessionRenewed(probe::renew_session().await))
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
        let (online, offline) = (on(|| Input::Online(true)), on(|| Input::Online(false)));
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
        self.feed(Input::Online(window().navigator().on_line()));
        self.feed(Input::Visible(
            document().visibility_state() == web_sys::VisibilityState::Visible,
        ));
    }
}

/// Unix milliseconds. Not the monotonic clock: that one stands still while a laptop sleeps, and a connection does not.
pub(super) fn now() -> f64 {
    js_sys::Date::now()
}
