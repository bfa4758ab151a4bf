//! A timer of which one is enough.

use leptos::prelude::*;

/// Whether a timer, or an animation frame, is asked for already. All copies are one; it lives as long as its page.
#[derive(Clone, Copy)]
pub struct Armed(StoredValue<bool>);

impl Armed {
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

impl Default for Armed {
    fn default() -> Self {
        Self::new()
    }
}
