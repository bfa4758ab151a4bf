//! Reports a connection's frames and states to observers (the inspector, a log, a test page) without affecting it.

use std::rc::Rc;

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
    /// A volatile command was not sent, because the uplink is full.
    Unsent(Payload),
    /// The browser reports that the socket closed, with this code and reason.
    Closed {
        /// The close code (RFC 6455, section 7.1.5); 1006 if no close frame was received.
        code: u16,
        /// The server's close reason (RFC 6455, section 7.1.6); empty if it gave none.
        reason: String,
    },
    /// The state machine changed its state.
    Status(ConnectionStatus),
}

/// A frame as a script sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Whether the page received or sent the frame.
    pub direction: Direction,
    /// The content as it was received or sent, undecoded.
    pub payload: Payload,
}

/// Which way a frame travelled, as the page sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to the page; in a follower, forwarded by the leader.
    In,
    /// From the page to the server; sockets only.
    Out,
}

/// The content of a frame. For an event stream, a script gets the fields, never the bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// An event of an event stream (WHATWG HTML, section 9.2.6).
    Event {
        /// The type of the event; in the kit's streams, the serde tag.
        name: String,
        /// The joined `data` lines of the event; in the kit's streams, JSON.
        data: String,
        /// The last event id (WHATWG HTML, section 9.2.6): the id of an earlier event if this one has none.
        id: String,
    },
    /// A text message of a socket (RFC 6455, section 5.6).
    Text(String),
    /// A binary message of a socket (RFC 6455, section 5.6).
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

type ObserverFn = Rc<dyn Fn(TraceEvent)>;

/// Passes trace events to the connection's observers, in the order in which they were added. All copies share the observers.
#[derive(Clone, Copy)]
pub(super) struct Observers(StoredValue<Vec<SendWrapper<ObserverFn>>>);

impl Observers {
    pub(super) fn new() -> Self {
        Self(StoredValue::new(vec![]))
    }

    /// Does nothing on a server, where nothing is ever reported, and where another thread may drop what is stored.
    pub(super) fn add(self, observer: impl Fn(TraceEvent) + 'static) {
        if is_server() {
            return;
        }
        let observer: ObserverFn = Rc::new(observer);
        self.0
            .try_update_value(|observers| observers.push(SendWrapper::new(observer)));
    }

    /// Calls the observers. `event` is evaluated only if there is one, so that no frame is copied in vain.
    pub(super) fn notify(self, event: impl FnOnce() -> TraceEvent) {
        if self.has_observers() {
            self.call(event());
        }
    }

    /// Not generic, like [`Observers::call`], so that its code exists once.
    fn has_observers(self) -> bool {
        self.0.try_with_value(Vec::is_empty) == Some(false)
    }

    fn call(self, event: TraceEvent) {
        // A copy, because an observer may add another one.
        let mut observers = self.0.try_get_value().unwrap_or_default();
        let last = observers.pop();
        for observer in observers {
            observer(event.clone());
        }
        // The only one, mostly. It gets the event itself, so that no frame is copied for it.
        if let Some(last) = last {
            last(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        sync::Arc,
    };

    use hydration_context::SsrSharedContext;

    use super::*;

    #[test]
    fn a_server_that_renders_stores_no_observer() {
        let owner = Owner::new_root(Some(Arc::new(SsrSharedContext::new())));
        let captured = Rc::new(());
        owner.with(|| {
            let captured = captured.clone();
            Observers::new().add(move |_| drop(captured.clone()));
        });
        assert_eq!(Rc::strong_count(&captured), 1);
    }

    #[test]
    fn each_observer_gets_every_event_from_then_on_until_its_component_is_gone() {
        let owner = Owner::new();
        let observers = owner.with(Observers::new);
        let built = Cell::new(0);
        let notify = |code| {
            observers.notify(|| {
                built.set(built.get() + 1);
                let reason = String::new();
                TraceEvent::Closed { code, reason }
            });
        };
        notify(1);
        assert_eq!(built.get(), 0, "there is no observer yet");
        let seen = Rc::new(RefCell::new(vec![]));
        let observe = |name| {
            let seen = seen.clone();
            observers.add(move |event| {
                if let TraceEvent::Closed { code, .. } = event {
                    seen.borrow_mut().push((name, code));
                }
            });
        };
        observe("first");
        notify(2);
        observe("second");
        notify(3);
        owner.cleanup();
        notify(4);
        observe("late");
        assert_eq!(*seen.borrow(), [("first", 2), ("first", 3), ("second", 3)]);
        assert_eq!(built.get(), 2, "an event is built once for all");
    }
}
