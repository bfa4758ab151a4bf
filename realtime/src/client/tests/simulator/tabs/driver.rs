//! What `transports/shared.rs` and the browser do with several tabs.

use super::{Event, Planted, Tabs};
use crate::{
    client::{
        stream::{Received, StreamEvent},
        tests::simulator::{
            engine::{Browser, Engine, feed},
            rules,
            stream_server::{Counted, Down},
            world::{UP, Wire},
        },
    },
    json,
    message::{Hello, StreamControl},
    position::Position,
    sharing::{Action as TabAction, Asked, Frame, Role, Tab, TabMessage},
    status::{Action, Input},
};

/// As in `transports/shared.rs`.
const STATE_SETTLES_MS: u64 = 100;

impl Tabs {
    pub(super) fn receive(&mut self, tab: usize, item: Down) {
        let (name, data, id) = match item {
            Down::Opened => return feed(self, tab, Input::TransportOpen),
            Down::Error => return feed(self, tab, Input::StreamError),
            Down::Frame { name, data, id } => (name, data, id),
        };
        let before = self.windows[tab].stream.position();
        let is_new = self.deliver(tab, name, &data, &id);
        match name {
            "hello" => {
                let hello: Hello = json::decode(&data).unwrap();
                self.react(tab, |tab, _| tab.greeted(hello));
            }
            "drain" => {}
            _ => {
                let frame = Frame {
                    name: name.into(),
                    data,
                    at: id.parse().ok(),
                    after: before,
                };
                match is_new {
                    true => self.react(tab, |tab, held| tab.received(frame, held)),
                    false => self.react(tab, |tab, _| tab.received_duplicate(frame)),
                }
            }
        }
    }

    /// Delivers an event to the page of a tab, as `Stream::deliver` does. Returns whether it was new.
    pub(super) fn deliver(&mut self, tab: usize, name: &str, data: &str, id: &str) -> bool {
        let window = &mut self.windows[tab];
        let received = window.stream.receive(name, data, id);
        let at: Option<Position> = id.parse().ok();
        for event in window.handled.take() {
            if let StreamEvent::Event(event) = event {
                self.show(tab, &event, at.as_ref());
            }
        }
        let is_new = !matches!(received, Received::Duplicate);
        let input = match received {
            Received::Greeted(hello) => Input::Greeted {
                heartbeat_ms: hello.heartbeat_ms,
            },
            Received::Drain { retry_ms } => Input::Drain { retry_ms },
            Received::Undecoded(error) => panic!("{name} {data}: {error}"),
            Received::Duplicate => {
                self.world.reach("a duplicate");
                if self.planted == Some(Planted::KeepsDuplicates) {
                    let event = json::decode(data).unwrap();
                    self.show(tab, &event, at.as_ref());
                }
                Input::Frame
            }
            Received::Heartbeat { .. } | Received::Event { .. } => Input::Frame,
        };
        feed(self, tab, input);
        is_new
    }

    /// The page shows a state or a change.
    pub(super) fn show(&mut self, tab: usize, event: &Counted, at: Option<&Position>) {
        let (shown, at) = (&mut self.windows[tab].shown, at.unwrap().clone());
        if let Counted::Change { number } = event {
            // A change of a history of which the page holds nothing follows a hole.
            let held = shown.as_ref().filter(|shown| shown.epoch == at.epoch);
            let (held, number) = held.map_or((0, u64::MAX), |held| (held.offset, *number));
            self.world.check(rules::no_double(held, number));
            self.world.check(rules::no_hole(held, number));
        } else {
            self.world.reach("a page that began anew");
        }
        *shown = Some(at);
    }

    pub(super) fn react(
        &mut self,
        tab: usize,
        reaction: impl FnOnce(&mut Tab, Option<&Position>) -> Vec<TabAction>,
    ) {
        let window = &mut self.windows[tab];
        if window.is_closed || window.channel.is_none() {
            return;
        }
        let held = window.stream.position();
        let actions = reaction(&mut window.tab, held.as_ref());
        self.execute_all(tab, actions);
    }

