//! What a connection sees, for whoever watches it: the inspector, a log, a test page. Watching changes nothing.

use leptos::prelude::*;
use send_wrapper::SendWrapper;

use crate::status::ConnectionStatus;

/// Something that a connection saw, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceEvent {
    /// A frame came in, or left.
    Frame(Frame),
    /// The frame that came in last was not handed to the page.
    DropReason(DropReason),
    /// The browser says that the socket closed, with this code and reason.
    Closed { code: u16, reason: String },
    /// The state machine has another state.
    Status(ConnectionStatus),
}

/// A frame as script sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub direction: Direction,
    pub payload: Payload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// What is in a frame. Of an event stream script gets the fields, never the bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    Event {
        name: String,
        data: String,
        /// The last event id (WHATWG HTML, section 9.2.6): that of an earlier event where this one has none of its own.
        id: String,
    },
    Text(String),
    Binary(Vec<u8>),
}

/// Why a frame was not handed to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// A change at a position that the page holds already.
    Duplicate,
    /// It could not be decoded, or is of an unknown type: it is counted.
    Undecoded,
}

type Watcher = Box<dyn Fn(TraceEvent)>;

/// Where a connection tells what it sees. All copies are one.
#[derive(Clone, Copy)]
pub(super) struct Observer(StoredValue<Option<SendWrapper<Watcher>>>);

impl Observer {
    pub(super) fn new() -> Self {
        Self(StoredValue::new(None))
    }

    pub(super) fn watch(self, watcher: impl Fn(TraceEvent) + 'static) {
        let _ = self
            .0
            .try_set_value(Some(SendWrapper::new(Box::new(watcher))));
    }

    /// Calls `see` only where somebody watches: what nobody looks at is not copied.
    pub(super) fn tell(self, see: impl FnOnce() -> TraceEvent) {
        self.0.try_with_value(|watcher| {
            if let Some(watcher) = watcher {
                watcher(see());
            }
        });
    }
}
