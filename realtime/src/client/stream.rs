//! The part of an event stream that outlives its connections: the position, and the decoding of events.

use std::cell::{Cell, RefCell};

use serde::de::DeserializeOwned;
use strum::VariantNames;

use super::{
    connection::Driver,
    credential::{Credential, with_parameter},
    observer::{Direction, DropReason, Frame, Payload, TraceEvent},
};
use crate::{
    contract::StreamContract,
    json,
    message::{Hello, StreamControl},
    position::Position,
    status::Input,
};

/// The names of the kit's own events.
pub(super) const KIT_EVENTS: &[&str] = StreamControl::VARIANTS;
const HELLO: &str = KIT_EVENTS[0];

/// An event as a handler receives it.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent<E> {
    /// The connection is open. It says whether the missed events follow, or a state.
    Hello(Hello),
    /// A heartbeat, with the server's count of open connections of this stream.
    Heartbeat {
        /// Open connections of this stream on the node that serves it.
        connections: usize,
    },
    /// An event of the feature.
    Event(E),
    /// An event with a known name whose data could not be decoded, with the original data. It is counted and skipped.
    Undecoded {
        /// The type of the event (WHATWG HTML, section 9.2.6).
        name: String,
        /// The data of the event as it was received.
        text: String,
    },
}

/// What a received event means to the state machine.
pub(super) enum Received {
    Greeted(Hello),
    Heartbeat {
        connections: usize,
    },
    Drain {
        retry_ms: u64,
    },
    /// An event of the feature.
    Event {
        is_state: bool,
        is_last: bool,
    },
    Undecoded(String),
    /// A change at a position that the client already holds.
    Duplicate,
}

/// The part of a stream that outlives its connections.
pub(super) struct Stream {
    url: RefCell<String>,
    /// Replaces `url` once the position is past the state that this connection began with.
    settled_url: RefCell<String>,
    /// The number of missed events still to be replayed.
    replays_left: Cell<usize>,
    position: RefCell<Option<Position>>,
    /// The position of the snapshot that this connection began with. All events at this position belong to the snapshot,
    /// so none of them is a duplicate of another.
    snapshot_at: RefCell<Option<Position>>,
    #[expect(clippy::type_complexity, reason = "one closure, used once")]
    handle: RefCell<Box<dyn FnMut(&str, &str, bool) -> Received>>,
}

impl Stream {
    pub(super) fn new<C: StreamContract>(
        position: Option<Position>,
        handler: impl FnMut(StreamEvent<C::Event>) + 'static,
    ) -> Self {
        Self {
            url: RefCell::default(),
            settled_url: RefCell::default(),
            replays_left: Cell::new(0),
            position: RefCell::new(position),
            snapshot_at: RefCell::default(),
            handle: RefCell::new(Box::new(decoder::<C>(handler))),
        }
    }

    /// Uses the addresses of this contract for all later connections.
    pub(super) fn set_contract(&self, contract: &impl StreamContract) {
        self.url.replace(contract.url());
        self.settled_url.replace(contract.settled_url());
    }

