//! What `use_socket.rs` and `use_channel.rs` do in the browser.

use uuid::Uuid;

use super::{Event, Planted, Socket, Up};
use crate::{
    channel::{ChannelCommand, ChannelContract, NOT_JOINED},
    client::{
        channel::Applied,
        outbox::Outbox,
        tests::simulator::{
            channel_server::{CHANNELS, Command, Down, Event as ChannelEvent, Wall},
            engine::{Browser, Engine, feed},
            rules,
            world::{UP, Wire},
        },
        uplink::{self, Next},
    },
    contract::{Refusal, SocketContract},
    message::{ErrorCode, SocketError},
    position::Position,
    sharing::Asked,
    status::{Action, Input, Renewal},
};

/// The wait after a refusal that sets none, in milliseconds, as in `use_socket.rs`.
const RETRY_AFTER_MS: f64 = 1_000.0;

impl Socket {
    pub(super) fn open_wire(&mut self) {
        let wire = self.wires.len();
        self.wires.push(Wire::default());
        self.held = Some(wire);
        if self.world.now < self.world.unplugged_until {
            self.world.add_in(5, Event::Gone(wire));
        } else if self.world.is_swallowing() {
            self.wires[wire].dead = true;
        } else {
            let wait = self.wires[wire].wait(UP, &mut self.world);
            self.world.add_in(wait, Event::Connect(wire));
        }
    }

    pub(super) fn closed(&mut self, code: u16, reason: &str) {
        self.is_writable = false;
        let reason = reason.to_owned();
        feed(self, 0, Input::SocketClosed { code, reason });
    }

    pub(super) fn receive(&mut self, item: Down) {
        let input = match item {
            Down::Opened => {
                self.is_writable = true;
                Input::TransportOpen
            }
            Down::Close(code, reason) => return self.closed(code, reason),
            Down::Welcome => {
                let heartbeat_ms = self.heartbeat_ms;
                feed(self, 0, Input::Greeted { heartbeat_ms });
                self.list.lost();
                self.join();
                Input::Frame
            }
            Down::Pong => Input::Pong,
            Down::Drain(retry_ms) => Input::Drain { retry_ms },
            Down::Error(error) => {
                self.refused(&error);
                Input::Frame
            }
            Down::Event(event) => {
                self.apply(&event);
                Input::Frame
            }
        };
        feed(self, 0, input);
    }

    pub(super) fn apply(&mut self, event: &ChannelEvent) {
        let Some((name, _)) = Wall::meaning(event) else {
            return;
        };
        let channel = CHANNELS.iter().position(|it| *it == name).unwrap();
        match (self.list.apply(event), event) {
            (Applied::Joined { recovered }, ChannelEvent::Joined { joined, .. }) => {
                let page = &mut self.pages[channel];
                page.head = joined.head;
                if !recovered {
                    self.world.reach("a page that began anew");
                    page.epoch = Some(joined.epoch.clone());
                    page.after = joined.head - joined.replayed;
                    page.ids.clear();
                }
                self.outbox.ready(name);
                self.flush();
            }
            (Applied::New, event) => self.show(channel, event),
            (Applied::Duplicate, event) => {
                self.world.reach("a duplicate");
                if self.planted == Some(Planted::KeepsDuplicates) {
                    self.show(channel, event);
                }
            }
            (Applied::Gap { rejoins, .. }, event) => {
                self.world.reach("a gap");
                if rejoins {
                    self.outbox.not_ready(name);
                    self.join();
                } else {
                    self.show(channel, event);
                }
            }
            (Applied::Acknowledged { id, .. }, _) => {
                let is_stored = self.server.stored.contains(&id);
                let number = id.as_u128() as u64;
                let check = rules::acknowledged_what_is_stored(is_stored, number);
                self.world.check(check);
                self.acknowledged.insert(id);
                if self.outbox.remove(id).is_some() {
                    self.flush();
                }
            }
            _ => {}
        }
    }

    /// The page shows a message.
    pub(super) fn show(&mut self, channel: usize, event: &ChannelEvent) {
        let ChannelEvent::Message { entry, .. } = event else {
            return;
        };
        let page = &mut self.pages[channel];
        let held = page.after + page.ids.len() as u64;
        page.ids.push(entry.id.value());
        self.world.check(rules::no_double(held, entry.offset));
        self.world.check(rules::no_hole(held, entry.offset));
    }

    pub(super) fn refused(&mut self, error: &SocketError) {
        self.world.reach("a refusal");
        let clock = self.world.clock();
        let id = error.re.as_ref().and_then(|id| id.parse::<Uuid>().ok());
        if let Some(id) = id.filter(|id| self.outbox.contains(*id)) {
            match Wall::after_refusal(&error.code) {
                Refusal::Retry => {
                    let wait = error
                        .retry_after_ms
                        .map_or(RETRY_AFTER_MS, |wait| wait as f64);
                    let is_paced = error.code == ErrorCode::RateLimited;
                    self.outbox.refused(id, clock, wait, is_paced);
                    return self.flush();
                }
                Refusal::Fail => {
                    self.outbox.fail(id, &error.message);
                    self.flush();
                }
                Refusal::Keep => {}
            }
        }
        let until = self.list.refused(error, clock);
        if let (true, Some(name)) = (error.code == NOT_JOINED, Wall::channel_of(error)) {
            self.world.reach("a socket that was forgotten");
            self.outbox.not_ready(name);
        }
        if until.is_some() {
            self.join();
        }
    }

