//! The page's handle on the shared text: what [`Client`] and [`Typing`] decide is done here, to the text area, the socket and the tab's storage.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use leptos::{html, prelude::*};
use send_wrapper::SendWrapper;

use super::sync::{Client, Mark, Outcome, typing::Typing, word_count::count_words};
use super::{browser::Listener, carets::Carets, writer::Writer};
use crate::{
    collab::message::BoardSocket,
    session::{User, page::view::kept_name},
};
use realtime::{
    backoff::Backoff,
    client::{Coalesce, Socket, tab_storage},
    message::{ErrorCode, SocketError},
};

/// How often it is looked at who was silent for too long and whether one's own state is to be renewed.
const TICK: Duration = Duration::from_secs(5);
/// One's caret is told at most this often.
const STATE_AFTER: Duration = Duration::from_millis(50);
/// What is unsaved is kept in the tab's storage this long after it was written: many letters are one write.
const KEEP_AFTER: Duration = Duration::from_millis(250);
/// What the server cannot store now is sent again by itself.
const STORED_LATER: &str =
    "The server cannot store anything now. What you write is kept here and sent again by itself.";
/// What the tab's storage had no room for.
const NO_ROOM: &str = "This tab has no room to keep what is not saved yet: it will not survive a reload. Leave it open until all is saved.";

/// The text of one document. All copies are one.
#[derive(Clone, Copy)]
pub struct Editor {
    pub field: NodeRef<html::Textarea>,
    pub carets: Carets,
    pub mark: RwSignal<Mark>,
    pub editable: RwSignal<bool>,
    pub words: RwSignal<usize>,
    pub can_undo: RwSignal<bool>,
    pub can_redo: RwSignal<bool>,
    /// Why something was not taken, in words.
    pub refusal: RwSignal<Option<String>>,
    pub writers: RwSignal<Vec<Writer>>,
    pub(super) visitor: RwSignal<Option<User>>,
    /// Made in the browser: it begins with chance.
    typing: StoredValue<Option<SendWrapper<Typing>>>,
    /// There once the hook has returned.
    socket: StoredValue<Option<Socket<BoardSocket>>>,
    /// The name under which the tab keeps what is unsaved; `None` for a reader, who writes nothing.
    kept_as: StoredValue<Option<String>>,
    /// Timers that are set; each of them is enough.
    pub(super) show_asked: Coalesce,
    state_asked: Coalesce,
    keep_asked: Coalesce,
    resend_asked: Coalesce,
}

impl Editor {
    /// `text` is what the server rendered.
    pub fn new(
        document: &str,
        readonly: bool,
        text: &str,
        visitor: RwSignal<Option<User>>,
    ) -> Self {
        let kept_as = kept_name(visitor, &format!("collab.unsaved.{document}"));
        let this = Self {
            field: NodeRef::new(),
            carets: Carets::new(),
            mark: RwSignal::new(Mark::Loading),
            editable: RwSignal::new(false),
            words: RwSignal::new(count_words(text)),
            can_undo: RwSignal::new(false),
            can_redo: RwSignal::new(false),
            refusal: RwSignal::new(None),
            writers: RwSignal::new(vec![]),
            visitor,
            typing: StoredValue::new(None),
            socket: StoredValue::new(None),
            kept_as: StoredValue::new(kept_as.filter(|_| !readonly)),
            show_asked: Coalesce::new(),
            state_asked: Coalesce::new(),
            keep_asked: Coalesce::new(),
            resend_asked: Coalesce::new(),
        };
        Effect::new(move |_| this.begin(readonly));
        Effect::new(move |_| {
            visitor.track();
            // Who signed out writes no more.
            this.tell();
            this.tell_state_soon();
        });
        on_cleanup(move || this.keep());
        this
    }

    /// The socket is there.
    pub fn attach(self, socket: Socket<BoardSocket>) {
        self.socket.set_value(Some(socket));
    }

    pub fn connected(self) {
        let frames = self.with(|client| client.connected(now()));
        self.send(frames.unwrap_or_default());
        self.refusal.set(None);
        self.tell();
        // Back from the back-forward cache one had left.
        self.tell_state_soon();
    }

    pub fn disconnected(self) {
        self.with(Client::disconnected);
        self.people_changed();
        self.tell();
        self.keep_soon();
    }

    /// The server sees another person: what was written here is not that person's to send.
    pub fn close(self) {
        if let Some(socket) = self.socket.try_get_value().flatten() {
            socket.connection.close();
        }
    }

    /// A binary frame.
    pub fn receive(self, frame: &[u8]) {
        let Some((outcome, read)) = self.with(|client| client.receive(frame, now())) else {
            return;
        };
        if let Err(fault) = read {
            leptos::logging::warn!("a frame of the shared text cannot be read: {fault}");
        }
        if let Some(why) = &outcome.denied {
            self.refuse(format!("The server does not take this: {why}"));
        }
        let text_waits = outcome.text_waits;
        self.follow(outcome);
        if text_waits {
            self.show_soon();
        }
        self.tell();
    }

    /// The server told what is on its disk.
    pub fn saved(self, state_vector: &str, updates: u64) {
        self.with(|client| client.saved(state_vector, updates));
        self.tell();
        let is_saved = self.mark.get_untracked() == Mark::Saved;
        if is_saved
            && self
                .refusal
                .with_untracked(|why| why.as_deref() == Some(STORED_LATER))
        {
            self.refusal.set(None);
        }
        self.keep_soon();
    }

