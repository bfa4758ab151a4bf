//! The transport of an event stream that belongs to this tab: an `EventSource` without its own reconnect.

use std::{cell::RefCell, rc::Rc};

use strum::VariantNames;

use crate::{
    client::{
        connection::{Driver, Transport},
        credential::Credential,
        platform::{EventSource, NamedEvent},
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
    open: RefCell<Option<EventSource>>,
    relay: RefCell<Option<Relay>>,
    /// The address of the last attempt, with its credential.
    attempted_url: RefCell<String>,
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
        let (stream, receiver) = (self.stream.clone(), driver.clone());
        let relay = self.relay.borrow().clone();
        let on_event = move |event: NamedEvent| {
            let NamedEvent { name, data, id } = event;
            let before = stream.position();
            let is_new = stream.deliver(&receiver, &name, &data, &id);
            if let Some(relay) = &relay {
                relay(&name, &data, &id, before, is_new);
            }
        };
        let report = |input: Input| {
            let driver = driver.clone();
            move || driver.feed(input.clone())
        };
        let (on_open, on_error) = (report(Input::TransportOpen), report(Input::StreamError));
        match EventSource::open(&url, &self.names, on_open, on_event, on_error) {
            Some(source) => drop(self.open.replace(Some(source))),
            None => driver.feed(Input::StreamError),
        }
    }

    fn close(&self) {
        // It is dropped when nothing borrows the cell any more.
        let open = self.open.take();
        drop(open);
    }
}