    pub(super) fn send_reliably(&mut self, channel: usize) {
        self.sent += 1;
        let (id, name) = (Uuid::from_u128(self.sent.into()), CHANNELS[channel]);
        let command = Wall::send(name, id, String::new());
        self.outbox.push(id, name, command).unwrap();
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        let clock = self.world.clock();
        let has_room = self.world.now >= self.full_until;
        let due_at = loop {
            match uplink::next(&mut self.outbox, has_room, clock) {
                Next::Send(command) => self.send(command),
                Next::WaitUntil(due_at) => break due_at,
                Next::Idle => return,
            }
        };
        if self.flush_alarm.is_none_or(|present| due_at < present) {
            self.flush_alarm = Some(due_at);
            let wait = (due_at - clock).ceil() as u64;
            self.world.add_in(wait, Event::Flush(due_at));
        }
    }

    /// Sends the joins that are due.
    pub(super) fn join(&mut self) {
        let clock = self.world.clock();
        for join in self.list.joins_due(CHANNELS[0], clock) {
            self.send(self.planted_join(join));
        }
        if let Some(due_at) = self.list.due_at()
            && self.join_alarm.is_none_or(|present| due_at < present)
        {
            self.join_alarm = Some(due_at);
            let wait = (due_at - clock).ceil().max(1.0) as u64;
            self.world.add_in(wait, Event::Join(due_at));
        }
    }

    /// The join that a client would send whose position moves with the head.
    pub(super) fn planted_join(&self, join: Command) -> Command {
        match join {
            ChannelCommand::Join {
                channel,
                after: Some(after),
            } if self.planted == Some(Planted::MovesWithHead) => {
                let number = CHANNELS.iter().position(|it| *it == channel).unwrap();
                let offset = after.offset.max(self.pages[number].head);
                let after = Some(Position::new(after.epoch, offset));
                ChannelCommand::Join { channel, after }
            }
            join => join,
        }
    }

    /// Sends a command on this connection, if there is one.
    pub(super) fn send(&mut self, command: Command) {
        if let Some(wire) = self.held.filter(|_| self.is_writable) {
            self.put(wire, Up::Command(command));
        }
    }

    pub(super) fn put(&mut self, wire: usize, up: Up) {
        let wait = self.wires[wire].wait(UP, &mut self.world);
        self.world.add_in(wait, Event::Up(wire, up));
    }
}

impl Browser for Socket {
    fn engine(&mut self, _: usize) -> &mut Engine {
        &mut self.engine
    }

    fn tick(&mut self) -> (u64, f64, f64) {
        let random = self.world.random.unit();
        (self.world.now, self.world.clock(), random)
    }

    fn execute(&mut self, _: usize, action: Action) {
        self.world.note(|| format!("{action:?}"));
        match action {
            Action::Open => {
                self.world.check(rules::one_connection(self.held));
                let by_person = self.engine.asked == Asked::ByPerson;
                let allowed_at = self.engine.allowed_at;
                if allowed_at > 0 && self.world.now >= allowed_at {
                    self.world.reach("a wait that the server asked for");
                }
                let check = rules::not_too_soon(self.world.now, allowed_at, by_person);
                self.world.check(check);
                if !self.has_credentials {
                    return self.open_wire();
                }
                let request = self.engine.ask();
                let calm = self.world.now > self.world.calm_at;
                let (fails, hangs) = (self.world.random.chance(10), self.world.random.chance(10));
                if calm || !hangs {
                    let wait = self.world.random.between(5..=800);
                    let is_given = calm || !fails;
                    self.world
                        .add_in(wait, Event::Credential { request, is_given });
                }
            }
            Action::Abandon => {
                self.engine.ask();
                if self.planted == Some(Planted::KeepsOldConnection) {
                    return;
                }
                self.is_writable = false;
                if let Some(wire) = self.held.take() {
                    self.put(wire, Up::Closed);
                }
            }
            Action::Ping => {
                if let Some(wire) = self.held.filter(|_| self.is_writable) {
                    self.put(wire, Up::Ping);
                }
            }
            // The next attempt obtains a new credential.
            Action::RenewSession { question } if self.has_credentials => {
                let renewal = Renewal::Renewed;
                feed(self, 0, Input::SessionRenewed { question, renewal });
            }
            Action::RenewSession { question } => {
                self.world.reach("a renewal");
                let request = self.engine.ask();
                let calm = self.world.now > self.world.calm_at;
                let (fails, hangs) = (self.world.random.chance(30), self.world.random.chance(10));
                if calm || !hangs {
                    let wait = self.world.random.between(5..=800);
                    let is_given = calm || !fails;
                    let renewal = Event::Renewal {
                        request,
                        question,
                        is_given,
                    };
                    self.world.add_in(wait, renewal);
                }
            }
            Action::Probe { .. } | Action::Reload | Action::DropKept => {}
        }
    }

    fn settle(&mut self, _: usize, wait_ms: Option<u64>) {
        if let Some(wait_ms) = wait_ms {
            let timer = Event::Timer(self.engine.timer);
            self.world.add_in(wait_ms, timer);
        }
        let is_open = self.engine.is_open();
        if std::mem::replace(&mut self.was_open, is_open) && !is_open {
            self.world.reach("a lost connection");
            self.outbox.lost();
            if self.planted == Some(Planted::OutboxForgets) {
                self.outbox = Outbox::default();
            }
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
