//! The transport of an event stream that all tabs share: a Web Lock elects the tab that holds it, and a BroadcastChannel
//! carries its events. `sharing.rs` makes the decisions; this module executes them.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Function, Object, Promise, Reflect};
use leptos::task::spawn_local;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, BroadcastChannel, MessageEvent};

use super::own::EventSourceTransport;
use crate::{
    client::{
        connection::{Driver, Transport},
        platform::{after, locks},
        stream::Stream,
    },
    json,
    message::StreamControl,
    position::Position,
    sharing::{Action, Frame, Role, Tab, TabMessage},
    status::Input,
};

/// Which tabs share a stream: those with the same route, the same user and the same build.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Tabs of different users do not share, because one user's events must not reach another.
    pub user: String,
    /// Tabs of another build may not understand the messages of this one.
    pub build: &'static str,
}

/// The events that come along with a state (in the same chunk, but in later tasks) have been processed after this many
/// milliseconds.
const STATE_SETTLES_MS: u32 = 100;

/// Whether the tabs of this browser can share a stream. Web Locks exist only in secure contexts (https, localhost).
pub fn tabs_can_share() -> bool {
    locks().is_some()
}

/// A transport that holds a stream of its own only while this tab is the leader, while it loads a state, or while no leader
/// answers.
pub struct SharedTransport(Rc<Shared>);

struct Shared {
    /// The name of the lock and of the channel.
    name: String,
    stream: Rc<Stream>,
    source: RefCell<EventSourceTransport>,
    tab: RefCell<Tab>,
    driver: RefCell<Option<Driver>>,
    /// Channel and lock exist while the stream is wanted.
    channel: RefCell<Option<Channel>>,
    lock: RefCell<Option<Lock>>,
}

impl SharedTransport {
    pub fn new(
        route: &str,
        sharing: &Sharing,
        stream: Rc<Stream>,
        source: EventSourceTransport,
    ) -> Self {
        let shared = Rc::new(Shared {
            name: format!("{route} {} {}", sharing.user, sharing.build),
            stream,
            source: RefCell::new(source),
            tab: RefCell::new(Tab::new(uuid::Uuid::new_v4().to_string())),
            driver: RefCell::default(),
            channel: RefCell::default(),
            lock: RefCell::default(),
        });
        let receiver = Rc::downgrade(&shared);
        let relay = Rc::new(move |name: &_, data: &_, id: &_, before, is_new| {
            if let Some(shared) = receiver.upgrade() {
                shared.received(name, data, id, before, is_new);
            }
        });
        shared.source.borrow().set_relay(relay);
        Self(shared)
    }
}

impl Transport for SharedTransport {
    fn open(&mut self, driver: &Driver) {
        let shared = &self.0;
        shared.driver.replace(Some(driver.clone()));
        if shared.join_the_tabs().is_none() {
            driver.set_role(Role::Alone);
            return shared.source.borrow_mut().open(driver);
        }
        // Any failure from here on counts as a broken connection, not as a refused one.
        if shared.tab.borrow().role() != Role::Leader {
            driver.feed(Input::TransportOpen);
        }
        let held = shared.stream.position();
        let actions = shared.tab.borrow_mut().open(held.as_ref(), driver.asked());
        shared.execute(actions);
    }

    fn abandon(&mut self) {
        if self.0.channel.borrow().is_none() {
            return self.0.source.borrow_mut().abandon();
        }
        let actions = self.0.tab.borrow_mut().abandon();
        self.0.execute(actions);
    }

    fn resign(&mut self) {
        if self.0.channel.take().is_some() {
            self.0.tab.borrow_mut().resign();
            // Dropping it releases the lock, or ends the wait for it.
            drop(self.0.lock.take());
            // The driver owns this transport, so keeping the driver would leak both.
            self.0.driver.take();
        }
    }

    fn ping(&mut self, _now: f64) {}

    fn url(&self) -> String {
        self.0.source.borrow().url()
    }

    fn refused_url(&self) -> String {
        self.0.source.borrow().refused_url()
    }
}

impl Shared {
    /// Opens the channel to the other tabs and requests the lock. `None` if the browser does not support them.
    fn join_the_tabs(self: &Rc<Self>) -> Option<()> {
        if self.channel.borrow().is_some() {
            return Some(());
        }
        let locks = locks()?;
        let this = Rc::downgrade(self);
        let channel = Channel::open(&self.name, move |message| {
            if let Some(this) = this.upgrade() {
                this.react(|tab, held| tab.handle(message, held));
            }
        })?;
        self.channel.replace(Some(channel));
        let this = Rc::downgrade(self);
        let lock = Lock::request(&locks, &self.name, move || {
            if let Some(this) = this.upgrade() {
                this.react(|tab, _| tab.granted());
            }
        });
        self.lock.replace(lock);
        Some(())
    }

