//! An event stream that several tabs share: a machine, a [`Tab`] and a [`Stream`] each, driven as `transports/shared.rs` does.

mod driver;
mod faults;

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use super::{
    engine::{Engine, feed},
    rules,
    stream_server::{Counted, Counter, Down, Server},
    tabs_faults::Fault,
    world::{DOWN, Wire, World},
};
use crate::{
    client::stream::{Stream, StreamEvent},
    position::Position,
    sharing::{Role, Tab, TabMessage},
    status::{Answer, Input, Liveness, Renewal},
};

/// The last message between tabs, the last event and the next heartbeat have arrived.
const SETTLES_MS: u64 = 60_000;

/// A fault of the driver or of the browser, to prove that a rule finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    KeepsOldStream,
    IgnoresDrain,
    ForgetsTimers,
    KeepsDuplicates,
    /// The position moves before the events up to it are delivered.
    MovesFirst,
    /// The browser grants the lock to every tab.
    ManyLeaders,
}

#[derive(Debug)]
pub enum Event {
    Input(usize, Input),
    Timer(usize, u64),
    Granted {
        tab: usize,
        ticket: u64,
    },
    Message {
        tab: usize,
        channel: u64,
        message: TabMessage,
    },
    Loaded(usize),
    Probe {
        tab: usize,
        request: u64,
        question: u32,
    },
    Probed {
        tab: usize,
        request: u64,
        question: u32,
        answer: Option<Answer>,
    },
    Renewal {
        tab: usize,
        request: u64,
        question: u32,
        is_given: bool,
    },
    Connect(usize, Option<Position>),
    Down(usize, Down),
    /// The server finds that the stream is gone.
    Ended(usize),
    /// The browser finds that the stream is gone.
    Gone(usize),
    Heartbeat(usize),
    Fault(Fault),
    ServerUp,
    ServerTakes,
    Calm,
    Due,
    End,
}

/// A tab of the browser.
pub struct Window {
    pub engine: Engine,
    pub is_closed: bool,
    pub frozen_until: u64,
    /// The page is in the back-forward cache until then.
    pub left_until: u64,
    /// The stream of its own.
    pub source: Option<usize>,
    tab: Tab,
    stream: Stream,
    handled: Rc<RefCell<Vec<StreamEvent<Counted>>>>,
    /// The number of its channel to the other tabs, while it has one.
    channel: Option<u64>,
    /// When the last message from another tab arrives.
    last_message: u64,
    /// The number of its request for the lock.
    ticket: u64,
    /// The page has everything up to here.
    shown: Option<Position>,
}

pub struct Tabs {
    pub world: World<Event>,
    pub server: Server,
    pub windows: Vec<Window>,
    pub wires: Vec<(usize, Wire)>,
    pub was_frozen: bool,
    planted: Option<Planted>,
    /// The tab that holds the lock, and those that wait for it.
    pub holder: Option<usize>,
    waiting: VecDeque<(usize, u64)>,
    numbers: u64,
}

impl Tabs {
    /// Runs the schedule of a seed. Returns the world, which holds what was found.
    pub fn run(seed: u64, planted: Option<Planted>, traced: bool) -> World<Event> {
        let mut world = World::new(seed, traced);
        let heartbeat_ms = world.random.between(2_000..=20_000);
        let ring = world.random.between(0..=60);
        let mut this = Self {
            world,
            server: Server::new(heartbeat_ms, ring),
            windows: vec![],
            wires: vec![],
            was_frozen: false,
            planted,
            holder: None,
            waiting: VecDeque::new(),
            numbers: 0,
        };
        for _ in 0..this.world.random.between(2..=3) {
            this.open_window();
        }
        // Schedules without a frozen tab are stricter: no tab may have a stream alone.
        let freezes = this.world.random.chance(60);
        for _ in 0..this.world.random.between(5..=40) {
            let fault = Fault::any(&mut this.world.random, freezes);
            this.world.add_fault(Event::Fault(fault));
        }
        let calm_at = this.world.calm_at + 1;
        this.world.add_in(calm_at, Event::Calm);
        while let Some(event) = this.next() {
            this.handle(event);
            this.deliver_all();
            this.check_streams();
        }
        this.world
    }

