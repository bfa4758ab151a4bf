//! An event stream in the browser: `EventSource` without its own reconnect, each event to the handler once, in order.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::prelude::*;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{EventSource, MessageEvent};

use super::{
    connection::{Connection, Driver, Signals, Transport},
    shared_stream::SharedTransport,
    tap::{Direction, Frame, Payload, Sight, Skipped},
};
use crate::realtime::{
    backoff::Backoff,
    contract::StreamContract,
    message::{Hello, StreamControl},
    position::Position,
    status::{Input, Liveness, Policy},
};

/// The names of the kit's own events.
const KIT_EVENTS: [&str; 3] = ["hello", "heartbeat", "drain"];

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

/// What a stream begins with. A position alone will do for most.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// The position of the state that the page shows already.
    pub after: Option<Position>,
    /// One stream for all tabs of the browser (see [`crate::realtime::sharing`]); `None`: one for this tab.
    pub shared: Option<Sharing>,
    pub backoff: Backoff,
    /// `Some(n)`: after n failed attempts in a row it stops and says so. `None`: it never gives up.
    pub max_attempts: Option<u32>,
}

/// Which tabs share a stream: those with the same route, the same user and the same build.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// What one user may see is not told to another.
    pub user: String,
    /// Tabs of an older build may not understand what this one tells.
    pub build: &'static str,
}

impl From<Option<Position>> for StreamOptions {
    fn from(after: Option<Position>) -> Self {
        Self {
            after,
            ..Self::default()
        }
    }
}

/// Connects while `contract` returns one, and calls `handler` with every event once, in order.
///
/// A changed contract closes the old connection and opens the new one, at the same position where the contract says that it
/// [`continues`](StreamContract::continues). A shared stream is the same for all tabs: its contract must not depend on what
/// one of them shows.
pub fn use_event_source<C: StreamContract>(
    contract: impl Fn() -> Option<C> + 'static,
    options: impl Into<StreamOptions>,
    handler: impl FnMut(StreamEvent<C::Event>) + 'static,
) -> Connection {
    let StreamOptions {
        after,
        shared,
        backoff,
        max_attempts,
    } = options.into();
    let policy = Policy {
        backoff,
        liveness: Liveness::Heartbeat,
        max_attempts,
    };
    let signals = Signals::new();
    signals.end_on_cleanup();
    let stream = Rc::new(Stream {
        url: RefCell::default(),
        settled_url: RefCell::default(),
        states: C::STATES,
        replays: Cell::new(0),
        position: RefCell::new(after),
        handle: RefCell::new(Box::new(decoder::<C>(handler))),
    });
    let driver = RefCell::new(None::<Driver>);
    Effect::new(move |previous: Option<Option<C>>| {
        let wanted = contract();
        let previous = previous.flatten();
        if wanted == previous && driver.borrow().is_some() {
            return wanted;
        }
        let mut driver = driver.borrow_mut();
        let driver = driver.get_or_insert_with(|| {
            let source = EventSourceTransport::new::<C>(stream.clone());
            let transport: Box<dyn Transport> = match &shared {
                Some(sharing) => Box::new(SharedTransport::new(
                    C::ROUTE,
                    sharing,
                    stream.clone(),
                    source,
                )),
                None => Box::new(source),
            };
            signals.start(policy, transport)
        });
        match &wanted {
            Some(contract) => {
                if previous.is_some_and(|previous| !contract.continues(&previous)) {
                    stream.position.replace(None);
                }
                stream.url.replace(contract.url());
                stream.settled_url.replace(contract.settled_url());
                driver.feed(Input::Wanted);
            }
            None => driver.feed(Input::Unwanted),
        }
        wanted
    });
    signals.connection()
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
    fn url(&self) -> String {
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
            Sight::Frame(Frame {
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
                driver.saw(|| Sight::Skipped(Skipped::Duplicate));
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

/// Is told of every event after the page has it: its name, data, id, the position before it, and whether it was news.
pub(super) type Relay = Rc<dyn Fn(&str, &str, &str, Option<Position>, bool)>;

pub(super) struct EventSourceTransport {
    stream: Rc<Stream>,
    names: Vec<&'static str>,
    open: Option<Open>,
    pub(super) relay: Option<Relay>,
}

/// An `EventSource` with the closures it calls. One listener serves all names, so the order across names is kept.
struct Open {
    source: EventSource,
    names: Vec<&'static str>,
    on_event: Closure<dyn FnMut(MessageEvent)>,
    _on_open: Closure<dyn FnMut()>,
    _on_error: Closure<dyn FnMut()>,
}

impl EventSourceTransport {
    fn new<C: StreamContract>(stream: Rc<Stream>) -> Self {
        Self {
            stream,
            names: KIT_EVENTS
                .into_iter()
                .chain(C::EVENTS.iter().copied())
                .collect(),
            open: None,
            relay: None,
        }
    }
}

impl Transport for EventSourceTransport {
    fn open(&mut self, driver: &Driver) {
        let Ok(source) = EventSource::new(&self.stream.url()) else {
            return driver.feed(Input::StreamError);
        };
        let (stream, heard_by, relay) = (self.stream.clone(), driver.clone(), self.relay.clone());
        let on_event = Closure::new(move |event: MessageEvent| {
            let (name, data) = (event.type_(), event.data().as_string().unwrap_or_default());
            let (id, before) = (event.last_event_id(), stream.position());
            let news = stream.deliver(&heard_by, &name, &data, &id);
            if let Some(relay) = &relay {
                relay(&name, &data, &id, before, news);
            }
        });
        for name in &self.names {
            // Adding a listener fails only for arguments that are not what they are here.
            let _ =
                source.add_event_listener_with_callback(name, on_event.as_ref().unchecked_ref());
        }
        let report = |input: Input| {
            let driver = driver.clone();
            Closure::<dyn FnMut()>::new(move || driver.feed(input.clone()))
        };
        let (on_open, on_error) = (report(Input::TransportOpen), report(Input::StreamError));
        source.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        self.open = Some(Open {
            source,
            names: self.names.clone(),
            on_event,
            _on_open: on_open,
            _on_error: on_error,
        });
    }

    fn abandon(&mut self) {
        let Some(open) = self.open.take() else { return };
        for name in &open.names {
            let _ = open
                .source
                .remove_event_listener_with_callback(name, open.on_event.as_ref().unchecked_ref());
        }
        open.source.set_onopen(None);
        open.source.set_onerror(None);
        open.source.close();
        // The closure may be the one that is running: it is freed when the stack is empty.
        gloo_timers::callback::Timeout::new(0, move || drop(open)).forget();
    }

    fn ping(&mut self, _now: f64) {}

    fn probe_url(&self) -> String {
        self.stream.url()
    }
}

#[cfg(test)]
mod tests {
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
