//! A socket in the browser: typed both ways, pinged, with an outbox for what must arrive.

use std::{borrow::Cow, cell::RefCell, rc::Rc};

use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use send_wrapper::SendWrapper;
use serde::Deserialize;
use uuid::Uuid;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

use super::{
    connection::{Connection, Driver, Signals, Transport, now},
    outbox::{Full, Outbox},
};
use crate::realtime::{
    backoff::Backoff,
    contract::SocketContract,
    message::{SocketControl, SocketError, SocketRequest},
    status::{ConnectionStatus, Input, Liveness, Policy},
};

/// The names of the kit's own events.
const KIT_EVENTS: [&str; 4] = ["welcome", "pong", "error", "drain"];
/// How long a refused command waits when the server does not say, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// What a handler gets.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketEvent<W, E> {
    /// The connection stands.
    Welcome {
        welcome: W,
        connections: usize,
    },
    /// An event of the feature.
    Event(E),
    /// A command was refused. One from the outbox that may succeed later is sent again without a word.
    Refused(SocketError),
    Binary(Vec<u8>),
}

/// A socket as a page sees it.
pub struct Socket<C: SocketContract> {
    pub connection: Connection,
    /// What waits to be acknowledged.
    pub outbox: RwSignal<Outbox<C::Command>>,
    wire: StoredValue<Option<SendWrapper<Rc<Wire>>>>,
}

impl<C: SocketContract> Clone for Socket<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: SocketContract> Copy for Socket<C> {}

impl<C: SocketContract> Socket<C>
where
    C::Command: Send + Sync,
{
    /// Sends a command now, or not at all: for what is worthless later. Says whether it left.
    pub fn send(&self, command: &C::Command) -> bool {
        let json = serde_json::to_string(command).unwrap_or_default();
        self.wire
            .with_value(|wire| wire.as_ref().is_some_and(|wire| wire.send(&json)))
    }

    /// Keeps a command until [`Socket::acknowledge`] is called with its id, and sends it as often as it takes.
    pub fn send_reliably(&self, id: Uuid, command: C::Command) -> Result<(), Full> {
        let taken = self
            .outbox
            .try_update(|outbox| outbox.push(id, command))
            .unwrap_or(Ok(()));
        self.flush();
        taken
    }

    /// The page has joined what it sends to: the outbox may leave.
    pub fn ready(&self) {
        self.outbox.update(Outbox::ready);
        self.flush();
    }

    /// The command with this id has arrived.
    pub fn acknowledge(&self, id: Uuid) {
        if self
            .outbox
            .with_untracked(|outbox| outbox.entries().any(|entry| entry.id == id))
        {
            self.outbox.update(|outbox| {
                outbox.acknowledged(id);
            });
        }
        self.flush();
    }

    fn flush(&self) {
        let due = self.outbox.try_update(Outbox::take_due).unwrap_or_default();
        due.iter().for_each(|command| {
            self.send(command);
        });
    }

    /// A refusal of something in the outbox that may succeed later is dealt with here; says whether it was one.
    fn try_again_later(&self, error: &SocketError) -> bool {
        let id = error.re.as_ref().and_then(|id| id.parse::<Uuid>().ok());
        let waiting = id.filter(|id| {
            self.outbox
                .with_untracked(|outbox| outbox.entries().any(|entry| entry.id == *id))
        });
        let Some(id) = waiting.filter(|_| error.code.may_be_retried()) else {
            return false;
        };
        self.outbox.update(|outbox| outbox.refused(id));
        let (this, wait) = (*self, error.retry_after_ms.unwrap_or(RETRY_AFTER_MS));
        Timeout::new(wait.min(60_000) as u32, move || {
            // The page may be gone by then, and its outbox with it.
            if this.outbox.try_update(Outbox::go_on).is_some() {
                this.flush();
            }
        })
        .forget();
        true
    }
}