    fn next(&mut self) -> Option<Event> {
        let (windows, wires) = (&self.windows, &self.wires);
        let frozen = |tab: &usize| windows[*tab].frozen_until;
        self.world.next(|event| match event {
            Event::Timer(tab, _) => (frozen(tab), true),
            Event::Input(tab, _)
            | Event::Granted { tab, .. }
            | Event::Message { tab, .. }
            | Event::Loaded(tab)
            | Event::Probed { tab, .. }
            | Event::Renewal { tab, .. } => (frozen(tab), false),
            Event::Down(wire, _) => {
                let (tab, wire) = &wires[*wire];
                (frozen(tab).max(wire.stalled_until), false)
            }
            Event::Gone(wire) => (frozen(&wires[*wire].0), false),
            _ => (0, false),
        })
    }

    /// Opens a tab. The server rendered its page, or the page was reached without it.
    pub fn open_window(&mut self) {
        let number = self.windows.len();
        let rendered = self.world.random.chance(50).then(|| self.server.head());
        let handled = Rc::new(RefCell::new(vec![]));
        let events = handled.clone();
        let stream = Stream::new::<Counter>(rendered.clone(), move |event| {
            events.borrow_mut().push(event);
        });
        stream.set_contract(&Counter);
        self.windows.push(Window {
            engine: Engine::new(Liveness::Heartbeat),
            is_closed: false,
            frozen_until: 0,
            left_until: 0,
            source: None,
            tab: Tab::new(number.to_string()),
            stream,
            handled,
            channel: None,
            last_message: 0,
            ticket: 0,
            shown: rendered,
        });
        self.world.add_in(0, Event::Input(number, Input::Wanted));
    }

    pub fn close_window(&mut self, tab: usize) {
        self.close_source(tab);
        self.windows[tab].is_closed = true;
        self.windows[tab].channel = None;
        self.release(tab);
    }