    pub(super) fn execute_all(&mut self, tab: usize, actions: Vec<TabAction>) {
        // The position moves before the events up to it are delivered.
        if self.planted == Some(Planted::MovesFirst) {
            for action in &actions {
                if let TabAction::MoveTo(at) = action {
                    self.windows[tab].stream.set_position(Some(at.clone()));
                }
            }
        }
        for action in actions {
            let stream = &self.windows[tab].stream;
            match action {
                TabAction::Send(message) => self.post(tab, &message),
                TabAction::OpenStream => self.open_source(tab),
                TabAction::CloseStream => self.close_source(tab),
                TabAction::FinishLoading => {
                    self.world.reach("a follower that loads a state");
                    self.world.add_in(STATE_SETTLES_MS, Event::Loaded(tab));
                }
                TabAction::ForgetPosition => stream.set_position(None),
                TabAction::Greet(hello) => {
                    let hello = serde_json::to_string(&StreamControl::Hello(hello)).unwrap();
                    self.deliver(tab, "hello", &hello, "");
                }
                TabAction::Deliver(frame) => {
                    let id = frame.at.map(|at| at.to_string()).unwrap_or_default();
                    self.deliver(tab, &frame.name, &frame.data, &id);
                }
                TabAction::MoveTo(at) => {
                    if stream.position().is_none_or(|held| held < at) {
                        stream.set_position(Some(at));
                    }
                }
                TabAction::Lost => feed(self, tab, Input::StreamError),
                TabAction::RetryNow => feed(self, tab, Input::RetryNow),
                TabAction::TryNow => feed(self, tab, Input::Reachable),
                TabAction::WaitedFor => feed(self, tab, Input::WaitedFor),
                TabAction::Restart => feed(self, tab, Input::Wanted),
            }
        }
    }

    /// Sends a message to the other tabs.
    pub(super) fn post(&mut self, from: usize, message: &TabMessage) {
        for tab in self.open_windows() {
            let now = self.world.now;
            let at = now + self.world.random.between(0..=20);
            let window = &mut self.windows[tab];
            if let Some(channel) = window.channel.filter(|_| tab != from) {
                window.last_message = at.max(window.last_message);
                let message = message.clone();
                let wait = window.last_message - now;
                self.world.add_in(
                    wait,
                    Event::Message {
                        tab,
                        channel,
                        message,
                    },
                );
            }
        }
    }

    pub(super) fn open_source(&mut self, tab: usize) {
        let check = rules::one_connection(self.windows[tab].source);
        self.world.check(check);
        let wire = self.wires.len();
        self.wires.push((tab, Wire::default()));
        self.windows[tab].source = Some(wire);
        if self.world.now < self.world.unplugged_until {
            self.world.add_in(5, Event::Gone(wire));
        } else if self.world.is_swallowing() {
            self.wires[wire].1.dead = true;
        } else {
            let after = self.windows[tab].stream.position();
            let wait = self.wires[wire].1.wait(UP, &mut self.world);
            self.world.add_in(wait, Event::Connect(wire, after));
        }
    }

    pub(super) fn close_source(&mut self, tab: usize) {
        if self.planted == Some(Planted::KeepsOldStream) {
            return;
        }
        if let Some(wire) = self.windows[tab].source.take() {
            let wait = self.wires[wire].1.wait(UP, &mut self.world);
            self.world.add_in(wait, Event::Ended(wire));
        }
    }

    /// Opens the channel to the other tabs and requests the lock.
    pub(super) fn join_the_tabs(&mut self, tab: usize) {
        if self.windows[tab].channel.is_none() {
            self.numbers += 1;
            self.windows[tab].channel = Some(self.numbers);
            self.windows[tab].ticket = self.numbers;
            self.waiting.push_back((tab, self.numbers));
            self.grant();
        }
    }

