//! Executes the faults around a socket.

use super::{Event, Socket};
use crate::{
    client::tests::simulator::{channel_server::Down, socket_faults::Fault},
    message::ErrorCode,
    status::Input,
};

impl Fault {
    pub fn happen(self, socket: &mut Socket) {
        let Socket { world, server, .. } = socket;
        let channel = world.random.index(2);
        match self {
            Self::Others => (0..world.random.between(1..=15)).for_each(|_| server.append(channel)),
            Self::Cut => socket.lose_wire(true),
            Self::Dead => socket.lose_wire(false),
            Self::Stall => {
                let until = world.now + world.lasting(1_000..=40_000);
                if let Some(wire) = socket.held {
                    let stalled_until = &mut socket.wires[wire].stalled_until;
                    *stalled_until = until.max(*stalled_until);
                }
            }
            Self::Swallow => {
                world.swallows_until = world.now + world.lasting(1_000..=60_000);
                socket.lose_wire(false);
            }
            Self::Offline => {
                let lasting = world.lasting(1_000..=60_000);
                world.unplugged_until = world.now + lasting;
                let (lost, back) = (Input::Online(false), Input::Online(true));
                world.add_in(0, Event::Input(lost));
                world.add_in(lasting, Event::Input(back));
                socket.lose_wire(false);
            }
            Self::FalselyOffline => {
                let lasting = world.lasting(1_000..=60_000);
                world.add_in(0, Event::Input(Input::Online(false)));
                world.add_in(lasting, Event::Input(Input::Online(true)));
            }
            Self::Drain if server.is_up => {
                let retry_ms = world.random.between(1_000..=20_000);
                server.close_all(Some(Down::Drain(retry_ms)), Down::Close(1012, ""));
                socket.stop_server();
            }
            Self::Kill if server.is_up => {
                let is_told = world.random.chance(70);
                socket.lose_wire(is_told);
                socket.stop_server();
            }
            Self::Drain | Self::Kill => {}
            Self::Close => {
                const CODES: [u16; 5] = [1001, 1011, 1013, 4100, 4102];
                let code = CODES[world.random.index(CODES.len())];
                server.close_all(None, Down::Close(code, ""));
            }
            Self::Expire => {
                server.has_session = false;
                server.close_all(None, Down::Close(4001, "expired"));
            }
            Self::Refuse => {
                let code = match world.random.chance(50) {
                    true => ErrorCode::RateLimited,
                    false => ErrorCode::Unavailable,
                };
                server.refuses = Some((code, world.random.between(50..=4_000)));
                let lasting = world.lasting(500..=20_000);
                world.add_in(lasting, Event::ServerTakes);
            }
            Self::Truncate => server.truncate(channel, &mut world.random),
            Self::ForgetJoins => server.forget_joins(channel),
            Self::Skip => server.skips_next = true,
            Self::Repeat => server.repeat(channel),
            Self::Full => socket.full_until = world.now + world.lasting(100..=10_000),
            Self::Sleep => {
                let until = world.now + world.lasting(1_000..=90_000);
                socket.frozen_until = socket.frozen_until.max(until);
            }
            Self::SetClock => {
                let by = world.random.between(1..=100_000) as f64;
                match world.random.chance(50) {
                    true => {
                        world.set_clock(by);
                        // The machine knows only this clock, so the wait is over earlier.
                        let allowed_at = &mut socket.engine.allowed_at;
                        *allowed_at = allowed_at.saturating_sub(by as u64);
                    }
                    false => world.set_clock(-by),
                }
            }
            Self::Hide => {
                let lasting = world.lasting(1_000..=90_000);
                world.add_in(0, Event::Input(Input::Visible(false)));
                world.add_in(lasting, Event::Input(Input::Visible(true)));
            }
            // A page is shown before it is hidden again.
            Self::Leave if world.now < socket.left_until => {}
            Self::Leave => {
                let lasting = world.lasting(1_000..=30_000);
                socket.left_until = world.now + lasting;
                world.add_in(0, Event::Input(Input::PageHidden));
                world.add_in(lasting, Event::Input(Input::PageShown));
            }
            Self::Retry => world.add_in(0, Event::Input(Input::RetryNow)),
            Self::Reconnect => world.add_in(0, Event::Input(Input::Wanted)),
        }
    }
}

impl Socket {
    /// The connection delivers nothing more. If it was cut, both sides learn of it.
    fn lose_wire(&mut self, is_cut: bool) {
        let Some(wire) = self.held else { return };
        self.wires[wire].dead = true;
        if is_cut {
            self.server.forget(wire);
            let wait = self.world.latency();
            self.world.add_in(wait, Event::Gone(wire));
        }
    }

    /// The server is down for a time. Its history may be lost.
    fn stop_server(&mut self) {
        let keeps_history = self.world.random.chance(70);
        self.server.stop(keeps_history);
        let lasting = self.world.lasting(100..=20_000);
        self.world.add_in(lasting, Event::ServerUp);
    }
}
