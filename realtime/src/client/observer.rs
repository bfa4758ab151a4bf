//! Reports a connection's frames and states to a watcher (the inspector, a log, a test page) without affecting it.

use leptos::prelude::*;
use send_wrapper::SendWrapper;

use crate::status::ConnectionStatus;

/// Something that happened on a connection. Events are reported in order.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceEvent {
    /// A frame was received or sent.
    Frame(Frame),
    /// The last received frame was not delivered to the page.
    Dropped(DropReason),
    /// The browser reports that the socket closed, with this code and reason.
    Closed { code: u16, reason: String },
    /// The state machine changed its state.
    Status(ConnectionStatus),
}

/// A frame as a script sees it.
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

/// The content of a frame. For an event stream, a script gets the fields, never the bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    Event {
        name: String,
        data: String,
        /// The last event id (WHATWG HTML, section 9.2.6): the id of an earlier event if this one has none.
        id: String,
    },
    Text(String),
    Binary(Vec<u8>),
}

/// Why a frame was not delivered to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// A change at a position that the page already holds.
    Duplicate,
    /// The frame could not be decoded, or its type is unknown. It is counted.
    Undecoded,
}

type Watcher = Box<dyn Fn(TraceEvent)>;

/// Passes trace events to the connection's watcher, if there is one. All copies share one watcher.
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

    /// Calls the watcher. `event` is evaluated only if there is one, so that no frame is copied in vain.
    pub(super) fn notify(self, event: impl FnOnce() -> TraceEvent) {
        self.0.try_with_value(|watcher| {
            if let Some(watcher) = watcher {
                watcher(event());
            }
        });
    }
}
