//! The server half of the kit: topics and event streams, queues and sockets, the accept loop, the drain at shutdown.

pub mod channel;
pub mod clock;
pub mod counted;
pub mod drain;
mod fan_out;
pub mod frame;
mod framing;
mod history;
pub mod listen;
mod metric;
pub mod mirror;
mod on_wake;
pub mod permits;
pub mod queue;
mod reader;
pub mod realtime;
pub mod refused;
pub mod registry;
mod selection;
mod signal;
pub mod socket;
pub mod sse;
mod stream_body;
pub mod topic;
pub mod upgrade;

pub use self::clock::now_ms;
pub use self::counted::Counted;
pub use self::drain::Drain;
pub use self::mirror::{Carrier, Mirror, Mirrored};
pub use self::realtime::{ClientAddress, Realtime, RealtimeOptions, Timing};
pub use self::refused::Refused;
pub use self::registry::{Connection, ConnectionRegistry};
pub use self::sse::StreamRequest;
pub use self::topic::{Delivery, Selection, Topic};
pub use self::upgrade::{OpenSocket, RunningSocket, SocketRequest};