/// Connects while `contract` returns one, and calls `handler` with everything that comes in, once, in order.
pub fn use_socket<C: SocketContract>(
    contract: impl Fn() -> Option<C> + 'static,
    handler: impl FnMut(SocketEvent<C::Welcome, C::Event>) + 'static,
) -> Socket<C>
where
    C::Command: Send + Sync,
{
    let signals = Signals::new();
    signals.end_on_cleanup();
    let socket = Socket::<C> {
        connection: signals.connection(),
        outbox: RwSignal::new(Outbox::default()),
        wire: StoredValue::new(None),
    };
    let handler = RefCell::new(Some(handler));
    let driver = RefCell::new(None::<Driver>);
    Effect::new(move |previous: Option<Option<C>>| {
        let wanted = contract();
        if Some(&wanted) == previous.as_ref() && driver.borrow().is_some() {
            return wanted;
        }
        let mut driver = driver.borrow_mut();
        let driver = driver.get_or_insert_with(|| {
            let take: Box<Take> = match handler.borrow_mut().take() {
                Some(handler) => Box::new(decoder(socket, handler)),
                None => Box::new(|_, _| Ok(Some(Input::Frame))),
            };
            let wire = Rc::new(Wire {
                path: RefCell::default(),
                socket: RefCell::default(),
                take: RefCell::new(take),
            });
            socket.wire.set_value(Some(SendWrapper::new(wire.clone())));
            let transport = Box::new(SocketTransport {
                wire,
                protocol: C::SUBPROTOCOL,
                listeners: None,
            });
            signals.start(POLICY, transport)
        });
        match &wanted {
            Some(contract) => {
                socket.wire.with_value(|wire| {
                    if let Some(wire) = wire {
                        wire.path.replace(contract.url());
                    }
                });
                driver.feed(Input::Wanted);
            }
            None => driver.feed(Input::Unwanted),
        }
        wanted
    });
    // Whatever was under way when the connection went may or may not have arrived.
    Effect::new(move |_| {
        if !matches!(socket.connection.status.get(), ConnectionStatus::Open) {
            socket.outbox.update(Outbox::lost);
        }
    });
    socket
}

const POLICY: Policy = Policy {
    backoff: Backoff {
        base_ms: 1_000,
        cap_ms: 30_000,
        watched_cap_ms: 5_000,
    },
    liveness: Liveness::Ping,
    max_attempts: None,
};

/// Takes one message: text or bytes. `Err` is what could not be decoded: name and reason.
type Take = dyn FnMut(&Driver, Inbound) -> Result<Option<Input>, (String, String)>;

enum Inbound {
    Text(String),
    Binary(Vec<u8>),
}

