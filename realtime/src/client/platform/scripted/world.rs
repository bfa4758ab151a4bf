//! The state that stands in for the browser: its clock and timers, its tasks, what the page opened, and what it keeps.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::{Rc, Weak},
};

use futures::{
    executor::{LocalPool, LocalSpawner},
    future::LocalBoxFuture,
    task::LocalSpawnExt,
};

use super::link::Link;
use crate::{client::platform::message::Change, status::Answer};

/// When every script begins, in Unix milliseconds: the start of the year 2026.
const BEGINS_AT_MS: u64 = 1_767_225_600_000;

type Callback = Box<dyn FnOnce()>;
type Listener = Rc<dyn Fn(Change)>;

/// One browser with one page.
pub struct World {
    /// Whether effects start. Otherwise a page is rendered as on a server.
    is_running: bool,
    /// The clock of the timers.
    now_ms: Cell<u64>,
    /// The time during which the machine slept.
    slept_ms: Cell<u64>,
    /// By due time, then in the order in which they were set.
    timers: RefCell<BTreeMap<(u64, u64), Callback>>,
    next_number: Cell<u64>,
    tasks: RefCell<LocalPool>,
    spawner: LocalSpawner,
    listeners: RefCell<BTreeMap<u64, Listener>>,
    /// The connections that the page opened and no script has accepted yet.
    pub opened: RefCell<VecDeque<Rc<Link>>>,
    pub storage: RefCell<BTreeMap<String, String>>,
    pub is_online: Cell<bool>,
    pub is_visible: Cell<bool>,
    pub reloads: Cell<u32>,
    /// The answer to the request that determines why a stream was refused.
    pub refusal: RefCell<Option<Answer>>,
}

thread_local! {
    static CURRENT: RefCell<Rc<World>> = RefCell::new(Rc::new(World::new(false)));
}

impl World {
    fn new(is_running: bool) -> Self {
        let tasks = LocalPool::new();
        Self {
            is_running,
            now_ms: Cell::new(BEGINS_AT_MS),
            slept_ms: Cell::default(),
            timers: RefCell::default(),
            next_number: Cell::default(),
            spawner: tasks.spawner(),
            tasks: RefCell::new(tasks),
            listeners: RefCell::default(),
            opened: RefCell::default(),
            storage: RefCell::default(),
            is_online: Cell::new(true),
            is_visible: Cell::new(true),
            reloads: Cell::default(),
            refusal: RefCell::default(),
        }
    }

    /// The world of this thread.
    pub fn current() -> Rc<Self> {
        CURRENT.with_borrow(Rc::clone)
    }

    /// A new world takes the place of the thread's, and effects start in it.
    pub fn begin() -> Rc<Self> {
        let world = Rc::new(Self::new(true));
        drop(CURRENT.replace(world.clone()));
        world
    }

    /// From now on pages of this thread are rendered as on a server.
    pub fn end() {
        drop(CURRENT.replace(Rc::new(Self::new(false))));
    }

    pub fn is_running(&self) -> bool {
        self.is_running
    }

    pub fn now(&self) -> f64 {
        (self.now_ms.get() + self.slept_ms.get()) as f64
    }

    /// The machine sleeps: its clock goes on, and timers stand still.
    #[cfg(test)]
    pub fn sleep(&self, milliseconds: u64) {
        self.slept_ms.set(self.slept_ms.get() + milliseconds);
    }

    /// Sets a timer, and returns the key by which it is cancelled.
    pub fn set_timer(&self, wait_ms: u32, callback: Callback) -> (u64, u64) {
        let key = (self.now_ms.get() + u64::from(wait_ms), self.number());
        self.timers.borrow_mut().insert(key, callback);
        key
    }

    /// The keys of all timers.
    #[cfg(test)]
    pub fn timers(&self) -> Vec<(u64, u64)> {
        self.timers.borrow().keys().copied().collect()
    }

    /// Moves the clock, and stops at each timer on the way.
    pub fn advance(&self, milliseconds: u64) {
        let until = self.now_ms.get() + milliseconds;
        self.settle();
        while let Some((due, callback)) = self.next_due(until) {
            self.now_ms.set(due.max(self.now_ms.get()));
            callback();
            self.settle();
        }
        self.now_ms.set(until);
    }

    fn next_due(&self, until: u64) -> Option<(u64, Callback)> {
        let mut timers = self.timers.borrow_mut();
        let first = timers.first_entry()?;
        let due = first.key().0;
        (due <= until).then(|| (due, first.remove()))
    }

    pub fn spawn(&self, future: LocalBoxFuture<'static, ()>) {
        // It fails only once the pool is gone, and with it the page.
        let _ = self.spawner.spawn_local(future);
    }

    /// Runs every task that can run without the clock.
    pub fn settle(&self) {
        self.tasks.borrow_mut().run_until_stalled();
    }

    pub fn listen(self: &Rc<Self>, listener: impl Fn(Change) + 'static) -> Listeners {
        let number = self.number();
        let listener = Rc::new(listener);
        self.listeners.borrow_mut().insert(number, listener);
        let world = Rc::downgrade(self);
        Listeners { world, number }
    }

    /// Reports a change to all listeners.
    pub fn report(&self, change: Change) {
        let listeners: Vec<_> = self.listeners.borrow().values().cloned().collect();
        listeners.iter().for_each(|listener| listener(change));
        self.settle();
    }

    fn number(&self) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        number
    }
}

/// A timer. Dropping it cancels it.
pub struct Timer {
    world: Weak<World>,
    key: (u64, u64),
}

impl Timer {
    pub fn new(wait_ms: u32, callback: impl FnOnce() + 'static) -> Self {
        let world = World::current();
        let key = world.set_timer(wait_ms, Box::new(callback));
        let world = Rc::downgrade(&world);
        Self { world, key }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let world = self.world.upgrade();
        // Dropped after the borrow: the callback may own a timer itself.
        let callback = world.and_then(|world| world.timers.borrow_mut().remove(&self.key));
        drop(callback);
    }
}

/// Calls back again and again. Dropping it ends that.
pub struct Interval(#[expect(dead_code, reason = "it is kept to be dropped")] Rc<Repeated>);

struct Repeated {
    every_ms: u32,
    callback: RefCell<Box<dyn FnMut()>>,
    timer: RefCell<Option<Timer>>,
}

impl Interval {
    pub fn new(every_ms: u32, callback: impl FnMut() + 'static) -> Self {
        let repeated = Rc::new(Repeated {
            every_ms,
            callback: RefCell::new(Box::new(callback)),
            timer: RefCell::default(),
        });
        repeated.schedule();
        Self(repeated)
    }
}

impl Repeated {
    fn schedule(self: &Rc<Self>) {
        let this = Rc::downgrade(self);
        let timer = Timer::new(self.every_ms, move || {
            if let Some(this) = this.upgrade() {
                (this.callback.borrow_mut())();
                this.schedule();
            }
        });
        drop(self.timer.replace(Some(timer)));
    }
}

/// Listeners of the page. Dropping them removes them.
pub struct Listeners {
    world: Weak<World>,
    number: u64,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let world = self.world.upgrade();
        let listener = world.and_then(|world| world.listeners.borrow_mut().remove(&self.number));
        drop(listener);
    }
}
