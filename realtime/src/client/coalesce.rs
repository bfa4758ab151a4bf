//! Coalesces repeated requests for a timer or an animation frame into one.

use leptos::prelude::*;

use super::platform::{after, now};

/// Coalesces requests for a timer or an animation frame: while one is scheduled, no other is needed. All copies share one
/// state, which lives as long as its page.
#[derive(Clone, Copy)]
pub struct Coalesce(StoredValue<bool>);

impl Coalesce {
    /// Creates the state with nothing scheduled. It is disposed of with the current reactive owner.
    pub fn new() -> Self {
        Self(StoredValue::new(false))
    }

    /// Marks the timer as scheduled. Returns true if the caller has to start it; false if it is scheduled already or the page
    /// is gone.
    pub fn schedule(self) -> bool {
        let schedule = |scheduled: &mut bool| std::mem::replace(scheduled, true);
        self.0.try_update_value(schedule) == Some(false)
    }

    /// Whether the timer is scheduled and has not run yet.
    pub fn is_scheduled(self) -> bool {
        self.0.try_get_value().unwrap_or_default()
    }

    /// The timer runs, so that the next one may be scheduled. False if the page is gone.
    pub fn run(self) -> bool {
        self.0
            .try_update_value(|scheduled| *scheduled = false)
            .is_some()
    }
}

/// A timer for the earliest of several due times. All copies share one state, which lives as long as its page.
#[derive(Clone, Copy)]
pub struct Alarm(StoredValue<Option<f64>>);

impl Alarm {
    /// Creates the state with no timer set. It is disposed of with the current reactive owner.
    pub fn new() -> Self {
        Self(StoredValue::new(None))
    }

    /// Calls `callback` at `due` (Unix milliseconds), unless it is to be called at that time or earlier anyway, or the page
    /// is gone by then.
    pub fn run_at(self, due: f64, callback: impl FnOnce() + 'static) {
        if self.set(due) {
            let wait_ms = (due - now()).ceil().max(1.0) as u32;
            after(wait_ms, move || {
                if self.fired(due) {
                    callback();
                }
            });
        }
    }

    /// Requests a timer at `due`. Returns true if it has to be started; false if a timer is set for that time or earlier, or
    /// the page is gone.
    fn set(self, due: f64) -> bool {
        let set = |present: &mut Option<f64>| {
            let earlier = present.is_none_or(|present| due < present);
            if earlier {
                *present = Some(due);
            }
            earlier
        };
        self.0.try_update_value(set) == Some(true)
    }

    /// The timer for `due` has fired. False if an earlier one replaced it, or the page is gone.
    fn fired(self, due: f64) -> bool {
        let fired =
            |present: &mut Option<f64>| present.take_if(|present| *present == due).is_some();
        self.0.try_update_value(fired) == Some(true)
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Coalesce {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_set_again_only_for_an_earlier_time() {
        let owner = Owner::new();
        let alarm = owner.with(Alarm::new);
        assert!(alarm.set(60_000.0));
        assert!(!alarm.set(60_000.0));
        assert!(!alarm.set(70_000.0));
        assert!(alarm.set(1_000.0), "it moved earlier");
        assert!(alarm.fired(1_000.0));
        assert!(!alarm.fired(60_000.0), "the earlier one replaced it");
        assert!(alarm.set(90_000.0));
    }

    #[test]
    fn a_timer_that_fires_after_its_page_is_gone_does_nothing() {
        let owner = Owner::new();
        let (coalesce, alarm) = owner.with(|| (Coalesce::new(), Alarm::new()));
        assert!(coalesce.schedule() && alarm.set(1.0));
        owner.cleanup();
        assert!(!coalesce.run() && !coalesce.schedule() && !coalesce.is_scheduled());
        assert!(!alarm.fired(1.0) && !alarm.set(0.0));
    }
}