    /// The tabs that are there, by number.
    pub fn open_windows(&self) -> Vec<usize> {
        let is_open = |tab: &usize| !self.windows[*tab].is_closed;
        (0..self.windows.len()).filter(is_open).collect()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Input(tab, input) if !self.windows[tab].is_closed => feed(self, tab, input),
            Event::Timer(tab, timer) if timer == self.windows[tab].engine.timer => {
                if !self.windows[tab].is_closed {
                    feed(self, tab, Input::Timer);
                }
            }
            Event::Input(..) | Event::Timer(..) => {}
            Event::Granted { tab, ticket } => {
                let window = &self.windows[tab];
                if window.ticket == ticket && window.channel.is_some() {
                    self.world.reach("a new leader");
                    self.react(tab, |tab, _| tab.granted());
                }
            }
            Event::Message {
                tab,
                channel,
                message,
            } => {
                if self.windows[tab].channel == Some(channel) {
                    self.react(tab, |tab, held| tab.handle(message, held));
                }
            }
            Event::Loaded(tab) => self.react(tab, Tab::loaded),
            Event::Probe {
                tab,
                request,
                question,
            } => {
                let probed = Event::Probed {
                    tab,
                    request,
                    question,
                    answer: self.server.answer(),
                };
                let wait = self.world.latency();
                self.world.add_in(wait, probed);
            }
            Event::Probed {
                tab,
                request,
                question,
                answer,
            } => {
                if self.windows[tab].engine.request == request && !self.windows[tab].is_closed {
                    feed(self, tab, Input::Probed { question, answer });
                }
            }
            Event::Renewal {
                tab,
                request,
                question,
                is_given,
            } => {
                if self.windows[tab].engine.request == request && !self.windows[tab].is_closed {
                    self.server.has_session |= is_given;
                    let retry_after_ms = self.world.random.chance(50).then_some(7_000);
                    let renewal = match is_given {
                        true => Renewal::Renewed,
                        false => Renewal::Failed { retry_after_ms },
                    };
                    feed(self, tab, Input::SessionRenewed { question, renewal });
                }
            }
            Event::Connect(wire, after) => {
                if !self.wires[wire].1.dead && self.server.connect(wire, after) {
                    self.world
                        .add_in(self.server.heartbeat_ms, Event::Heartbeat(wire));
                }
            }
            Event::Down(wire, item) => {
                let (tab, ref state) = self.wires[wire];
                if self.windows[tab].source == Some(wire) && !state.dead {
                    self.receive(tab, item);
                }
            }
            Event::Ended(wire) => {
                self.server.seats.remove(&wire);
            }
            Event::Gone(wire) => {
                let tab = self.wires[wire].0;
                if self.windows[tab].source == Some(wire) {
                    feed(self, tab, Input::StreamError);
                }
            }
            Event::Heartbeat(wire) => {
                if self.server.seats.contains_key(&wire) {
                    self.server.heartbeat(wire);
                    self.world
                        .add_in(self.server.heartbeat_ms, Event::Heartbeat(wire));
                }
            }
            Event::Fault(fault) => fault.happen(self),
            Event::ServerUp => self.server.is_up = true,
            Event::ServerTakes => self.server.refuses = None,
            Event::Calm => self.calm(),
            Event::Due => self.due(),
            Event::End => self.end(),
        }
    }

    /// Puts what the server sends on the wires.
    fn deliver_all(&mut self) {
        if self.world.broken.is_some() {
            return;
        }
        for (wire, item) in std::mem::take(&mut self.server.out) {
            let wait = self.wires[wire].1.wait(DOWN, &mut self.world);
            self.world.add_in(wait, Event::Down(wire, item));
        }
    }

    fn streams(&self, role: Role) -> usize {
        let has_stream = |window: &&Window| window.source.is_some() && window.tab.role() == role;
        self.windows.iter().filter(has_stream).count()
    }

    fn check_streams(&mut self) {
        let (leaders, alone) = (self.streams(Role::Leader), self.streams(Role::Alone));
        if alone > 0 {
            self.world.reach("a tab alone");
        }
        let check = rules::one_stream(leaders, alone, self.was_frozen);
        self.world.check(check);
    }

    fn calm(&mut self) {
        self.server.has_session = true;
        self.server.refuses = None;
        for tab in self.open_windows() {
            for input in [Input::Online(true), Input::PageShown, Input::Visible(true)] {
                feed(self, tab, input);
            }
        }
        let within = rules::stream_is_back_within(self.server.heartbeat_ms);
        self.world.add_in(within, Event::Due);
    }

    fn due(&mut self) {
        let within = rules::stream_is_back_within(self.server.heartbeat_ms);
        let open = self.open_windows();
        // The server's wish comes first.
        let allowed_at = open.iter().map(|tab| self.windows[*tab].engine.allowed_at);
        let allowed_at = allowed_at.max().unwrap_or(0);
        if allowed_at > self.world.calm_at && self.world.now < allowed_at + within {
            let wait = allowed_at + within - self.world.now;
            return self.world.add_in(wait, Event::Due);
        }
        for tab in open {
            let window = &self.windows[tab];
            let is_dead = window.source.is_some_and(|wire| self.wires[wire].1.dead);
            let state = (tab, window.tab.role(), window.engine.machine.status());
            let check = rules::back_in_time(window.engine.is_open() && !is_dead, state);
            self.world.check(check);
        }
        if self.world.broken.is_none() {
            (0..self.world.random.between(1..=3)).for_each(|_| self.server.publish());
            self.world.add_in(SETTLES_MS, Event::End);
        }
    }

    fn end(&mut self) {
        for tab in self.open_windows() {
            let (shown, head) = (&self.windows[tab].shown, Some(self.server.head()));
            self.world.check(rules::holds_everything(shown, &head));
        }
        let has_stream = |window: &&Window| window.source.is_some();
        let streams = self.windows.iter().filter(has_stream).count();
        self.world.check(rules::one_stream_in_the_end(streams));
        self.world.end();
    }
}
