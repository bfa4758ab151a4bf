//! What the page holds of its connections: the names of the browser's.

use std::{cell::RefCell, rc::Rc};

use super::{
    link::{Kind, Link, Report},
    world::World,
};
use crate::client::platform::message::{Message, NamedEvent};

/// An event stream, as the page holds it. Dropping it closes it.
pub struct EventSource(Rc<Link>);

impl EventSource {
    pub fn open(
        url: &str,
        _names: &[&'static str],
        on_open: impl FnMut() + 'static,
        on_event: impl FnMut(NamedEvent) + 'static,
        on_error: impl FnMut() + 'static,
    ) -> Option<Self> {
        let (on_open, on_error) = (RefCell::new(on_open), RefCell::new(on_error));
        let on_event = RefCell::new(on_event);
        Some(Self(open(Kind::Stream, url, move |report| match report {
            Report::Open => (on_open.borrow_mut())(),
            Report::Event(event) => (on_event.borrow_mut())(event),
            _ => (on_error.borrow_mut())(),
        })))
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A socket, as the page holds it. Dropping it closes it.
pub struct WebSocket(Rc<Link>);

impl WebSocket {
    pub fn open(
        url: &str,
        _protocol: &str,
        on_open: impl FnMut() + 'static,
        on_message: impl FnMut(Message) + 'static,
        on_close: impl FnMut(u16, String) + 'static,
    ) -> Option<Self> {
        let (on_open, on_message) = (RefCell::new(on_open), RefCell::new(on_message));
        let on_close = RefCell::new(on_close);
        Some(Self(open(Kind::Socket, url, move |report| match report {
            Report::Open => (on_open.borrow_mut())(),
            Report::Message(message) => (on_message.borrow_mut())(message),
            Report::Closed { code, reason } => (on_close.borrow_mut())(code, reason),
            Report::Event(_) | Report::Error => {}
        })))
    }

    pub fn is_open(&self) -> bool {
        self.0.is_open.get()
    }

    /// The bytes that wait to be sent, as the script says.
    pub fn buffered_amount(&self) -> u32 {
        self.0.unsent_bytes.get()
    }

    pub fn send_text(&self, text: &str) -> bool {
        self.0.send(Message::Text(text.to_owned()))
    }

    pub fn send_binary(&self, bytes: &[u8]) -> bool {
        self.0.send(Message::Binary(bytes.to_vec()))
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A connection that waits for the script to accept it.
fn open(kind: Kind, url: &str, page: impl Fn(Report) + 'static) -> Rc<Link> {
    let link = Link::new(kind, url, page);
    let world = World::current();
    world.opened.borrow_mut().push_back(link.clone());
    link
}
