//! Connects a page to a WebSocket with typed messages, pings, and an outbox for commands that must arrive.

use std::{borrow::Cow, cell::RefCell, future::Future, rc::Rc};

use leptos::prelude::*;
use send_wrapper::SendWrapper;
use serde::Deserialize;
use serde_json::Value;
use strum::VariantNames;
use uuid::Uuid;

use super::{
    coalesce::Alarm,
    connection::{Connection, Driver, Signals, Transport},
    credential::{Credential, Credentials},
    observer::{Direction, Frame, Payload, TraceEvent},
    outbox::{EntryState, Full, Outbox},
    platform::{Message, WebSocket, effect, now, socket_address},
    tab_storage,
    task::Task,
    uplink::{self, Next},
};
use crate::{
    backoff::Backoff,
    contract::{Refusal, SocketContract},
    json::{self, Json},
    message::{ErrorCode, SocketControl, SocketError, SocketRequest},
    status::{ConnectionStatus, Input, Liveness, Policy},
};

/// The names of the kit's own events.
const KIT_EVENTS: &[&str] = SocketControl::<()>::VARIANTS;
/// The wait after a refusal that sets none, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// An event as a handler receives it.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketEvent<W, E> {
    /// The connection is open.
    Welcome {
        /// The fields that the feature adds to `welcome`.
        welcome: W,
        /// Open sockets of this endpoint on the node that serves it.
        connections: usize,
    },
    /// An event of the feature.
    Event(E),
    /// A command was refused. For a command from the outbox [`SocketContract::after_refusal`] decides: it is sent again, and
    /// this event is not reported; it is kept; or it stays in the outbox as failed.
    Refused(SocketError),
    /// A binary message (RFC 6455, section 5.6), as it was received.
    Binary(Vec<u8>),
    /// The browser reports that the socket closed (RFC 6455, section 7.4), with 1006 if there was no close frame. The
    /// connection's status shows what happens next. Not reported if this side abandoned the socket, for instance after a
    /// missed pong.
    Closed {
        /// The close code (RFC 6455, section 7.1.5).
        code: u16,
        /// The server's close reason (RFC 6455, section 7.1.6); empty if it gave none.
        reason: String,
    },
    /// A text message that could not be decoded or whose type is unknown, with its original text. It is counted and skipped.
    Undecoded {
        /// The message as it was received.
        text: String,
    },
}

/// A page's handle to a socket.
pub struct Socket<C: SocketContract> {
    /// The handle to the socket's connection: its status, its counters, and the user's "retry now".
    pub connection: Connection,
    /// The commands that are not acknowledged yet.
    pub outbox: RwSignal<Outbox<C::Command>>,
    /// Whether the outbox would survive a reload; `false` if the tab's storage is full or forbidden.
    pub outbox_kept: RwSignal<bool>,
    /// When the outbox is flushed again even if nothing else happens.
    flush_alarm: Alarm,
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
    // A page's timers and callbacks may run after the page is gone. These methods do not panic then, and send nothing.

    /// Sends a volatile command now or not at all: one that is worthless later, or that a later one replaces. Returns whether
    /// it was sent. It is not sent if the socket is not open, or if the uplink is full: the browser holds more unsent bytes
    /// than [`SocketOptions::uplink_limit`]. The latter is counted in [`Connection::unsent`].
    pub fn send(&self, command: &C::Command) -> bool {
        let json = serde_json::to_string(command).unwrap_or_default();
        self.with_wire(|wire| {
            wire.admits_volatile(|| Payload::Text(json.clone())) && wire.send(&json)
        })
    }

    /// Sends volatile bytes now or not at all, under the rules of [`Socket::send`]. Returns whether they were sent.
    pub fn send_binary(&self, bytes: &[u8]) -> bool {
        self.with_wire(|wire| {
            wire.admits_volatile(|| Payload::Binary(bytes.to_vec())) && wire.send_binary(bytes)
        })
    }

    /// Sends a command on this connection even if the uplink is full: it arrives unless the connection is lost, after which
    /// the application has to send it again if it still matters. Returns false if the socket is not open. The application has
    /// to bound what it sends this way.
    pub fn send_unbounded(&self, command: &C::Command) -> bool {
        let json = serde_json::to_string(command).unwrap_or_default();
        self.with_wire(|wire| wire.send(&json))
    }

    /// Sends bytes on this connection, under the rules of [`Socket::send_unbounded`].
    pub fn send_binary_unbounded(&self, bytes: &[u8]) -> bool {
        self.with_wire(|wire| wire.send_binary(bytes))
    }

