//! Time, chance and the network of a schedule.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::rules::{self, Broken, Check};

/// The browser's clock at the beginning of a schedule (Unix milliseconds).
const EPOCH_MS: f64 = 1_700_000_000_000.0;

/// Pseudo-random numbers (splitmix64): the same seed gives the same schedule on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    pub fn index(&mut self, length: usize) -> usize {
        (self.next() % length as u64) as usize
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// From 0.0 up to but not including 1.0.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What happens when, and what was found.
pub struct World<E> {
    /// The true time in milliseconds. The browser's clock may differ from it: [`World::clock`].
    pub now: u64,
    pub random: Random,
    /// When the faults end.
    pub calm_at: u64,
    /// The network swallows everything until then.
    pub swallows_until: u64,
    /// The browser knows that there is no network until then: an attempt fails at once.
    pub unplugged_until: u64,
    /// The first rule that was broken.
    pub broken: Option<Broken>,
    /// What this schedule has reached, to prove that the schedules reach what the rules are about.
    pub reached: Vec<&'static str>,
    /// The lines of the trace; `None` if none is wanted, because most schedules pass.
    pub trace: Option<Vec<String>>,
    clock_ahead: f64,
    latency: u64,
    agenda: BTreeMap<(u64, i64), E>,
    added: i64,
    ended: bool,
}

impl<E: std::fmt::Debug> World<E> {
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let (calm_at, latency) = (random.between(20_000..=150_000), random.between(1..=150));
        Self {
            now: 0,
            random,
            calm_at,
            swallows_until: 0,
            unplugged_until: 0,
            broken: None,
            reached: vec![],
            trace: traced.then(Vec::new),
            clock_ahead: 0.0,
            latency,
            agenda: BTreeMap::new(),
            added: 0,
            ended: false,
        }
    }

    /// The browser's clock (Unix milliseconds).
    pub fn clock(&self) -> f64 {
        EPOCH_MS + self.now as f64 + self.clock_ahead
    }

    pub fn set_clock(&mut self, by_ms: f64) {
        self.clock_ahead += by_ms;
    }

    /// Whether the network takes nothing at the moment.
    pub fn is_swallowing(&self) -> bool {
        self.now < self.swallows_until
    }

    pub fn add_in(&mut self, wait_ms: u64, event: E) {
        self.added += 1;
        self.agenda.insert((self.now + wait_ms, self.added), event);
    }

    /// Adds an event of the schedule at a random time before the faults end.
    pub fn add_fault(&mut self, event: E) {
        let at = self.random.between(1..=self.calm_at - 1);
        self.add_in(at, event);
    }

    /// How long a fault lasts: it ends when the faults end.
    pub fn lasting(&mut self, range: RangeInclusive<u64>) -> u64 {
        let wanted = self.random.between(range);
        wanted.min(self.calm_at.saturating_sub(self.now))
    }

    /// One way through the network.
    pub fn latency(&mut self) -> u64 {
        let jitter = self.random.between(0..=100);
        self.latency + jitter
    }

    /// The next event. `held_until` says until when the receiver of an event gets none, and whether it comes before the others
    /// then: a browser orders timers and messages as it likes after a sleep.
    pub fn next(&mut self, held_until: impl Fn(&E) -> (u64, bool)) -> Option<E> {
        self.check(rules::settles(self.added));
        loop {
            // What was under way may still add events.
            if self.ended {
                return None;
            }
            let ((at, number), event) = self.agenda.pop_first()?;
            let (held_until, is_first) = held_until(&event);
            if held_until > at {
                let number = if is_first { number - (1 << 40) } else { number };
                self.agenda.insert((held_until, number), event);
                continue;
            }
            self.now = at;
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{at:>7} {event:?}"));
            }
            return Some(event);
        }
    }

    /// Ends the schedule.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Keeps the first rule that is broken, and ends the schedule.
    pub fn check(&mut self, check: Check) {
        if let (Err(broken), None) = (check, &self.broken) {
            self.note(|| format!("BROKEN {broken:?}"));
            self.broken = Some(broken);
            self.end();
        }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>7}   {}", line()));
        }
    }

    pub fn reach(&mut self, what: &'static str) {
        if !self.reached.contains(&what) {
            self.reached.push(what);
        }
    }
}

/// A connection as the network sees it: it delivers in order, with delay or not at all.
#[derive(Debug, Default)]
pub struct Wire {
    /// It delivers nothing more, and tells nobody.
    pub dead: bool,
    /// It delivers nothing before this time. The time is only put off: what waits for it stays in order.
    pub stalled_until: u64,
    /// When the last item arrives: down, up.
    last: [u64; 2],
}

pub const DOWN: usize = 0;
pub const UP: usize = 1;

impl Wire {
    /// How long an item is under way that is sent now.
    pub fn wait<E: std::fmt::Debug>(&mut self, way: usize, world: &mut World<E>) -> u64 {
        let at = (world.now + world.latency()).max(self.last[way]);
        self.last[way] = at;
        at - world.now
    }
}
