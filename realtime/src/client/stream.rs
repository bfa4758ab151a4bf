//! The part of an event stream that outlives its connections: its position, and how events are decoded.

use std::cell::{Cell, RefCell};

use serde::de::DeserializeOwned;

use super::{
    connection::Driver,
    observer::{Direction, DropReason, Frame, Payload, TraceEvent},
};
use crate::{
    contract::StreamContract,
    message::{Hello, StreamControl},
    position::Position,
    status::Input,
};

/// The names of the kit's own events.
pub(super) const KIT_EVENTS: [&str; 3] = ["hello", "heartbeat", "drain"];

/// What a handler gets.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent<E> {
    /// The connection stands; says whether what was missed follows, or a state.
    Hello(Hello),
    /// The server's count of open connections of this stream, with each heartbeat.
    Heartbeat { connections: usize },
    /// An event of the feature.
    Event(E),
    /// An event of a known name whose data could not be decoded, as it came. It is counted and skipped.
    Undecoded { name: String, text: String },
}

/// What a decoded event means to the state machine.
pub(super) enum Heard {
    Input(Input),
    Greeted {
        connection: String,
        heartbeat_ms: u64,
        connections: usize,
    },
    Beat {
        connections: usize,
    },
    Undecoded(String),
    /// A change at a position that the client holds already.
    Duplicate,
}

/// The part of a stream that outlives its connections.
pub(super) struct Stream {
    url: RefCell<String>,
    /// Takes the place of `url` once the position is past what this connection began with.
    settled_url: RefCell<String>,
    states: &'static [&'static str],
    /// Missed events that follow still.
    replays: Cell<usize>,
    position: RefCell<Option<Position>>,
    #[expect(clippy::type_complexity, reason = "one closure, used once")]
    handle: RefCell<Box<dyn FnMut(&str, &str, bool) -> Heard>>,
}

impl Stream {
    pub(super) fn new<C: StreamContract>(
        position: Option<Position>,
        handler: impl FnMut(StreamEvent<C::Event>) + 'static,
    ) -> Self {
        Self {
            url: RefCell::default(),
            settled_url: RefCell::default(),
            states: C::STATES,
            replays: Cell::new(0),
            position: RefCell::new(position),
            handle: RefCell::new(Box::new(decoder::<C>(handler))),
        }
    }

    /// Asks for what this contract names from now on.
    pub(super) fn ask_for(&self, contract: &impl StreamContract) {
        self.url.replace(contract.url());
        self.settled_url.replace(contract.settled_url());
    }