    /// The server did not take something. What it cannot store now is sent again after a while, and again, until it is saved.
    pub fn refused(self, error: SocketError) {
        if error.code != ErrorCode::Unavailable {
            return self.refuse(error.message);
        }
        self.refuse(STORED_LATER.to_owned());
        let resent = self.with(Client::refused).unwrap_or_default();
        let chance = js_sys::Math::random();
        let wait = Backoff::DEFAULT.delay_ms(resent, !document().hidden(), chance);
        self.once(self.resend_asked, Duration::from_millis(wait), Self::resend);
        self.tell();
    }

    fn resend(self) {
        let frame = self.with(Client::resend).flatten();
        self.send(frame.into_iter().collect());
        self.tell();
    }

    pub fn refuse(self, why: String) {
        self.refusal.set(Some(why));
    }

    /// The caret moved, or the text area got or lost it.
    pub fn tell_state_soon(self) {
        self.once(self.state_asked, STATE_AFTER, Self::tell_state);
    }

    fn begin(self, readonly: bool) {
        let kept = self.kept_as.with_value(|name| {
            let kept = tab_storage::read(name.as_deref()?)?;
            STANDARD.decode(kept).ok()
        });
        // As Yjs makes them.
        let id = (js_sys::Math::random() * f64::from(u32::MAX)) as u32;
        let client = Client::new(id, readonly, kept);
        let typing = SendWrapper::new(Typing::new(client));
        self.typing.set_value(Some(typing));
        let every = set_interval_with_handle(
            move || {
                if let Some(outcome) = self.with(|client| client.tick(now())) {
                    self.follow(outcome);
                }
            },
            TICK,
        );
        let leaving = window_event_listener_untyped("pagehide", move |_| self.leave());
        let hidden = window_event_listener(leptos::ev::visibilitychange, move |_| {
            if document().hidden() {
                self.keep();
            }
        });
        // On the document: browsers differ in whether a text area hears of its own.
        let selected = window_event_listener_untyped("focusin", move |_| self.tell_state_soon());
        let moved = SendWrapper::new(self.watch_selection());
        on_cleanup(move || {
            if let Ok(every) = every {
                every.clear();
            }
            for listener in [leaving, selected] {
                listener.remove();
            }
            hidden.remove();
            drop(moved);
        });
    }

    /// The document's `selectionchange`, which does not reach the window.
    fn watch_selection(self) -> impl Drop {
        Listener::new(&document(), "selectionchange", move || {
            self.tell_state_soon();
        })
    }

    /// The page goes, perhaps for good.
    fn leave(self) {
        self.take_over();
        self.keep();
        let told = self.with(|client| client.set_state(None, now()));
        self.send(told.flatten().into_iter().collect());
    }

    fn follow(self, outcome: Outcome) {
        self.send(outcome.frames);
        if outcome.people_changed {
            self.people_changed();
        }
    }

    /// Shows what is otherwise now, and only that.
    pub(super) fn tell(self) {
        let is_there = self.visitor.with_untracked(Option::is_some);
        let known = self.with(|client| {
            let flags = (
                client.is_editable() && is_there,
                client.can_undo(),
                client.can_redo(),
            );
            (client.mark(), flags)
        });
        let Some((mark, (editable, can_undo, can_redo))) = known else {
            return;
        };
        if self.mark.get_untracked() != mark {
            self.mark.set(mark);
        }
        for (signal, value) in [
            (self.editable, editable),
            (self.can_undo, can_undo),
            (self.can_redo, can_redo),
        ] {
            if signal.get_untracked() != value {
                signal.set(value);
            }
        }
    }

    pub(super) fn keep_soon(self) {
        self.once(self.keep_asked, KEEP_AFTER, Self::keep);
    }

    /// Keeps what is unsaved in the tab's storage; forgets it when nothing is.
    fn keep(self) {
        let Some(Some(name)) = self.kept_as.try_get_value() else {
            return;
        };
        let Some(kept) = self.with(|client| client.to_keep()) else {
            return;
        };
        let kept = kept.map(|kept| STANDARD.encode(kept));
        let is_kept = tab_storage::write(&name, kept.as_deref()) || kept.is_none();
        let said = self
            .refusal
            .try_with_untracked(|said| said.as_deref() == Some(NO_ROOM));
        if said == Some(is_kept) {
            let no_room = (!is_kept).then(|| NO_ROOM.to_owned());
            let _ = self.refusal.try_set(no_room);
        }
    }

    pub(super) fn send(self, frames: Vec<Vec<u8>>) {
        let Some(socket) = self.socket.try_get_value().flatten() else {
            return;
        };
        for frame in frames {
            // What does not leave is in what the next connection is told.
            socket.send_binary(&frame);
        }
    }

    pub(super) fn with<T>(self, act: impl FnOnce(&mut Client) -> T) -> Option<T> {
        self.typing(|typing| act(&mut typing.client))
    }

    /// Not to be called within itself, nor to do what fires an event at once, as moving the focus does.
    pub(super) fn typing<T>(self, act: impl FnOnce(&mut Typing) -> T) -> Option<T> {
        let act = |typing: &mut Option<SendWrapper<Typing>>| typing.as_mut().map(|it| act(it));
        self.typing.try_update_value(act).flatten()
    }

    /// Does something after a while, once, however often it is asked for meanwhile.
    pub(super) fn once(self, asked: Coalesce, wait: Duration, act: fn(Self)) {
        if asked.arm() {
            set_timeout(
                move || {
                    // The page may be gone by then.
                    if asked.fired() {
                        act(self);
                    }
                },
                wait,
            );
        }
    }
}

/// Unix milliseconds.
pub(super) fn now() -> f64 {
    js_sys::Date::now()
}
