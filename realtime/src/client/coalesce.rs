//! Timers of which one is enough.

use leptos::prelude::*;

/// Whether a timer, or an animation frame, is asked for already. All copies are one; it lives as long as its page.
#[derive(Clone, Copy)]
pub struct Coalesce(StoredValue<bool>);

impl Coalesce {
    pub fn new() -> Self {
        Self(StoredValue::new(false))
    }

    /// Asks for the timer. False when it is asked for already, or the page is gone.
    pub fn arm(self) -> bool {
        let armed = |armed: &mut bool| std::mem::replace(armed, true);
        self.0.try_update_value(armed) == Some(false)
    }

    /// Whether it is asked for and has not come.
    pub fn is_armed(self) -> bool {
        self.0.try_get_value().unwrap_or_default()
    }

    /// The timer came; the next may be asked for. False when the page is gone.
    pub fn fired(self) -> bool {
        self.0.try_update_value(|armed| *armed = false).is_some()
    }
}

/// The earliest of the times at which something is to be done. All copies are one; it lives as long as its page.
#[derive(Clone, Copy)]
pub struct Alarm(StoredValue<Option<f64>>);

impl Alarm {
    pub fn new() -> Self {
        Self(StoredValue::new(None))
    }

    /// Asks for a timer at `due` (Unix milliseconds). False when one comes by then anyway, or the page is gone.
    pub fn set(self, due: f64) -> bool {
        let set = |present: &mut Option<f64>| {
            let earlier = present.is_none_or(|present| due < present);
            if earlier {
                *present = Some(due);
            }
            earlier
        };
        self.0.try_update_value(set) == Some(true)
    }

    /// The timer for `due` came. False when an earlier one took its place, or the page is gone.
    pub fn fired(self, due: f64) -> bool {
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
        assert!(!alarm.fired(60_000.0), "the earlier one took its place");
        assert!(alarm.set(90_000.0));
    }

    #[test]
    fn a_timer_that_comes_after_its_page_is_gone_does_nothing() {
        let owner = Owner::new();
        let (armed, alarm) = owner.with(|| (Coalesce::new(), Alarm::new()));
        assert!(armed.arm() && alarm.set(1.0));
        owner.cleanup();
        assert!(!armed.fired() && !armed.arm() && !armed.is_armed());
        assert!(!alarm.fired(1.0) && !alarm.set(0.0));
    }
}