    /// The address of the next connection, at the last position.
    pub(super) fn url(&self, credential: Option<&Credential>) -> String {
        let url = self.url.borrow();
        let url = credential.map_or_else(|| url.clone(), |credential| credential.address(&url));
        match &*self.position.borrow() {
            Some(position) => with_parameter(&url, &format!("last_event_id={position}")),
            None => url,
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.position.borrow().clone()
    }

    pub(super) fn set_position(&self, position: Option<Position>) {
        self.position.replace(position);
    }

    /// Delivers an event to the page and reports its meaning to the driver. Returns whether it was new.
    pub(super) fn deliver(&self, driver: &Driver, name: &str, data: &str, id: &str) -> bool {
        driver.frame_received();
        driver.trace(|| {
            TraceEvent::Frame(Frame {
                direction: Direction::In,
                payload: Payload::Event {
                    name: name.to_owned(),
                    data: data.to_owned(),
                    id: id.to_owned(),
                },
            })
        });
        let received = self.receive(name, data, id);
        driver.set_position(self.position());
        let is_new = !matches!(received, Received::Duplicate);
        let connections = match received {
            Received::Greeted(Hello { connections, .. }) | Received::Heartbeat { connections } => {
                Some(connections)
            }
            _ => None,
        };
        driver.feed(match received {
            Received::Greeted(hello) => {
                driver.set_id(hello.connection);
                Input::Greeted {
                    heartbeat_ms: hello.heartbeat_ms,
                }
            }
            Received::Heartbeat { .. } => Input::Frame,
            Received::Drain { retry_ms } => Input::Drain { retry_ms },
            Received::Event { is_last: true, .. } => Input::Finished,
            Received::Event { is_last: false, .. } => Input::Frame,
            Received::Duplicate => {
                driver.trace(|| TraceEvent::Dropped(DropReason::Duplicate));
                Input::Frame
            }
            Received::Undecoded(error) => {
                driver.could_not_decode(name, &error);
                Input::Frame
            }
        });
        if connections.is_some() {
            driver.set_connections(connections);
        }
        is_new
    }

    /// Handles an event and moves the position past it, even if it could not be decoded: decoding would fail again the next
    /// time.
    pub(super) fn receive(&self, name: &str, data: &str, id: &str) -> Received {
        let at: Option<Position> = id.parse().ok();
        let in_snapshot = at.is_some() && at == *self.snapshot_at.borrow();
        let held = match (&at, &*self.position.borrow()) {
            (Some(at), Some(position)) => !in_snapshot && at <= position,
            _ => false,
        };
        let received = (self.handle.borrow_mut())(name, data, held);
        // `hello` never moves the position; its id is the position that the client sent.
        if at.is_some() && !held && name != HELLO {
            self.position.replace(at);
        }
        if let Received::Greeted(hello) = &received {
            let begins_at = Position::new(hello.epoch.clone(), hello.offset);
            let snapshot_at = (!hello.recovered).then_some(begins_at);
            self.snapshot_at.replace(snapshot_at);
        }
        if !in_snapshot {
            self.settle(&received);
        }
        received
    }

    /// Switches to the settled address once the state that the connection began with need not be requested again.
    ///
    /// That state may be newer than the position. It no longer is once all missed events were replayed and another event
    /// followed.
    fn settle(&self, received: &Received) {
        match received {
            Received::Greeted(hello) => self.replays_left.set(hello.replayed),
            Received::Event {
                is_state: false, ..
            }
            | Received::Duplicate => {
                if let Some(left) = self.replays_left.get().checked_sub(1) {
                    self.replays_left.set(left);
                } else if *self.url.borrow() != *self.settled_url.borrow() {
                    self.url.replace(self.settled_url.borrow().clone());
                }
            }
            // These events do not prove that the position is past that state. An event that could not be decoded may be the
            // state itself.
            _ => {}
        }
    }
}

/// Decodes an event by its name and calls the handler. This is the only generic part.
fn decoder<C: StreamContract>(
    mut handler: impl FnMut(StreamEvent<C::Event>) + 'static,
) -> impl FnMut(&str, &str, bool) -> Received + 'static {
    move |name, data, held| {
        let undecoded = |error, handler: &mut dyn FnMut(_)| {
            let (name, text) = (name.to_owned(), data.to_owned());
            handler(StreamEvent::Undecoded { name, text });
            Received::Undecoded(error)
        };
        if KIT_EVENTS.contains(&name) {
            return match decode::<StreamControl>(data) {
                Ok(StreamControl::Hello(hello)) => {
                    handler(StreamEvent::Hello(hello.clone()));
                    Received::Greeted(hello)
                }
                Ok(StreamControl::Heartbeat { connections, .. }) => {
                    handler(StreamEvent::Heartbeat { connections });
                    Received::Heartbeat { connections }
                }
                Ok(StreamControl::Drain { retry_ms }) => Received::Drain { retry_ms },
                Err(error) => undecoded(error, &mut handler),
            };
        }
        match decode::<C::Event>(data) {
            Ok(event) => {
                let (is_state, is_last) = (C::is_state(&event), C::is_last(&event));
                if held && !is_state {
                    return Received::Duplicate;
                }
                handler(StreamEvent::Event(event));
                Received::Event { is_state, is_last }
            }
            Err(error) => undecoded(error, &mut handler),
        }
    }
}

