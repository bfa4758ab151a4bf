//! A simulator of the client: seeded schedules of wire, server, clock and person against the pure parts of the kit.
//!
//! Two models. [`socket`]: a machine, an outbox and a list of channels against a server with logs. [`tabs`]: several tabs that
//! share an event stream against a server with a ring. The production code decides everything; the simulator executes it as the
//! browser's drivers do, and [`rules`] checks what comes of it. A seed determines a schedule completely.

mod channel_server;
mod engine;
mod rules;
mod socket;
mod socket_faults;
mod stream_server;
mod tabs;
mod tabs_faults;
mod tests;
mod world;
