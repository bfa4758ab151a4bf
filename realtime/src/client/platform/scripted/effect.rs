//! Effects under a script. Leptos runs none where the feature `ssr` is on.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use leptos::prelude::{ImmediateEffect, Owner, on_cleanup};
use send_wrapper::SendWrapper;

use super::world::World;

/// Runs `effect` after the current step of the script, and again whenever what it has read changes. Where no script runs it does
/// nothing, as on a server.
pub fn effect<T: 'static>(mut effect: impl FnMut(Option<T>) -> T + 'static) {
    if !World::current().is_running() {
        return;
    }
    let mut last = None;
    let scheduled = Rc::new(Scheduled {
        owner: Owner::new(),
        run: RefCell::new(Box::new(move || last = Some(effect(last.take())))),
        tracked: RefCell::default(),
        is_due: Cell::new(false),
    });
    scheduled.clone().schedule();
    // The effect lives as long as the component.
    let kept = SendWrapper::new(scheduled);
    on_cleanup(move || drop(kept));
}

struct Scheduled {
    /// Owns what one run creates.
    owner: Owner,
    run: RefCell<Box<dyn FnMut()>>,
    /// Follows the signals that the last run has read.
    tracked: RefCell<Option<ImmediateEffect>>,
    is_due: Cell<bool>,
}

impl Scheduled {
    fn schedule(self: Rc<Self>) {
        if !self.is_due.replace(true) {
            let this = Rc::downgrade(&self);
            World::current().spawn(Box::pin(async move {
                if let Some(this) = this.upgrade() {
                    this.run();
                }
            }));
        }
    }

    /// Leptos' immediate effect would run again in the middle of the change of a signal. Its first run is the effect's; the next
    /// one, which comes with a change, only schedules the effect.
    fn run(self: Rc<Self>) {
        self.is_due.set(false);
        drop(self.tracked.take());
        let (is_first, this) = (Cell::new(true), Rc::downgrade(&self));
        let step = SendWrapper::new((is_first, this));
        let tracked = self.owner.with_cleanup(|| {
            ImmediateEffect::new_isomorphic(move || {
                let (is_first, this): &(Cell<bool>, Weak<Self>) = &step;
                let Some(this) = this.upgrade() else { return };
                match is_first.replace(false) {
                    true => (this.run.borrow_mut())(),
                    false => this.schedule(),
                }
            })
        });
        self.tracked.replace(Some(tracked));
    }
}