    fn with_wire(&self, send: impl FnOnce(&Wire) -> bool) -> bool {
        let sent = self
            .wire
            .try_with_value(|wire| wire.as_ref().is_some_and(|wire| send(wire)));
        sent.unwrap_or(false)
    }

    fn holds(&self, id: Uuid) -> bool {
        let holds = |outbox: &Outbox<C::Command>| outbox.contains(id);
        self.outbox.try_with_untracked(holds).unwrap_or(false)
    }

    /// Keeps a command until [`Socket::acknowledge`] is called with its id, and sends it as often as necessary. Commands with
    /// the same ordering key arrive in the order in which they were passed.
    pub fn send_reliably(
        &self,
        id: Uuid,
        ordering_key: &str,
        command: C::Command,
    ) -> Result<(), Full> {
        let pushed = self
            .outbox
            .try_update(|outbox| outbox.push(id, ordering_key, command))
            .unwrap_or(Ok(()));
        self.flush();
        pushed
    }

    /// The page has joined what the commands with this key are sent to: they may be sent.
    pub fn ready(&self, ordering_key: &str) {
        let _ = self.outbox.try_update(|outbox| outbox.ready(ordering_key));
        self.flush();
    }

    /// The page has left, or was removed from, what the commands with this key are sent to.
    pub fn not_ready(&self, ordering_key: &str) {
        let _ = self
            .outbox
            .try_update(|outbox| outbox.not_ready(ordering_key));
    }

    /// The command with this id was acknowledged or is no longer wanted. Returns it if it was in the outbox.
    pub fn acknowledge(&self, id: Uuid) -> Option<C::Command> {
        let known = self.holds(id);
        let command = known
            .then(|| self.outbox.try_update(|outbox| outbox.remove(id)))
            .flatten()
            .flatten();
        if known {
            self.flush();
        }
        command
    }

    /// Sends the commands that are due, as far as the uplink has room.
    fn flush(&self) {
        let is_empty = |outbox: &Outbox<C::Command>| outbox.waiting() == 0;
        // The page and its outbox may be gone.
        if self.outbox.try_with_untracked(is_empty).unwrap_or(true) {
            return;
        }
        let at = now();
        let due_at = loop {
            let has_room = self.with_wire(Wire::has_room);
            // Without a change, subscribers of the signal are not notified.
            let next = self.outbox.try_maybe_update(|outbox| {
                let next = uplink::next(outbox, has_room, at);
                (matches!(next, Next::Send(_)), next)
            });
            match next {
                Some(Next::Send(command)) => {
                    self.send_unbounded(&command);
                }
                Some(Next::WaitUntil(due_at)) => break due_at,
                Some(Next::Idle) | None => return,
            }
        };
        let this = *self;
        self.flush_alarm.run_at(due_at, move || this.flush());
    }

    /// Applies a refusal to the outbox. Returns whether it is settled, because the command will be sent again later.
    fn refused(&self, error: &SocketError) -> bool {
        let Some(id) = error.re.as_ref().and_then(|id| id.parse::<Uuid>().ok()) else {
            return false;
        };
        if !self.holds(id) {
            return false;
        }
        let refusal = C::after_refusal(&error.code);
        if refusal == Refusal::Keep {
            return false;
        }
        let will_retry = refusal == Refusal::Retry;
        let _ = self.outbox.try_update(|outbox| {
            if will_retry {
                let wait = error.retry_after_ms.unwrap_or(RETRY_AFTER_MS) as f64;
                outbox.refused(id, now(), wait, error.code == ErrorCode::RateLimited);
            } else {
                outbox.fail(id, &error.message);
            }
        });
        self.flush();
        will_retry
    }
}

/// The options of a socket.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    keep_outbox_as: Option<String>,
    backoff: Backoff,
    max_attempts: Option<u32>,
    credentials: Option<Credentials>,
    uplink_limit: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            keep_outbox_as: None,
            backoff: Backoff::DEFAULT,
            max_attempts: None,
            credentials: None,
            uplink_limit: uplink::LIMIT_BYTES,
        }
    }
}

impl SocketOptions {
    /// The name under which the outbox is kept in the tab's storage, so that it survives a reload. Without a name it does not
    /// survive one. The name must identify the user: commands of one user must not be sent by the next user who signs in at
    /// the same tab.
    pub fn keep_outbox_as(mut self, name: impl Into<Option<String>>) -> Self {
        self.keep_outbox_as = name.into();
        self
    }

