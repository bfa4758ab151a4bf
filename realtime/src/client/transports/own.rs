//! The transport of an event stream that belongs to this tab: an `EventSource` without its own reconnect.

use std::{cell::RefCell, rc::Rc};

use strum::VariantNames;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{EventSource, MessageEvent};

use crate::{
    client::{
        connection::{Driver, Transport},
        credential::Credential,
        stream::{KIT_EVENTS, Stream},
        task::Task,
    },
    contract::StreamContract,
    position::Position,
    status::Input,
};

/// Called with every event after the page has processed it: its name, data and id, the position before it, and whether it
/// was new.
pub type Relay = Rc<dyn Fn(&str, &str, &str, Option<Position>, bool)>;

pub struct EventSourceTransport {
    source: Rc<Source>,
    /// The wait for the credential of the attempt.
    opening: Option<Task>,
}

struct Source {
    stream: Rc<Stream>,
    names: Vec<&'static str>,
    open: RefCell<Option<Open>>,
    relay: RefCell<Option<Relay>>,
    /// The address of the last attempt, with its credential.
    attempted_url: RefCell<String>,
}

/// An `EventSource` with the closures that it calls. One listener serves all event names, so the order across names is kept.
struct Open {
    source: EventSource,
    on_event: Closure<dyn FnMut(MessageEvent)>,
    _on_open: Closure<dyn FnMut()>,
    _on_error: Closure<dyn FnMut()>,
}

impl EventSourceTransport {
    pub fn new<C: StreamContract>(stream: Rc<Stream>) -> Self {
        let source = Rc::new(Source {
            stream,
            names: KIT_EVENTS
                .iter()
                .chain(C::Event::VARIANTS)
                .copied()
                .collect(),
            open: RefCell::default(),
            relay: RefCell::default(),
            attempted_url: RefCell::default(),
        });
        Self {
            source,
            opening: None,
        }
    }

    pub fn set_relay(&self, relay: Relay) {
        self.source.relay.replace(Some(relay));
    }
}

impl Transport for EventSourceTransport {
    fn open(&mut self, driver: &Driver) {
        let source = self.source.clone();
        self.opening = driver.authorize(move |driver, credential| source.open(driver, credential));
    }

    fn abandon(&mut self) {
        self.opening = None;
        self.source.close();
    }

    fn ping(&mut self, _now: f64) {}

    fn url(&self) -> String {
        self.source.stream.url(None)
    }

    fn refused_url(&self) -> String {
        self.source.attempted_url.borrow().clone()
    }
}

impl Source {
    fn open(&self, driver: &Driver, credential: Option<&Credential>) {
        let url = self.stream.url(credential);
        self.attempted_url.replace(url.clone());
        let Ok(source) = EventSource::new(&url) else {
            return driver.feed(Input::StreamError);
        };
        let (stream, receiver) = (self.stream.clone(), driver.clone());
        let relay = self.relay.borrow().clone();
        let on_event = Closure::new(move |event: MessageEvent| {
            let (name, data) = (event.type_(), event.data().as_string().unwrap_or_default());
            let (id, before) = (event.last_event_id(), stream.position());
            let is_new = stream.deliver(&receiver, &name, &data, &id);
            if let Some(relay) = &relay {
                relay(&name, &data, &id, before, is_new);
            }
        });
        for name in &self.names {
            // Adding a listener fails only for invalid arguments; these are valid.
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
        self.open.replace(Some(Open {
            source,
            on_event,
            _on_open: on_open,
            _on_error: on_error,
        }));
    }

    fn close(&self) {
        let Some(open) = self.open.take() else { return };
        for name in &self.names {
            let _ = open
                .source
                .remove_event_listener_with_callback(name, open.on_event.as_ref().unchecked_ref());
        }
        open.source.set_onopen(None);
        open.source.set_onerror(None);
        open.source.close();
        // The closure may be running right now, so it is freed once the stack is empty.
        gloo_timers::callback::Timeout::new(0, move || drop(open)).forget();
    }
}