    pub(super) fn url(&self) -> String {
        let url = self.url.borrow();
        match &*self.position.borrow() {
            Some(position) => format!(
                "{url}{}last_event_id={position}",
                if url.contains('?') { '&' } else { '?' }
            ),
            None => url.clone(),
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.position.borrow().clone()
    }

    pub(super) fn set_position(&self, position: Option<Position>) {
        self.position.replace(position);
    }

    /// Hands an event to the page and tells the driver what it means. Says whether it was news.
    pub(super) fn deliver(&self, driver: &Driver, name: &str, data: &str, id: &str) -> bool {
        driver.heard();
        driver.saw(|| {
            TraceEvent::Frame(Frame {
                direction: Direction::In,
                payload: Payload::Event {
                    name: name.to_owned(),
                    data: data.to_owned(),
                    id: id.to_owned(),
                },
            })
        });
        let heard = self.take(name, data, id);
        driver.moved(self.position());
        let news = !matches!(heard, Heard::Duplicate);
        let counted = match heard {
            Heard::Greeted { connections, .. } | Heard::Beat { connections } => Some(connections),
            _ => None,
        };
        driver.feed(match heard {
            Heard::Input(input) => input,
            Heard::Greeted {
                connection,
                heartbeat_ms,
                ..
            } => {
                driver.named(connection);
                Input::Greeted { heartbeat_ms }
            }
            Heard::Beat { .. } => Input::Frame,
            Heard::Duplicate => {
                driver.saw(|| TraceEvent::DropReason(DropReason::Duplicate));
                Input::Frame
            }
            Heard::Undecoded(error) => {
                driver.could_not_decode(name, &error);
                Input::Frame
            }
        });
        if counted.is_some() {
            driver.counted(counted);
        }
        news
    }

    /// Takes an event and moves the position past it, whatever is in it: what cannot be decoded will not be so the next
    /// time either.
    fn take(&self, name: &str, data: &str, id: &str) -> Heard {
        let at: Option<Position> = id.parse().ok();
        let held = match (&at, &*self.position.borrow()) {
            (Some(at), Some(position)) => at <= position,
            _ => false,
        };
        let heard = (self.handle.borrow_mut())(name, data, held);
        // `hello` never moves it; its id is the one the client came with.
        if at.is_some() && !held && name != KIT_EVENTS[0] {
            self.position.replace(at);
        }
        self.settle(name, data);
        heard
    }

    /// A state that a connection begins with may be newer than the position. It is not any more when all that was missed was
    /// replayed and another event followed: then the state need not be asked for again.
    fn settle(&self, name: &str, data: &str) {
        if name == KIT_EVENTS[0] {
            let hello = serde_json::from_str::<Hello>(data);
            self.replays.set(hello.map_or(0, |hello| hello.replayed));
        } else if KIT_EVENTS.contains(&name) || self.states.contains(&name) {
            // They move no position past that state for certain.
        } else if let Some(left) = self.replays.get().checked_sub(1) {
            self.replays.set(left);
        } else if *self.url.borrow() != *self.settled_url.borrow() {
            self.url.replace(self.settled_url.borrow().clone());
        }
    }
}

/// Decodes by name and calls the handler. The only generic part.
fn decoder<C: StreamContract>(
    mut handler: impl FnMut(StreamEvent<C::Event>) + 'static,
) -> impl FnMut(&str, &str, bool) -> Heard + 'static {
    move |name, data, held| {
        let undecoded = |error, handler: &mut dyn FnMut(_)| {
            let (name, text) = (name.to_owned(), data.to_owned());
            handler(StreamEvent::Undecoded { name, text });
            Heard::Undecoded(error)
        };
        if KIT_EVENTS.contains(&name) {
            return match decode::<StreamControl>(data) {
                Ok(StreamControl::Hello(hello)) => {
                    let heard = Heard::Greeted {
                        connection: hello.connection.clone(),
                        heartbeat_ms: hello.heartbeat_ms,
                        connections: hello.connections,
                    };
                    handler(StreamEvent::Hello(hello));
                    heard
                }
                Ok(StreamControl::Heartbeat { connections, .. }) => {
                    handler(StreamEvent::Heartbeat { connections });
                    Heard::Beat { connections }
                }
                Ok(StreamControl::Drain { retry_ms }) => Heard::Input(Input::Drain { retry_ms }),
                Err(error) => undecoded(error, &mut handler),
            };
        }
        if held && !C::STATES.contains(&name) {
            return Heard::Duplicate;
        }
        match decode::<C::Event>(data) {
            Ok(event) => {
                let last = C::is_last(&event);
                handler(StreamEvent::Event(event));
                Heard::Input(if last { Input::Finished } else { Input::Frame })
            }
            Err(error) => undecoded(error, &mut handler),
        }
    }
}

fn decode<T: DeserializeOwned>(data: &str) -> Result<T, String> {
    serde_json::from_str(data).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, PartialEq)]
    struct Weather;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Measured {
        Now { celsius: f64 },
    }

    impl StreamContract for Weather {
        const ROUTE: &'static str = "/api/weather/events";
        const EVENTS: &'static [&'static str] = &["now"];
        const STATES: &'static [&'static str] = &["now"];
        type Event = Measured;

        fn url(&self) -> String {
            Self::ROUTE.into()
        }
    }

    #[test]
    fn a_page_sees_what_could_not_be_decoded_as_it_came() {
        let heard = Rc::new(RefCell::new(vec![]));
        let hear = heard.clone();
        let mut take = decoder::<Weather>(move |event| hear.borrow_mut().push(event));
        for name in ["now", "hello"] {
            assert!(matches!(take(name, "{}", false), Heard::Undecoded(_)));
        }
        take("now", r#"{"type":"now","celsius":7.0}"#, false);
        let undecoded = |name: &str| StreamEvent::Undecoded {
            name: name.to_owned(),
            text: "{}".to_owned(),
        };
        let now = StreamEvent::Event(Measured::Now { celsius: 7.0 });
        assert_eq!(*heard.borrow(), [undecoded("now"), undecoded("hello"), now]);
    }
}
