//! The panel that shows a connection's frames, its cost and its state machine, and requests faults.

mod counters;
mod fault_run;
mod faults;
mod frames;
mod handshakes;
mod log;
mod machine;
mod panel;
pub(crate) mod raw;
mod unfolded;
mod watched;

pub use self::panel::Inspector;