/// Decodes by name and calls the handler. The only generic part.
fn decoder<C: SocketContract>(
    socket: Socket<C>,
    mut handler: impl FnMut(SocketEvent<C::Welcome, C::Event>) + 'static,
) -> impl FnMut(&Driver, Inbound) -> Result<Option<Input>, (String, String)> + 'static
where
    C::Command: Send + Sync,
{
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    move |driver, inbound| {
        let text = match inbound {
            Inbound::Text(text) => text,
            Inbound::Binary(bytes) => {
                handler(SocketEvent::Binary(bytes));
                return Ok(Some(Input::Frame));
            }
        };
        let name = serde_json::from_str::<Tag>(&text).map(|tag| tag.r#type.into_owned());
        let name = name.map_err(|error| (String::new(), error.to_string()))?;
        let undecoded = |error: serde_json::Error| (name.clone(), error.to_string());
        if !KIT_EVENTS.contains(&name.as_str()) {
            handler(SocketEvent::Event(
                serde_json::from_str(&text).map_err(undecoded)?,
            ));
            return Ok(Some(Input::Frame));
        }
        Ok(Some(
            match serde_json::from_str::<SocketControl<C::Welcome>>(&text).map_err(undecoded)? {
                SocketControl::Welcome {
                    heartbeat_ms,
                    connections,
                    feature,
                    ..
                } => {
                    // Before the handler, which may send.
                    driver.feed(Input::Greeted { heartbeat_ms });
                    handler(SocketEvent::Welcome {
                        welcome: feature,
                        connections,
                    });
                    Input::Frame
                }
                SocketControl::Pong { at, .. } => {
                    if let Some(sent) = at.as_f64() {
                        driver.measured(now() - sent);
                    }
                    Input::Pong
                }
                SocketControl::Error(error) => {
                    if !socket.try_again_later(&error) {
                        handler(SocketEvent::Refused(error));
                    }
                    Input::Frame
                }
                SocketControl::Drain { retry_ms } => Input::Drain { retry_ms },
            },
        ))
    }
}

/// The part of a socket that outlives its connections.
struct Wire {
    path: RefCell<String>,
    socket: RefCell<Option<WebSocket>>,
    take: RefCell<Box<Take>>,
}

impl Wire {
    fn send(&self, text: &str) -> bool {
        let socket = self.socket.borrow();
        socket.as_ref().is_some_and(|socket| {
            socket.ready_state() == WebSocket::OPEN && socket.send_with_str(text).is_ok()
        })
    }

    /// From the page's own address, so that https pages use wss.
    fn url(&self) -> Option<String> {
        let location = window().location();
        let scheme = if location.protocol().ok()? == "https:" {
            "wss"
        } else {
            "ws"
        };
        Some(format!(
            "{scheme}://{}{}",
            location.host().ok()?,
            self.path.borrow()
        ))
    }
}

struct SocketTransport {
    wire: Rc<Wire>,
    protocol: &'static str,
    listeners: Option<Listeners>,
}

/// The closures that a `WebSocket` calls.
struct Listeners {
    _on_open: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

impl Transport for SocketTransport {
    fn open(&mut self, driver: &Driver) {
        let opened = self
            .wire
            .url()
            .and_then(|url| WebSocket::new_with_str(&url, self.protocol).ok());
        let Some(socket) = opened else {
            return driver.feed(Input::SocketClosed {
                code: 1006,
                reason: String::new(),
            });
        };
        socket.set_binary_type(BinaryType::Arraybuffer);
        let opened_by = driver.clone();
        let on_open = Closure::<dyn FnMut()>::new(move || opened_by.feed(Input::TransportOpen));
        let (wire, heard_by) = (self.wire.clone(), driver.clone());
        let on_message = Closure::new(move |event: MessageEvent| {
            heard_by.heard();
            let inbound = match event.data().as_string() {
                Some(text) => Inbound::Text(text),
                None => Inbound::Binary(js_sys::Uint8Array::new(&event.data()).to_vec()),
            };
            match (wire.take.borrow_mut())(&heard_by, inbound) {
                Ok(Some(input)) => heard_by.feed(input),
                Ok(None) => {}
                Err((name, error)) => {
                    heard_by.could_not_decode(&name, &error);
                    heard_by.feed(Input::Frame);
                }
            }
        });
        let closed_by = driver.clone();
        // No listener for `error`: it says nothing, and `close` always follows it.
        let on_close = Closure::new(move |event: CloseEvent| {
            closed_by.feed(Input::SocketClosed {
                code: event.code(),
                reason: event.reason(),
            });
        });
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        self.wire.socket.replace(Some(socket));
        self.listeners = Some(Listeners {
            _on_open: on_open,
            _on_message: on_message,
            _on_close: on_close,
        });
    }

    fn abandon(&mut self) {
        if let Some(socket) = self.wire.socket.take() {
            socket.set_onopen(None);
            socket.set_onmessage(None);
            socket.set_onclose(None);
            // Fails only for codes and reasons that are out of bounds; none is given.
            let _ = socket.close();
        }
        let listeners = self.listeners.take();
        // One of the closures may be running: they are freed when the stack is empty.
        Timeout::new(0, move || drop(listeners)).forget();
    }

    fn ping(&mut self, now: f64) {
        // Milliseconds of a clock are a whole number.
        let at = (now as u64).into();
        let ping = serde_json::to_string(&SocketRequest::Ping { at }).unwrap_or_default();
        self.wire.send(&ping);
    }

    fn probe_url(&self) -> String {
        self.wire.path.borrow().clone()
    }
}
