//! A socket with two channels: the machine, the outbox and the list, driven as `use_socket.rs` and `use_channel.rs` do.

mod driver;
mod faults;

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    channel_server::{CHANNELS, Command, Down, Server, Wall},
    engine::{Engine, feed},
    rules::{self, CONNECT_MS},
    socket_faults::Fault,
    world::{DOWN, Wire, World},
};
use crate::{
    client::{channel::ChannelList, outbox::Outbox},
    position::{Epoch, Position},
    status::{Input, Liveness, Renewal},
};

/// Longer than the outbox and the list wait after the last refusal, also where it sends one message at a time.
const SETTLES_MS: u64 = 300_000;

/// A fault of the driver or of the server, to prove that a rule finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    KeepsOldConnection,
    IgnoresDrain,
    ForgetsTimers,
    /// A timer that was cancelled is set again and again.
    RepeatsTimers,
    KeepsDuplicates,
    MovesWithHead,
    OutboxForgets,
    ServerForgetsIds,
    ServerLetsOvertake,
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    Input(Input),
    Timer(u64),
    Flush(f64),
    Join(f64),
    Credential {
        request: u64,
        is_given: bool,
    },
    Renewal {
        request: u64,
        question: u32,
        is_given: bool,
    },
    Send(usize),
    Connect(usize),
    Down(usize, Down),
    Up(usize, Up),
    /// The browser finds that the connection is gone.
    Gone(usize),
    Fault(Fault),
    ServerUp,
    ServerTakes,
    /// The faults have ended.
    Calm,
    /// The connection has to be back.
    Due,
    End,
}

/// Client to server.
#[derive(Debug)]
pub enum Up {
    Ping,
    Command(Command),
    Closed,
}

/// What a page shows of a channel.
#[derive(Default)]
struct Page {
    epoch: Option<Epoch>,
    /// The offset before the first message.
    after: u64,
    ids: Vec<Uuid>,
    /// The newest head that an answer to a join named, for a planted fault.
    head: u64,
}

pub struct Socket {
    pub world: World<Event>,
    pub engine: Engine,
    pub server: Server,
    pub wires: Vec<Wire>,
    /// The page gets no events and no timers until then.
    pub frozen_until: u64,
    /// The page is in the back-forward cache until then.
    pub left_until: u64,
    /// The browser's buffer is full until then.
    pub full_until: u64,
    planted: Option<Planted>,
    has_credentials: bool,
    heartbeat_ms: u64,
    /// The connection that the machine has, and whether it can be written to.
    pub held: Option<usize>,
    is_writable: bool,
    was_open: bool,
    outbox: Outbox<Command>,
    list: ChannelList<Wall>,
    flush_alarm: Option<f64>,
    join_alarm: Option<f64>,
    pages: [Page; 2],
    sent: u64,
    acknowledged: BTreeSet<Uuid>,
}

impl Socket {
    /// Runs the schedule of a seed. Returns the world, which holds what was found.
    pub fn run(seed: u64, planted: Option<Planted>, traced: bool) -> World<Event> {
        let mut world = World::new(seed, traced);
        let heartbeat_ms = world.random.between(1_000..=20_000);
        let has_credentials = world.random.chance(30);
        let mut this = Self {
            world,
            engine: Engine::new(Liveness::Ping),
            server: Server::new(),
            wires: vec![],
            frozen_until: 0,
            left_until: 0,
            full_until: 0,
            planted,
            has_credentials,
            heartbeat_ms,
            held: None,
            is_writable: false,
            was_open: false,
            outbox: Outbox::default(),
            list: ChannelList::default(),
            flush_alarm: None,
            join_alarm: None,
            pages: Default::default(),
            sent: 0,
            acknowledged: BTreeSet::new(),
        };
        this.server.forgets_ids = planted == Some(Planted::ServerForgetsIds);
        this.server.lets_overtake = planted == Some(Planted::ServerLetsOvertake);
        this.begin();
        loop {
            let (frozen, wires) = (this.frozen_until, &this.wires);
            let held_until = |event: &Event| match event {
                Event::Down(wire, _) => (frozen.max(wires[*wire].stalled_until), false),
                Event::Up(wire, _) => (wires[*wire].stalled_until, false),
                Event::Timer(_) => (frozen, true),
                Event::Input(_)
                | Event::Flush(_)
                | Event::Join(_)
                | Event::Credential { .. }
                | Event::Renewal { .. }
                | Event::Send(_)
                | Event::Gone(_) => (frozen, false),
                _ => (0, false),
            };
            match this.world.next(held_until) {
                Some(event) => this.handle(event),
                None => return this.world,
            }
            this.deliver();
        }
    }

