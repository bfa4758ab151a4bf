//! The server half of the kit: topics and event streams, queues and sockets, the accept loop, the drain at shutdown.

pub mod clock;
pub mod counted;
pub mod drain;
pub mod frame;
pub mod listen;
pub mod permits;
pub mod queue;
pub mod realtime;
pub mod registry;
pub mod socket;
pub mod sse;
pub mod topic;
pub mod upgrade;

pub use self::clock::now_ms;
pub use self::counted::Counted;
pub use self::drain::Drain;
pub use self::realtime::{Realtime, Timing};
pub use self::registry::{Connection, ConnectionRegistry};
