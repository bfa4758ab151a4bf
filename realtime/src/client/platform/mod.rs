//! What the browser half needs from its browser: clock, random numbers, timers, tasks, effects, the window, the tab's storage, and
//! the connections themselves.
//!
//! `browser/` is the browser. `scripted/` has the same names and stands in for it where a test plays the browser and the server:
//! in the kit's own tests, and with the feature `testing`. All that is above this module is the same code in both.

#[cfg(not(any(test, feature = "testing")))]
mod browser;
mod message;
#[cfg(any(test, feature = "testing"))]
pub mod scripted;

#[cfg(not(any(test, feature = "testing")))]
pub use self::browser::*;
#[cfg(any(test, feature = "testing"))]
pub use self::scripted::*;

pub use self::message::{Change, Message, NamedEvent};
