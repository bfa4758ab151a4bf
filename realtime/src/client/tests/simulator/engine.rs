//! Drives a state machine as `connection.rs` does in the browser.

use std::{collections::VecDeque, mem::replace};

use crate::{
    backoff::Backoff,
    sharing::Asked,
    status::{Action, ConnectionStatus, Input, Liveness, Machine, Policy, Renewal},
};

/// A machine and what the driver keeps beside it.
pub struct Engine {
    pub machine: Machine,
    /// What triggered the action that is executed.
    pub asked: Asked,
    /// The number of the timer that counts. An earlier one was cancelled.
    pub timer: u64,
    /// The number of the credential, the probe or the renewal that counts.
    pub request: u64,
    /// The true time before which the server allows no attempt, as the checker remembers it.
    pub allowed_at: u64,
    pending: VecDeque<Input>,
    busy: bool,
}

/// The browser around the machines.
pub trait Browser {
    fn engine(&mut self, tab: usize) -> &mut Engine;
    /// The true time, the browser's clock, and a random number.
    fn tick(&mut self) -> (u64, f64, f64);
    fn execute(&mut self, tab: usize, action: Action);
    /// All inputs are processed. `wait_ms` is the time to the machine's deadline.
    fn settle(&mut self, tab: usize, wait_ms: Option<u64>);
    /// An input that the driver does not pass on. Only a planted fault has one.
    fn withholds(&self, _input: &Input) -> bool {
        false
    }
}

impl Engine {
    pub fn new(liveness: Liveness) -> Self {
        Self {
            machine: Machine::new(Policy {
                backoff: Backoff::DEFAULT,
                liveness,
                max_attempts: None,
            }),
            asked: Asked::ByItself,
            timer: 0,
            request: 0,
            allowed_at: 0,
            pending: VecDeque::new(),
            busy: false,
        }
    }

    pub fn is_open(&self) -> bool {
        *self.machine.status() == ConnectionStatus::Open
    }

    pub fn is_ended(&self) -> bool {
        matches!(
            self.machine.status(),
            ConnectionStatus::Closed | ConnectionStatus::Stopped { .. }
        )
    }

    /// Starts a request and returns its number. The one before does not count any more.
    pub fn ask(&mut self) -> u64 {
        self.request += 1;
        self.request
    }

    /// Remembers what the server asks for. A greeting ends it, as `status.rs` says.
    fn remember(&mut self, input: &Input, now: u64) {
        let wait = match input {
            Input::Greeted { .. } => {
                self.allowed_at = 0;
                return;
            }
            Input::Drain { retry_ms } => Some(*retry_ms),
            Input::Probed { answer, .. } => answer.as_ref().and_then(|it| it.retry_after_ms),
            Input::SessionRenewed {
                renewal: Renewal::Failed { retry_after_ms },
                ..
            } => *retry_after_ms,
            _ => None,
        };
        if let Some(wait) = wait {
            self.allowed_at = now + wait;
        }
    }
}

/// Feeds an input to the machine of a tab and executes the actions, as `Driver::feed` does.
pub fn feed(browser: &mut impl Browser, tab: usize, input: Input) {
    let engine = browser.engine(tab);
    engine.pending.push_back(input);
    // A caller further up the stack is already processing inputs.
    if replace(&mut engine.busy, true) {
        return;
    }
    let mut steps = 0;
    while let Some(input) = browser.engine(tab).pending.pop_front() {
        let (now, clock, random) = browser.tick();
        browser.engine(tab).remember(&input, now);
        if browser.withholds(&input) {
            continue;
        }
        steps += 1;
        let engine = browser.engine(tab);
        engine.asked = match input {
            Input::Wanted => Asked::ByOpening,
            Input::RetryNow => Asked::ByPerson,
            _ => Asked::ByItself,
        };
        for action in engine.machine.step(input, clock, random) {
            browser.execute(tab, action);
        }
    }
    let (_, clock, _) = browser.tick();
    let engine = browser.engine(tab);
    engine.busy = false;
    if steps == 0 {
        return;
    }
    engine.timer += 1;
    let deadline = engine.machine.deadline();
    // A browser's timer has whole milliseconds and may be early by a part of one. It never fires in the same task.
    let wait = deadline.map(|deadline| (deadline - clock).max(1.0) as u64);
    browser.settle(tab, wait);
}