fn decode<T: DeserializeOwned>(data: &str) -> Result<T, String> {
    json::decode(data).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, PartialEq)]
    struct Weather;

    #[derive(Debug, PartialEq, Serialize, Deserialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case")]
    enum Measured {
        Now { celsius: f64 },
        Change { celsius: f64 },
    }

    impl StreamContract for Weather {
        const NAME: &'static str = "weather";
        const ROUTE: &'static str = "/api/weather/events";
        type Event = Measured;

        fn url(&self) -> String {
            "/api/weather/events?added=now".into()
        }

        fn settled_url(&self) -> String {
            Self::ROUTE.into()
        }

        fn is_state(event: &Measured) -> bool {
            matches!(event, Measured::Now { .. })
        }
    }

    #[test]
    fn an_address_carries_the_position_next_to_the_credential() {
        let position: Position = "weather-7".parse().expect("a position");
        let stream = Stream::new::<Weather>(Some(position.clone()), |_| {});
        stream.set_contract(&Weather);
        let ticket = Credential::Query {
            name: "ticket".into(),
            value: "a b".into(),
        };
        let elsewhere = Credential::Url("/other?ticket=1".into());
        let after = format!("last_event_id={position}");
        for (credential, url) in [
            (None, format!("/api/weather/events?added=now&{after}")),
            (
                Some(ticket),
                format!("/api/weather/events?added=now&ticket=a%20b&{after}"),
            ),
            (Some(elsewhere), format!("/other?ticket=1&{after}")),
        ] {
            assert_eq!(stream.url(credential.as_ref()), url);
        }
    }

    #[test]
    fn a_page_receives_undecodable_events_with_their_original_data() {
        let received = Rc::new(RefCell::new(vec![]));
        let events = received.clone();
        let mut receive = decoder::<Weather>(move |event| events.borrow_mut().push(event));
        for name in ["now", "hello"] {
            assert!(matches!(receive(name, "{}", false), Received::Undecoded(_)));
        }
        receive("now", r#"{"type":"now","celsius":7.0}"#, false);
        let undecoded = |name: &str| StreamEvent::Undecoded {
            name: name.to_owned(),
            text: "{}".to_owned(),
        };
        let now = StreamEvent::Event(Measured::Now { celsius: 7.0 });
        assert_eq!(
            *received.borrow(),
            [undecoded("now"), undecoded("hello"), now]
        );
    }

    #[test]
    fn a_state_at_a_held_position_is_delivered_and_a_change_is_dropped() {
        let received = Rc::new(RefCell::new(vec![]));
        let events = received.clone();
        let mut receive = decoder::<Weather>(move |event| events.borrow_mut().push(event));
        let dropped = receive("change", r#"{"type":"change","celsius":6.0}"#, true);
        assert!(matches!(dropped, Received::Duplicate));
        receive("now", r#"{"type":"now","celsius":7.0}"#, true);
        let now = StreamEvent::Event(Measured::Now { celsius: 7.0 });
        assert_eq!(*received.borrow(), [now]);
    }

    #[test]
    fn all_events_of_a_snapshot_are_delivered() {
        let received = Rc::new(Cell::new(0));
        let count = received.clone();
        let stream = Stream::new::<Weather>(None, move |event| {
            if matches!(event, StreamEvent::Event(_)) {
                count.set(count.get() + 1);
            }
        });
        stream.set_contract(&Weather);
        let hello = |recovered| {
            format!(
                r#"{{"type":"hello","connection":"c","epoch":"e","offset":4,"recovered":{recovered},"replayed":0,"heartbeat_ms":1,"connections":1}}"#
            )
        };
        let change = r#"{"type":"change","celsius":6.0}"#;
        stream.receive("hello", &hello(false), "");
        for _ in 0..3 {
            stream.receive("change", change, "e-4");
        }
        assert_eq!(received.get(), 3, "one snapshot of three events");
        stream.receive("change", change, "e-5");
        let again = stream.receive("change", change, "e-5");
        assert!(matches!(again, Received::Duplicate));
        stream.receive("hello", &hello(true), "e-5");
        let replayed = stream.receive("change", change, "e-4");
        assert!(
            matches!(replayed, Received::Duplicate),
            "it has no snapshot"
        );
        assert_eq!(received.get(), 4);
    }

    #[test]
    fn the_address_settles_after_the_replay_and_one_more_change() {
        let stream = Stream::new::<Weather>("e-4".parse().ok(), |_| {});
        stream.set_contract(&Weather);
        let is_settled = || *stream.url.borrow() == Weather::ROUTE;
        let hello = r#"{"type":"hello","connection":"c","epoch":"e","offset":4,"recovered":true,"replayed":1,"heartbeat_ms":1,"connections":1}"#;
        stream.receive("hello", hello, "e-9");
        assert_eq!(stream.position(), "e-4".parse().ok(), "hello moves nothing");
        let (now, change) = (
            r#"{"type":"now","celsius":7.0}"#,
            r#"{"type":"change","celsius":7.0}"#,
        );
        stream.receive("change", change, "e-5");
        stream.receive("now", now, "e-5");
        stream.receive("now", "{}", "e-6");
        assert_eq!(
            stream.position(),
            "e-6".parse().ok(),
            "past what cannot be decoded"
        );
        assert!(!is_settled(), "a state proves nothing");
        stream.receive("change", change, "e-7");
        assert!(is_settled());
    }
}