    /// The delays between attempts; [`Backoff::DEFAULT`] by default.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Stops with a reason when the first attempt and `attempts` more in a row have failed. Without it the connection never
    /// gives up.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Obtains a credential for each attempt, such as a single-use ticket.
    ///
    /// `obtain` is called outside of any reactive owner. It has 10 s. An error, or no answer in time, counts as a failed
    /// attempt; the error is shown as the reason. The future is dropped when its attempt is abandoned. After a close with 4001
    /// `expired`, `obtain` is called once more at once, instead of a renewal of the session.
    pub fn credentials<F, E>(mut self, obtain: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<Credential, E>> + 'static,
        E: ToString,
    {
        self.credentials = Some(Credentials::new(obtain));
        self
    }

    /// The uplink is full while the browser holds more than `bytes` unsent bytes (`WebSocket.bufferedAmount`); 64 KiB by
    /// default. Volatile commands are dropped then, and the commands of the outbox wait.
    pub fn uplink_limit(mut self, bytes: u32) -> Self {
        self.uplink_limit = bytes;
        self
    }
}

/// Connects while `contract` returns `Some`, and calls `handler` with everything received, once, in order.
pub fn use_socket<C: SocketContract>(
    contract: impl Fn() -> Option<C> + 'static,
    handler: impl FnMut(SocketEvent<C::Welcome, C::Event>) + 'static,
) -> Socket<C>
where
    C::Command: Send + Sync,
{
    use_socket_with_options(contract, handler, SocketOptions::default())
}

/// Like [`use_socket`], with options.
pub fn use_socket_with_options<C: SocketContract>(
    contract: impl Fn() -> Option<C> + 'static,
    handler: impl FnMut(SocketEvent<C::Welcome, C::Event>) + 'static,
    options: SocketOptions,
) -> Socket<C>
where
    C::Command: Send + Sync,
{
    let policy = Policy {
        backoff: options.backoff,
        liveness: Liveness::Ping,
        max_attempts: options.max_attempts,
    };
    let signals = Signals::new();
    signals.end_on_cleanup();
    let socket = Socket::<C> {
        connection: signals.connection(),
        outbox: RwSignal::new(Outbox::default()),
        outbox_kept: RwSignal::new(true),
        flush_alarm: Alarm::new(),
        wire: StoredValue::new(None),
    };
    if let Some(name) = options.keep_outbox_as {
        keep_outbox(socket.outbox, socket.outbox_kept, name);
    }
    let handler = RefCell::new(Some(handler));
    let driver = RefCell::new(None::<Driver>);
    effect(move |previous: Option<Option<C>>| {
        let wanted = contract();
        if Some(&wanted) == previous.as_ref() && driver.borrow().is_some() {
            return wanted;
        }
        let mut driver = driver.borrow_mut();
        let driver = driver.get_or_insert_with(|| {
            let receive: Box<Receive> = match handler.borrow_mut().take() {
                Some(handler) => Box::new(decoder(socket, handler)),
                None => Box::new(|_, _| Ok(Input::Frame)),
            };
            let wire = Rc::new(Wire {
                path: RefCell::default(),
                open: RefCell::default(),
                signals,
                limit: options.uplink_limit,
                receive: RefCell::new(receive),
            });
            socket.wire.set_value(Some(SendWrapper::new(wire.clone())));
            let transport = Box::new(SocketTransport {
                wire,
                protocol: C::SUBPROTOCOL,
                opening: None,
            });
            signals.start(policy, options.credentials.clone(), transport)
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
    // Commands in flight when the connection was lost may or may not have arrived.
    effect(move |_| {
        if !matches!(socket.connection.status.get(), ConnectionStatus::Open) {
            socket.outbox.update(Outbox::lost);
        }
    });
    socket
}

/// Restores the outbox from the tab's storage once, and stores every later change there.
fn keep_outbox<C>(outbox: RwSignal<Outbox<C>>, kept: RwSignal<bool>, name: String)
where
    C: Clone + serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    // Ids and failures, but not which commands are in flight: a reload ends that, so it is not worth a write.
    let stored = Memo::new(move |_| {
        let failed = |state: &EntryState| matches!(state, EntryState::Failed(_));
        outbox.with(|outbox| {
            let entries = outbox.entries();
            entries
                .map(|entry| (entry.id, failed(&entry.state)))
                .collect::<Vec<_>>()
        })
    });
    effect(move |restored: Option<()>| {
        // Read rather than only tracked: a memo that is never read does not follow its signals.
        let _ = stored.get();
        if restored.is_none()
            && let Some(kept) = tab_storage::read(&name)
        {
            outbox.update(|outbox| outbox.restore(&kept));
        }
        let json = outbox.with_untracked(Outbox::to_json);
        // An empty outbox has nothing to lose.
        let is_kept = tab_storage::write(&name, json.as_deref()) || json.is_none();
        if kept.get_untracked() != is_kept {
            kept.set(is_kept);
        }
    });
}

/// Handles an inbound item of a socket. `Err` holds the name of what could not be decoded, and the reason.
type Receive = dyn FnMut(&Driver, Inbound) -> Result<Input, (String, String)>;

enum Inbound {
    Text(String),
    Binary(Vec<u8>),
    Closed { code: u16, reason: String },
}

impl Inbound {
    fn to_trace_event(&self) -> TraceEvent {
        let frame = |payload| {
            let direction = Direction::In;
            TraceEvent::Frame(Frame { direction, payload })
        };
        match self {
            Self::Text(text) => frame(Payload::Text(text.clone())),
            Self::Binary(bytes) => frame(Payload::Binary(bytes.clone())),
            Self::Closed { code, reason } => TraceEvent::Closed {
                code: *code,
                reason: reason.clone(),
            },
        }
    }
}

/// Decodes a message by its name and calls the handler. This is the only generic part.
fn decoder<C: SocketContract>(
    socket: Socket<C>,
    mut handler: impl FnMut(SocketEvent<C::Welcome, C::Event>) + 'static,
) -> impl FnMut(&Driver, Inbound) -> Result<Input, (String, String)> + 'static
where
    C::Command: Send + Sync,
{
    move |driver, inbound| match inbound {
        Inbound::Text(text) => {
            let input = receive_text(&text, socket, driver, &mut handler);
            if input.is_err() {
                handler(SocketEvent::Undecoded { text });
            }
            input
        }
        Inbound::Binary(bytes) => {
            handler(SocketEvent::Binary(bytes));
            Ok(Input::Frame)
        }
        Inbound::Closed { code, reason } => {
            handler(SocketEvent::Closed {
                code,
                reason: reason.clone(),
            });
            Ok(Input::SocketClosed { code, reason })
        }
    }
}

fn receive_text<C: SocketContract>(
    text: &str,
    socket: Socket<C>,
    driver: &Driver,
    handler: &mut impl FnMut(SocketEvent<C::Welcome, C::Event>),
) -> Result<Input, (String, String)>
where
    C::Command: Send + Sync,
{
    let message: Value = json::decode(text).map_err(|error| (String::new(), error.to_string()))?;
    let name = message["type"].as_str().unwrap_or_default().to_owned();
    let undecoded = |error: json::Error| (name.clone(), error.to_string());
    if !KIT_EVENTS.contains(&name.as_str()) {
        let event = C::Event::deserialize(Json(message)).map_err(undecoded)?;
        handler(SocketEvent::Event(event));
        return Ok(Input::Frame);
    }
    Ok(
        match SocketControl::<C::Welcome>::deserialize(Json(message)).map_err(undecoded)? {
            SocketControl::Welcome {
                connection,
                heartbeat_ms,
                connections,
                feature,
                ..
            } => {
                driver.set_id(connection);
                // Before the handler is called, because it may send.
                driver.feed(Input::Greeted { heartbeat_ms });
                driver.set_connections(Some(connections));
                handler(SocketEvent::Welcome {
                    welcome: feature,
                    connections,
                });
                Input::Frame
            }
            SocketControl::Pong {
                at, connections, ..
            } => {
                if let Some(sent) = at.as_f64() {
                    driver.set_round_trip(now() - sent);
                }
                driver.set_connections(Some(connections));
                Input::Pong
            }
            SocketControl::Error(error) => {
                if !socket.refused(&error) {
                    handler(SocketEvent::Refused(error));
                }
                Input::Frame
            }
            SocketControl::Drain { retry_ms } => Input::Drain { retry_ms },
        },
    )
}

/// The part of a socket that outlives its connections.
struct Wire {
    path: RefCell<String>,
    open: RefCell<Option<WebSocket>>,
    signals: Signals,
    /// The uplink is full above this number of unsent bytes.
    limit: u32,
    receive: RefCell<Box<Receive>>,
}

impl Wire {
    /// Delivers an inbound item to the page and reports its meaning to the driver.
    fn receive(&self, driver: &Driver, inbound: Inbound) {
        // Before the handler is called, because it may answer.
        driver.trace(|| inbound.to_trace_event());
        let input = (self.receive.borrow_mut())(driver, inbound);
        driver.feed(input.unwrap_or_else(|(name, error)| {
            driver.could_not_decode(&name, &error);
            Input::Frame
        }));
    }

    /// Whether the uplink has room. A socket that is not open counts as one that has: it drops whatever is sent.
    fn has_room(&self) -> bool {
        let is_full = |socket: &WebSocket| !uplink::has_room(socket.buffered_amount(), self.limit);
        !self.with_open(is_full)
    }

    /// Whether a volatile message may be sent. If not, it is counted.
    fn admits_volatile(&self, payload: impl FnOnce() -> Payload) -> bool {
        let has_room = self.has_room();
        if !has_room {
            self.signals.count_unsent(payload);
        }
        has_room
    }

    fn send(&self, text: &str) -> bool {
        let sent = self.with_open(|socket| socket.send_text(text));
        self.trace_if(sent, || Payload::Text(text.to_owned()))
    }

    fn send_binary(&self, bytes: &[u8]) -> bool {
        let sent = self.with_open(|socket| socket.send_binary(bytes));
        self.trace_if(sent, || Payload::Binary(bytes.to_vec()))
    }

    fn trace_if(&self, sent: bool, payload: impl FnOnce() -> Payload) -> bool {
        if sent {
            self.signals.observers.notify(|| {
                TraceEvent::Frame(Frame {
                    direction: Direction::Out,
                    payload: payload(),
                })
            });
        }
        sent
    }

    fn with_open(&self, send: impl FnOnce(&WebSocket) -> bool) -> bool {
        let open = self.open.borrow();
        let open = open.as_ref().filter(|socket| socket.is_open());
        open.is_some_and(send)
    }

    /// The socket's address. A path belongs to the page's host.
    fn url(&self, credential: Option<&Credential>) -> Option<String> {
        let path = self.path.borrow();
        let path = match credential {
            Some(credential) => Cow::Owned(credential.address(&path)),
            None => Cow::Borrowed(&*path),
        };
        match path.starts_with('/') {
            true => socket_address(&path),
            false => Some(path.into_owned()),
        }
    }

    fn open(
        self: &Rc<Self>,
        driver: &Driver,
        protocol: &'static str,
        credential: Option<&Credential>,
    ) {
        let opened_by = driver.clone();
        let on_open = move || opened_by.feed(Input::TransportOpen);
        let (wire, receiver) = (self.clone(), driver.clone());
        let on_message = move |message| {
            receiver.frame_received();
            let inbound = match message {
                Message::Text(text) => Inbound::Text(text),
                Message::Binary(bytes) => Inbound::Binary(bytes),
            };
            wire.receive(&receiver, inbound);
        };
        let (wire, closed_by) = (self.clone(), driver.clone());
        let on_close = move |code, reason| {
            wire.receive(&closed_by, Inbound::Closed { code, reason });
        };
        let url = self.url(credential);
        let opened =
            url.and_then(|url| WebSocket::open(&url, protocol, on_open, on_message, on_close));
        match opened {
            Some(socket) => drop(self.open.replace(Some(socket))),
            None => driver.feed(Input::SocketClosed {
                code: 1006,
                reason: String::new(),
            }),
        }
    }

    fn close(&self) {
        // It is dropped when nothing borrows the cell any more.
        let open = self.open.take();
        drop(open);
    }
}

struct SocketTransport {
    wire: Rc<Wire>,
    protocol: &'static str,
    /// The wait for the credential of the attempt.
    opening: Option<Task>,
}

impl Transport for SocketTransport {
    fn open(&mut self, driver: &Driver) {
        let (wire, protocol) = (self.wire.clone(), self.protocol);
        self.opening =
            driver.authorize(move |driver, credential| wire.open(driver, protocol, credential));
    }

    fn abandon(&mut self) {
        self.opening = None;
        self.wire.close();
    }

    fn ping(&mut self, now: f64) {
        // `Date.now()` returns whole milliseconds.
        let at = (now as u64).into();
        let ping = serde_json::to_string(&SocketRequest::Ping { at }).unwrap_or_default();
        self.wire.send(&ping);
    }

    fn url(&self) -> String {
        self.wire.path.borrow().clone()
    }
}

#[cfg(test)]
#[path = "use_socket_tests.rs"]
mod tests;