    /// This tab's own stream received an event.
    fn received(
        self: &Rc<Self>,
        name: &str,
        data: &str,
        id: &str,
        before: Option<Position>,
        is_new: bool,
    ) {
        match name {
            "hello" => {
                if let Ok(hello) = json::decode(data) {
                    self.react(|tab, _| tab.greeted(hello));
                }
            }
            // It concerns only this connection; the other tabs are notified when the connection is lost.
            "drain" => {}
            _ => {
                let frame = Frame {
                    name: name.into(),
                    data: data.into(),
                    at: id.parse().ok(),
                    after: before,
                };
                match is_new {
                    true => self.react(|tab, held| tab.received(frame, held)),
                    false => self.react(|tab, _| tab.received_duplicate(frame)),
                }
            }
        }
    }

    fn react(self: &Rc<Self>, reaction: impl FnOnce(&mut Tab, Option<&Position>) -> Vec<Action>) {
        let held = self.stream.position();
        let actions = reaction(&mut self.tab.borrow_mut(), held.as_ref());
        self.execute(actions);
    }

    fn execute(self: &Rc<Self>, actions: Vec<Action>) {
        let Some(driver) = self.driver.borrow().clone() else {
            return;
        };
        driver.set_role(self.tab.borrow().role());
        for action in actions {
            match action {
                Action::Send(message) => {
                    if let Some(channel) = &*self.channel.borrow() {
                        channel.post(&message);
                    }
                }
                Action::OpenStream => self.source.borrow_mut().open(&driver),
                Action::CloseStream => self.source.borrow_mut().abandon(),
                Action::FinishLoading => {
                    let this = Rc::downgrade(self);
                    let finish = move || {
                        if let Some(this) = this.upgrade() {
                            this.react(Tab::loaded);
                        }
                    };
                    after(STATE_SETTLES_MS, finish);
                }
                Action::ForgetPosition => self.stream.set_position(None),
                Action::Greet(hello) => {
                    let hello = StreamControl::Hello(hello);
                    if let Ok(data) = serde_json::to_string(&hello) {
                        self.stream.deliver(&driver, "hello", &data, "");
                    }
                }
                Action::Deliver(frame) => {
                    let id = frame.at.map(|at| at.to_string()).unwrap_or_default();
                    self.stream.deliver(&driver, &frame.name, &frame.data, &id);
                }
                Action::MoveTo(at) => {
                    if self.stream.position().is_none_or(|held| held < at) {
                        self.stream.set_position(Some(at));
                    }
                }
                Action::Lost => driver.feed(Input::StreamError),
                Action::RetryNow => driver.feed(Input::RetryNow),
                Action::TryNow => driver.feed(Input::Reachable),
                Action::WaitedFor => driver.feed(Input::WaitedFor),
                Action::Restart => driver.feed(Input::Wanted),
            }
        }
    }
}

/// A channel to the other tabs. It is closed on drop.
struct Channel {
    channel: BroadcastChannel,
    on_message: Option<Closure<dyn FnMut(MessageEvent)>>,
}

impl Channel {
    fn open(name: &str, mut received: impl FnMut(TabMessage) + 'static) -> Option<Self> {
        let channel = BroadcastChannel::new(name).ok()?;
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            // The channel's name contains the build, so a message that does not parse is not from a tab of this app.
            let text = event.data().as_string();
            if let Some(message) = text.and_then(|text| json::decode(&text).ok()) {
                received(message);
            }
        });
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Some(Self {
            channel,
            on_message: Some(on_message),
        })
    }

    fn post(&self, message: &TabMessage) {
        if let Ok(text) = serde_json::to_string(message) {
            let _ = self.channel.post_message(&text.into());
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.close();
        // The closure may be running right now, so it is freed once the stack is empty.
        let on_message = self.on_message.take();
        after(0, move || drop(on_message));
    }
}

/// A lock, or the wait for it. When this is dropped, the lock passes to the next tab.
struct Lock {
    hold: Rc<RefCell<Hold>>,
    abort: AbortController,
}

enum Hold {
    Waiting,
    /// The function that resolves the promise; the browser holds the lock until then.
    Held(Function),
    Gone,
}

impl Lock {
    /// Requests the lock.
    fn request(locks: &JsValue, name: &str, granted: impl FnOnce() + 'static) -> Option<Self> {
        let abort = AbortController::new().ok()?;
        let options = Object::new();
        Reflect::set(&options, &"signal".into(), &abort.signal()).ok()?;
        let hold = Rc::new(RefCell::new(Hold::Waiting));
        let held = hold.clone();
        let callback = Closure::once_into_js(move |_lock: JsValue| -> JsValue {
            if matches!(*held.borrow(), Hold::Gone) {
                return JsValue::UNDEFINED;
            }
            let until = Promise::new(&mut |resolve, _| {
                held.replace(Hold::Held(resolve));
            });
            granted();
            until.into()
        });
        let request: Function = Reflect::get(locks, &"request".into())
            .ok()?
            .dyn_into()
            .ok()?;
        let ended = request
            .call3(locks, &name.into(), &options, &callback)
            .ok()?;
        let ended: Promise = ended.dyn_into().ok()?;
        // An aborted wait rejects the promise; that is expected.
        spawn_local(async move {
            let _ = JsFuture::from(ended).await;
        });
        Some(Self { hold, abort })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        match self.hold.replace(Hold::Gone) {
            Hold::Held(release) => drop(release.call0(&JsValue::UNDEFINED)),
            Hold::Waiting => self.abort.abort(),
            Hold::Gone => {}
        }
    }
}