    fn begin(&mut self) {
        for (channel, name) in CHANNELS.iter().enumerate() {
            for _ in 0..self.world.random.between(0..=20) {
                self.server.append(channel);
            }
            // The server rendered the page, or the page was reached without it.
            let rendered = self.world.random.chance(50).then(|| {
                let page = &mut self.pages[channel];
                page.epoch = Some(self.server.epoch());
                page.ids = self.server.logs[channel].ids.clone();
                Position::new(self.server.epoch(), self.server.head(channel))
            });
            self.list.add(name, rendered);
        }
        for _ in 0..self.world.random.between(0..=25) {
            let channel = self.world.random.index(2);
            self.world.add_fault(Event::Send(channel));
        }
        for _ in 0..self.world.random.between(5..=40) {
            let fault = Fault::any(&mut self.world.random);
            self.world.add_fault(Event::Fault(fault));
        }
        let calm_at = self.world.calm_at + 1;
        self.world.add_in(calm_at, Event::Calm);
        self.world.add_in(0, Event::Input(Input::Wanted));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Input(input) => feed(self, 0, input),
            Event::Timer(timer) if timer == self.engine.timer => feed(self, 0, Input::Timer),
            Event::Timer(timer) if self.planted == Some(Planted::RepeatsTimers) => {
                self.world.add_in(1, Event::Timer(timer));
            }
            Event::Timer(_) => {}
            Event::Flush(due) => {
                if self
                    .flush_alarm
                    .take_if(|present| *present == due)
                    .is_some()
                {
                    self.flush();
                }
            }
            Event::Join(due) => {
                if self.join_alarm.take_if(|present| *present == due).is_some() {
                    self.join();
                }
            }
            Event::Credential { request, is_given } if request == self.engine.request => {
                if is_given {
                    self.server.has_session = true;
                    feed(self, 0, Input::Authorized);
                    self.open_wire();
                } else {
                    let error = String::new();
                    feed(self, 0, Input::Unauthorized { error });
                }
            }
            Event::Renewal {
                request,
                question,
                is_given,
            } if request == self.engine.request => {
                let retry_after_ms = self.world.random.chance(50).then_some(7_000);
                let renewal = match is_given {
                    true => Renewal::Renewed,
                    false => Renewal::Failed { retry_after_ms },
                };
                self.server.has_session |= is_given;
                feed(self, 0, Input::SessionRenewed { question, renewal });
            }
            Event::Credential { .. } | Event::Renewal { .. } => {}
            Event::Send(channel) => self.send_reliably(channel),
            Event::Connect(wire) => self.server.connect(wire),
            Event::Down(wire, item) if self.held == Some(wire) && !self.wires[wire].dead => {
                self.receive(item);
            }
            Event::Down(..) => {}
            Event::Up(wire, up) if !self.wires[wire].dead => match up {
                Up::Ping if self.server.is_serving(wire) => {
                    self.server.out.push((wire, Down::Pong));
                }
                Up::Ping => {}
                Up::Command(command) => {
                    self.server.command(wire, command, &mut self.world.random);
                }
                Up::Closed => self.server.forget(wire),
            },
            Event::Up(..) => {}
            Event::Gone(wire) if self.held == Some(wire) => self.closed(1006, ""),
            Event::Gone(_) => {}
            Event::Fault(fault) => fault.happen(self),
            Event::ServerUp => self.server.is_up = true,
            Event::ServerTakes => self.server.refuses = None,
            Event::Calm => self.calm(),
            Event::Due => self.due(),
            Event::End => self.end(),
        }
    }

    /// Puts what the server sends on the wires.
    fn deliver(&mut self) {
        for check in std::mem::take(&mut self.server.checks) {
            self.world.check(check);
        }
        if self.world.broken.is_some() {
            return;
        }
        for (wire, item) in std::mem::take(&mut self.server.out) {
            let wait = self.wires[wire].wait(DOWN, &mut self.world);
            self.world.add_in(wait, Event::Down(wire, item));
        }
    }

    fn calm(&mut self) {
        self.server.has_session = true;
        self.server.skips_next = false;
        for input in [Input::Online(true), Input::PageShown, Input::Visible(true)] {
            feed(self, 0, input);
        }
        let within = rules::socket_is_back_within(self.heartbeat_ms);
        self.world.add_in(within, Event::Due);
    }

    fn due(&mut self) {
        let within = rules::socket_is_back_within(self.heartbeat_ms);
        // The server's wish comes first.
        let due_at = self.engine.allowed_at + within;
        if self.engine.allowed_at > self.world.calm_at && self.world.now < due_at {
            return self.world.add_in(due_at - self.world.now, Event::Due);
        }
        let is_alive = self.held.is_some_and(|wire| !self.wires[wire].dead);
        let check = rules::back_in_time(
            self.engine.is_open() && is_alive,
            self.engine.machine.status(),
        );
        self.world.check(check);
        if self.world.broken.is_none() {
            // One more message in each channel shows a hole that was the last.
            for channel in 0..CHANNELS.len() {
                self.world.add_in(CONNECT_MS, Event::Send(channel));
            }
            self.world.add_in(SETTLES_MS, Event::End);
        }
    }

    fn end(&mut self) {
        for (page, log) in self.pages.iter().zip(&self.server.logs) {
            let ids = log.ids.get(page.after as usize..).unwrap_or_default();
            let check = rules::holds_everything(
                &(&page.epoch, &page.ids[..]),
                &(&Some(self.server.epoch()), ids),
            );
            self.world.check(check);
        }
        let (acknowledged, waiting) = (self.acknowledged.len() as u64, self.outbox.waiting());
        self.world
            .check(rules::all_acknowledged(self.sent, acknowledged, waiting));
        self.world.end();
    }
}
