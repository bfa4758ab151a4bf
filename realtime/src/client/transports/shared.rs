//! One event stream for all tabs: Web Locks say who holds it, a BroadcastChannel carries what it brings. What happens when
//! is decided in `sharing.rs`; this executes it.

use std::{cell::RefCell, rc::Rc};

use gloo_timers::callback::Timeout;
use js_sys::{Function, Object, Promise, Reflect};
use leptos::{prelude::window, task::spawn_local};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, BroadcastChannel, MessageEvent};

use super::own::EventSourceTransport;
use crate::{
    client::{
        connection::{Driver, Transport},
        stream::Stream,
    },
    message::StreamControl,
    position::Position,
    sharing::{Action, Frame, Note, Role, Tab},
    status::Input,
};

/// Which tabs share a stream: those with the same route, the same user and the same build.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// What one user may see is not told to another.
    pub user: String,
    /// Tabs of an older build may not understand what this one tells.
    pub build: &'static str,
}

/// What comes along with a state (the same chunk, but later tasks) has come after this many milliseconds.
const STATE_IS_TAKEN_MS: u32 = 100;

/// Whether the tabs of this browser can share a stream: Web Locks exist only where the page came securely (https, localhost).
pub fn tabs_can_share() -> bool {
    locks().is_some()
}

/// An event stream that is this tab's only while the tab leads.
pub struct SharedTransport(Rc<Shared>);

struct Shared {
    /// Of the lock and of the channel.
    name: String,
    stream: Rc<Stream>,
    source: RefCell<EventSourceTransport>,
    tab: RefCell<Tab>,
    driver: RefCell<Option<Driver>>,
    /// Both are there while the stream is wanted.
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
        let heard_by = Rc::downgrade(&shared);
        shared.source.borrow_mut().relay = Some(Rc::new(move |name, data, id, before, news| {
            if let Some(shared) = heard_by.upgrade() {
                shared.took(name, data, id, before, news);
            }
        }));
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
        // Whatever goes wrong from here on is a broken connection, not a refused one.
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
            // Dropped: that gives it back, or ends the wait for it.
            drop(self.0.lock.take());
            // The driver holds this transport: each would keep the other for ever.
            self.0.driver.take();
        }
    }

    fn ping(&mut self, _now: f64) {}

    fn probe_url(&self) -> String {
        self.0.source.borrow().probe_url()
    }
}

impl Shared {
    /// Listens to the other tabs and queues for the lock. `None` where the browser has no such things.
    fn join_the_tabs(self: &Rc<Self>) -> Option<()> {
        if self.channel.borrow().is_some() {
            return Some(());
        }
        let locks = locks()?;
        let this = Rc::downgrade(self);
        let channel = Channel::open(&self.name, move |note| {
            if let Some(this) = this.upgrade() {
                this.react(|tab, held| tab.hear(note, held));
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

    /// This tab's own stream brought an event.
    fn took(
        self: &Rc<Self>,
        name: &str,
        data: &str,
        id: &str,
        before: Option<Position>,
        news: bool,
    ) {
        match name {
            "hello" => {
                if let Ok(hello) = serde_json::from_str(data) {
                    self.react(|tab, _| tab.greeted(hello));
                }
            }
            // For this connection alone; the others learn that it is gone.
            "drain" => {}
            _ => {
                let frame = Frame {
                    name: name.into(),
                    data: data.into(),
                    at: id.parse().ok(),
                    after: before,
                };
                match news {
                    true => self.react(|tab, held| tab.took(frame, held)),
                    false => self.react(|tab, _| tab.took_again(frame)),
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
                Action::Tell(note) => {
                    if let Some(channel) = &*self.channel.borrow() {
                        channel.post(&note);
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
                    Timeout::new(STATE_IS_TAKEN_MS, finish).forget();
                }
                Action::ForgetPosition => self.stream.set_position(None),
                Action::Greet(hello) => {
                    let hello = StreamControl::Hello(hello);
                    if let Ok(data) = serde_json::to_string(&hello) {
                        self.stream.deliver(&driver, "hello", &data, "");
                    }
                }
                Action::Take(frame) => {
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

/// A channel to the other tabs; closed on drop.
struct Channel {
    channel: BroadcastChannel,
    on_message: Option<Closure<dyn FnMut(MessageEvent)>>,
}

impl Channel {
    fn open(name: &str, mut heard: impl FnMut(Note) + 'static) -> Option<Self> {
        let channel = BroadcastChannel::new(name).ok()?;
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            // The name holds the build, so that what is not understood does not come from a tab of ours.
            let note = event.data().as_string();
            if let Some(note) = note.and_then(|note| serde_json::from_str(&note).ok()) {
                heard(note);
            }
        });
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Some(Self {
            channel,
            on_message: Some(on_message),
        })
    }

    fn post(&self, note: &Note) {
        if let Ok(note) = serde_json::to_string(note) {
            let _ = self.channel.post_message(&note.into());
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.close();
        // It may be the one that is running: it is freed when the stack is empty.
        let on_message = self.on_message.take();
        Timeout::new(0, move || drop(on_message)).forget();
    }
}

/// A lock, or the wait for it; dropped, it goes to the next tab.
struct Lock {
    hold: Rc<RefCell<Hold>>,
    abort: AbortController,
}

enum Hold {
    Waiting,
    /// Resolves the promise for which the browser keeps the lock.
    Held(Function),
    Gone,
}

impl Lock {
    /// web-sys knows the lock manager only under an unstable flag, so it is called by name.
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
        // An aborted wait rejects: that is what was asked for.
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

fn locks() -> Option<JsValue> {
    let locks = Reflect::get(&window().navigator(), &"locks".into()).ok()?;
    locks.is_object().then_some(locks)
}
