//! Executes the faults around the tabs of a browser.

use super::{Event, Tabs};
use crate::{client::tests::simulator::tabs_faults::Fault, status::Input};

impl Fault {
    pub fn happen(self, tabs: &mut Tabs) {
        let open = tabs.open_windows();
        let Tabs { world, server, .. } = tabs;
        let tab = open[world.random.index(open.len())];
        match self {
            Self::Publish => (0..world.random.between(1..=15)).for_each(|_| server.publish()),
            Self::Repeat => server.repeat(),
            Self::Cut => tabs.lose_wires(true, true),
            Self::Dead => tabs.lose_wires(true, false),
            Self::Stall => {
                let until = world.now + world.lasting(1_000..=40_000);
                for tab in open {
                    if let Some(wire) = tabs.windows[tab].source {
                        let stalled_until = &mut tabs.wires[wire].1.stalled_until;
                        *stalled_until = until.max(*stalled_until);
                    }
                }
            }
            Self::Swallow => {
                world.swallows_until = world.now + world.lasting(1_000..=60_000);
                tabs.lose_wires(false, false);
            }
            Self::Offline => {
                let lasting = world.lasting(1_000..=60_000);
                world.unplugged_until = world.now + lasting;
                tabs.tell_for(&open, lasting, Input::Online);
                tabs.lose_wires(false, false);
            }
            Self::FalselyOffline => {
                let lasting = world.lasting(1_000..=60_000);
                tabs.tell_for(&open, lasting, Input::Online);
            }
            Self::Drain if server.is_up => {
                server.end_all(Some(world.random.between(1_000..=20_000)));
                tabs.stop_server();
            }
            Self::Kill if server.is_up => {
                let is_told = world.random.chance(70);
                tabs.lose_wires(false, is_told);
                tabs.stop_server();
            }
            Self::Drain | Self::Kill => {}
            Self::Expire => {
                server.has_session = false;
                server.end_all(None);
            }
            Self::Refuse => {
                let status = if world.random.chance(50) { 503 } else { 429 };
                let wait = world.random.between(1_000..=20_000);
                let wait = world.random.chance(70).then_some(wait);
                server.refuses = Some((status, wait));
                let lasting = world.lasting(500..=20_000);
                world.add_in(lasting, Event::ServerTakes);
            }
            Self::Open if open.len() < 4 => tabs.open_window(),
            Self::Close if open.len() > 1 => tabs.close_window(tab),
            Self::Open | Self::Close => {}
            Self::Hide => {
                let lasting = world.lasting(1_000..=90_000);
                tabs.tell_for(&[tab], lasting, Input::Visible);
            }
            // A page is shown before it is hidden again.
            Self::Leave if world.now < tabs.windows[tab].left_until => {}
            Self::Leave => {
                let lasting = world.lasting(1_000..=30_000);
                tabs.windows[tab].left_until = world.now + lasting;
                tabs.tell_for(&[tab], lasting, |is_back| match is_back {
                    true => Input::PageShown,
                    false => Input::PageHidden,
                });
            }
            Self::Retry => world.add_in(0, Event::Input(tab, Input::RetryNow)),
            Self::SetClock => {
                let by = world.random.between(1..=100_000);
                if world.random.chance(50) {
                    return world.set_clock(-(by as f64));
                }
                world.set_clock(by as f64);
                for window in &mut tabs.windows {
                    // The machine knows only this clock, so the wait is over earlier.
                    window.engine.allowed_at = window.engine.allowed_at.saturating_sub(by);
                }
            }
            Self::Freeze => {
                let leader = tabs.holder.filter(|_| tabs.world.random.chance(70));
                tabs.freeze(&[leader.unwrap_or(tab)]);
            }
            Self::Sleep => tabs.freeze(&open),
        }
    }
}

impl Tabs {
    /// The streams deliver nothing more: that of one tab, or all. If they were cut, both sides learn of it.
    fn lose_wires(&mut self, only_one: bool, is_cut: bool) {
        let has_stream = |tab: &usize| self.windows[*tab].source.is_some();
        let mut lost: Vec<_> = self.open_windows().into_iter().filter(has_stream).collect();
        if only_one {
            lost.truncate(1);
        }
        for wire in lost.into_iter().filter_map(|tab| self.windows[tab].source) {
            self.wires[wire].1.dead = true;
            if is_cut {
                self.server.seats.remove(&wire);
                let wait = self.world.latency();
                self.world.add_in(wait, Event::Gone(wire));
            }
        }
    }

    /// Tells tabs that something is gone, and after a time that it is back.
    fn tell_for(&mut self, tabs: &[usize], lasting: u64, input: impl Fn(bool) -> Input) {
        for tab in tabs {
            self.world.add_in(0, Event::Input(*tab, input(false)));
            self.world.add_in(lasting, Event::Input(*tab, input(true)));
        }
    }

    /// The server is down for a time. Its history may be lost.
    fn stop_server(&mut self) {
        let keeps_history = self.world.random.chance(70);
        self.server.stop(keeps_history);
        let lasting = self.world.lasting(100..=20_000);
        self.world.add_in(lasting, Event::ServerUp);
    }

    fn freeze(&mut self, tabs: &[usize]) {
        self.was_frozen = true;
        let until = self.world.now + self.world.lasting(1_000..=90_000);
        for tab in tabs {
            let window = &mut self.windows[*tab];
            window.frozen_until = window.frozen_until.max(until);
        }
    }
}
