//! A socket that a script has accepted.

use std::{cell::Cell, marker::PhantomData, rc::Rc, time::Duration};

use serde::Serialize;

use super::history::Histories;
use crate::{
    client::platform::{
        Message,
        scripted::{Link, Report, World},
    },
    close::CloseCode,
    contract::SocketContract,
    message::{Limits, SocketControl, SocketError, SocketRequest},
};

/// Between two pings of the page, in milliseconds.
const HEARTBEAT_MS: u64 = 30_000;

/// A socket that the page has opened. First it gets its [welcome](AcceptedSocket::welcome), or it is
/// [closed](AcceptedSocket::close), which is how a server refuses a socket. It answers the page's pings by itself.
///
/// # Panics
///
/// Its methods panic if the page has closed the socket, or if the order is wrong: a second welcome, an event before it.
pub struct AcceptedSocket<C> {
    pub(super) world: Rc<World>,
    pub(super) histories: Histories,
    id: String,
    link: Rc<Link>,
    is_open: Cell<bool>,
    is_welcomed: Cell<bool>,
    is_stalled: Rc<Cell<bool>>,
    contract: PhantomData<C>,
}

impl<C: SocketContract> AcceptedSocket<C> {
    pub(super) fn new(world: Rc<World>, link: Rc<Link>, histories: Histories, id: String) -> Self {
        let is_stalled = Rc::new(Cell::new(false));
        let (answering, stalled) = (Rc::downgrade(&link), is_stalled.clone());
        link.on_sent.replace(Some(Rc::new(move || {
            if let Some(link) = answering.upgrade() {
                receive(&link, stalled.get());
            }
        })));
        Self {
            world,
            histories,
            id,
            link,
            is_open: Cell::new(false),
            is_welcomed: Cell::new(false),
            is_stalled,
            contract: PhantomData,
        }
    }

    /// The address that the page requested.
    pub fn url(&self) -> &str {
        &self.link.url
    }

    /// Whether the page still holds the socket.
    pub fn is_open(&self) -> bool {
        self.link.is_held()
    }

    /// Accepts the socket, and sends the first message, with the fields of the application.
    #[track_caller]
    pub fn welcome(&self, feature: C::Welcome) {
        self.must_be_held();
        let was_welcomed = self.is_welcomed.replace(true);
        assert!(!was_welcomed, "the socket has had its welcome");
        self.open();
        self.send(&SocketControl::Welcome {
            connection: self.id.clone(),
            heartbeat_ms: HEARTBEAT_MS,
            connections: 1,
            limits: Limits {
                text_bytes: 64 * 1024,
                binary_bytes: 64 * 1024,
                messages_per_second: 20,
            },
            feature,
        });
    }

    /// An event of the application.
    #[track_caller]
    pub fn event(&self, event: &C::Event) {
        self.must_be_welcomed();
        self.send(event);
    }

    /// A binary message.
    #[track_caller]
    pub fn binary(&self, bytes: &[u8]) {
        self.must_be_welcomed();
        let message = Message::Binary(bytes.to_vec());
        self.link.report(Report::Message(message));
        self.world.settle();
    }

    /// Refuses a command. The socket stays open.
    #[track_caller]
    pub fn refuse(&self, error: SocketError) {
        self.must_be_welcomed();
        self.send(&SocketControl::<C::Welcome>::Error(error));
    }

    /// The next command that the page has sent, oldest first; `None` if it has sent no other. Pings are not among them.
    ///
    /// # Panics
    ///
    /// Panics if the next message is binary.
    #[track_caller]
    pub fn received(&self) -> Option<C::Command> {
        self.world.settle();
        let text = match self.link.sent.borrow_mut().pop_front()? {
            Message::Text(text) => text,
            Message::Binary(_) => panic!("the page's next message is binary"),
        };
        match serde_json::from_str(&text) {
            Ok(command) => Some(command),
            Err(error) => panic!("the page has sent {text}, which is no command: {error}"),
        }
    }

    /// The next message that the page has sent, which is binary; `None` if it has sent no other.
    ///
    /// # Panics
    ///
    /// Panics if the next message is text.
    #[track_caller]
    pub fn received_binary(&self) -> Option<Vec<u8>> {
        self.world.settle();
        match self.link.sent.borrow_mut().pop_front()? {
            Message::Binary(bytes) => Some(bytes),
            Message::Text(text) => panic!("the page's next message is the text {text}"),
        }
    }

    /// The browser holds this many bytes that the network does not take.
    pub fn set_unsent_bytes(&self, bytes: u32) {
        self.link.unsent_bytes.set(bytes);
    }

    /// The server shuts down: it tells the page to come back after `retry` at the earliest, and closes with 1012.
    #[track_caller]
    pub fn drain(&self, retry: Duration) {
        self.must_be_welcomed();
        let retry_ms = retry.as_millis() as u64;
        self.send(&SocketControl::<C::Welcome>::Drain { retry_ms });
        self.close(CloseCode::ServiceRestart, "the server restarts");
    }

    /// Closes the socket with a code and a reason. Before the welcome it is a refusal.
    #[track_caller]
    pub fn close(&self, code: impl Into<u16>, reason: &str) {
        self.must_be_held();
        self.open();
        self.end(code.into(), reason);
    }

    /// The connection is lost and the browser notices. Before the welcome it counts as a server that cannot be reached.
    #[track_caller]
    pub fn cut(&self) {
        self.must_be_held();
        self.end(1006, "");
    }

    /// The connection falls silent, and nobody notices: pings are not answered, and what the page sends does not arrive.
    pub fn stall(&self) {
        self.is_stalled.set(true);
    }

    fn open(&self) {
        if !self.is_open.replace(true) {
            self.link.report(Report::Open);
        }
    }

    fn end(&self, code: u16, reason: &str) {
        let reason = reason.to_owned();
        self.link.report(Report::Closed { code, reason });
        self.world.settle();
    }

    #[track_caller]
    fn must_be_held(&self) {
        assert!(
            self.is_open(),
            "the page has closed its socket {}",
            self.url()
        );
    }

    #[track_caller]
    fn must_be_welcomed(&self) {
        self.must_be_held();
        assert!(self.is_welcomed.get(), "the socket has not had its welcome");
    }

    fn send(&self, message: &impl Serialize) {
        report(&self.link, message);
        self.world.settle();
    }
}

/// Takes what the page has just sent. A ping is answered later, as over a network.
fn receive(link: &Rc<Link>, is_stalled: bool) {
    let ping = match link.sent.borrow().back() {
        Some(Message::Text(text)) => serde_json::from_str(text).ok(),
        _ => None,
    };
    if is_stalled || ping.is_some() {
        link.sent.borrow_mut().pop_back();
    }
    let Some(SocketRequest::Ping { at }) = ping.filter(|_| !is_stalled) else {
        return;
    };
    let (link, world) = (link.clone(), World::current());
    let server_at = world.now() as u64;
    world.spawn(Box::pin(async move {
        report(
            &link,
            &SocketControl::<()>::Pong {
                at,
                server_at,
                connections: 1,
            },
        );
    }));
}

fn report(link: &Link, message: &impl Serialize) {
    match serde_json::to_string(message) {
        Ok(text) => drop(link.report(Report::Message(Message::Text(text)))),
        Err(error) => panic!("the message cannot be serialized: {error}"),
    }
}