    /// Grants the lock to the next tab, if it is free.
    pub(super) fn grant(&mut self) {
        let is_free = self.holder.is_none() || self.planted == Some(Planted::ManyLeaders);
        if let (true, Some((tab, ticket))) = (is_free, self.waiting.front().copied()) {
            self.waiting.pop_front();
            self.holder = Some(tab);
            self.world.add_in(1, Event::Granted { tab, ticket });
        }
    }

    pub(super) fn release(&mut self, tab: usize) {
        self.waiting.retain(|(waiting, _)| *waiting != tab);
        self.holder.take_if(|holder| *holder == tab);
        self.grant();
    }
}

impl Browser for Tabs {
    fn engine(&mut self, tab: usize) -> &mut Engine {
        &mut self.windows[tab].engine
    }

    fn tick(&mut self) -> (u64, f64, f64) {
        let random = self.world.random.unit();
        (self.world.now, self.world.clock(), random)
    }

    fn execute(&mut self, tab: usize, action: Action) {
        self.world.note(|| format!("tab {tab} {action:?}"));
        let calm = self.world.now > self.world.calm_at;
        match action {
            Action::Open => {
                let window = &self.windows[tab];
                let (allowed_at, asked) = (window.engine.allowed_at, window.engine.asked);
                if allowed_at > 0 && self.world.now >= allowed_at {
                    self.world.reach("a wait that the server asked for");
                }
                let by_person = asked == Asked::ByPerson;
                let check = rules::not_too_soon(self.world.now, allowed_at, by_person);
                self.world.check(check);
                self.join_the_tabs(tab);
                let window = &mut self.windows[tab];
                if window.tab.role() != Role::Leader {
                    feed(self, tab, Input::TransportOpen);
                }
                let window = &mut self.windows[tab];
                let held = window.stream.position();
                let actions = window.tab.open(held.as_ref(), asked);
                self.execute_all(tab, actions);
            }
            Action::Abandon => {
                self.windows[tab].engine.ask();
                self.react(tab, |tab, _| tab.abandon());
            }
            Action::Probe { question } => {
                self.world.reach("a probe");
                let request = self.windows[tab].engine.ask();
                let (wait, now) = (self.world.latency(), self.world.now);
                if now < self.world.unplugged_until {
                    let answer = None;
                    let probed = Event::Probed {
                        tab,
                        request,
                        question,
                        answer,
                    };
                    self.world.add_in(5, probed);
                } else if !self.world.is_swallowing() {
                    let probe = Event::Probe {
                        tab,
                        request,
                        question,
                    };
                    self.world.add_in(wait, probe);
                }
            }
            Action::RenewSession { question } => {
                self.world.reach("a renewal");
                let request = self.windows[tab].engine.ask();
                let (fails, hangs) = (self.world.random.chance(30), self.world.random.chance(10));
                if calm || !hangs {
                    let wait = self.world.random.between(5..=800);
                    let is_given = calm || !fails;
                    let renewal = Event::Renewal {
                        tab,
                        request,
                        question,
                        is_given,
                    };
                    self.world.add_in(wait, renewal);
                }
            }
            Action::Ping | Action::Reload | Action::DropKept => {}
        }
    }

    fn settle(&mut self, tab: usize, wait_ms: Option<u64>) {
        let window = &mut self.windows[tab];
        if let Some(wait_ms) = wait_ms {
            let timer = Event::Timer(tab, window.engine.timer);
            self.world.add_in(wait_ms, timer);
        }
        if window.engine.is_ended() && window.channel.take().is_some() {
            window.tab.resign();
            self.release(tab);
        }
    }

    fn withholds(&self, input: &Input) -> bool {
        match self.planted {
            Some(Planted::IgnoresDrain) => matches!(input, Input::Drain { .. }),
            Some(Planted::ForgetsTimers) => *input == Input::Timer,
            _ => false,
        }
    }
}
