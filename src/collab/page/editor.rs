//! The page's handle on the shared text: executes the decisions of [`Client`] and [`Typing`] on the text area, the
//! socket and the tab's storage.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use leptos::{html, prelude::*};
use send_wrapper::SendWrapper;

use super::{
    browser::Listener,
    carets::Carets,
    sync::{Client, Mark, Outcome, typing::Typing, word_count::count_words},
    writer::Writer,
};
use crate::{
    collab::{message::BoardSocket, protocol::is_awareness},
    session::{User, page::view::kept_name},
};
use realtime::{
    backoff::Backoff,
    client::{Coalesce, Socket, tab_storage},
    message::{ErrorCode, SocketError},
};

/// How often silent clients are removed, the own state is renewed if it is due, and the page looks whether anything is stored.
const TICK: Duration = Duration::from_secs(5);
/// The own caret is sent at most this often.
const SEND_STATE_AFTER: Duration = Duration::from_millis(50);
/// Unsaved edits are stored in the tab this long after they were made, so that many letters are one write.
const KEEP_AFTER: Duration = Duration::from_millis(250);
/// Shown while the server cannot store updates; they are sent again automatically.
const STORED_LATER: &str =
    "The server cannot store anything now. What you write is kept here and sent again by itself.";
/// Shown if the tab's storage has no room for the unsaved edits.
const NO_ROOM: &str = "This tab has no room to keep what is not saved yet: it will not survive a reload. Leave it open until all is saved.";

/// The text of one document. Cheap to copy; all copies share one state.
#[derive(Clone, Copy)]
pub struct Editor {
    pub field: NodeRef<html::Textarea>,
    pub carets: Carets,
    pub mark: RwSignal<Mark>,
    pub editable: RwSignal<bool>,
    pub words: RwSignal<usize>,
    pub can_undo: RwSignal<bool>,
    pub can_redo: RwSignal<bool>,
    /// Why an edit was refused, as a sentence.
    pub refusal: RwSignal<Option<String>>,
    pub writers: RwSignal<Vec<Writer>>,
    pub(super) visitor: RwSignal<Option<User>>,
    /// Created in the browser, because it needs a random id.
    typing: StoredValue<Option<SendWrapper<Typing>>>,
    /// Set when the hook has returned.
    socket: StoredValue<Option<Socket<BoardSocket>>>,
    /// The storage key of the unsaved edits; `None` for a reader, who makes no edits.
    kept_as: StoredValue<Option<String>>,
    /// Scheduled tasks; one pending run of each is enough.
    pub(super) pending_show: Coalesce,
    pending_state: Coalesce,
    pending_keep: Coalesce,
    pending_resend: Coalesce,
}

impl Editor {
    /// `text` is the text that the server rendered.
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
            pending_show: Coalesce::new(),
            pending_state: Coalesce::new(),
            pending_keep: Coalesce::new(),
            pending_resend: Coalesce::new(),
        };
        Effect::new(move |_| this.begin(readonly));
        Effect::new(move |_| {
            visitor.track();
            // After a sign-out the text is read-only.
            this.update_signals();
            this.send_state_soon();
        });
        on_cleanup(move || this.keep());
        this
    }

    /// Sets the socket, once it exists.
    pub fn attach(self, socket: Socket<BoardSocket>) {
        self.socket.set_value(Some(socket));
    }

    pub fn connected(self) {
        let frames = self.with(|client| client.connected(now()));
        self.send(frames.unwrap_or_default());
        self.refusal.set(None);
        self.update_signals();
        // A page in the back-forward cache has removed its state, so it is sent again.
        self.send_state_soon();
    }

    pub fn disconnected(self) {
        self.with(Client::disconnected);
        self.people_changed();
        self.update_signals();
        self.keep_soon();
    }

    /// Closes the connection if the server sees another user: edits made here must not be sent as theirs.
    pub fn close(self) {
        if let Some(socket) = self.socket.try_get_value().flatten() {
            socket.connection.close();
        }
    }

    /// Handles a binary frame.
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
        self.execute(outcome);
        if text_waits {
            self.show_soon();
        }
        self.update_signals();
    }

    /// The server reported what is on its disk.
    pub fn saved(self, state_vector: &str, updates: u64) {
        self.with(|client| client.saved(state_vector, updates));
        self.update_signals();
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

    /// The server refused something. An update that it cannot store now is sent again with backoff until it is saved.
    pub fn refused(self, error: SocketError) {
        if error.code != ErrorCode::Unavailable {
            return self.refuse(error.message);
        }
        self.refuse(STORED_LATER.to_owned());
        let resent = self.with(Client::refused).unwrap_or_default();
        let chance = js_sys::Math::random();
        let wait = Backoff::DEFAULT.delay_ms(resent, !document().hidden(), chance);
        self.once(
            self.pending_resend,
            Duration::from_millis(wait),
            Self::resend,
        );
        self.update_signals();
    }

    fn resend(self) {
        let frame = self.with(Client::resend).flatten();
        self.send(frame.into_iter().collect());
        self.update_signals();
    }

    pub fn refuse(self, why: String) {
        self.refusal.set(Some(why));
    }

    /// Schedules sending the own state: the caret moved, or the focus changed.
    pub fn send_state_soon(self) {
        self.once(self.pending_state, SEND_STATE_AFTER, Self::send_state);
    }

    fn begin(self, readonly: bool) {
        let kept = self.kept_as.with_value(|name| {
            let kept = tab_storage::read(name.as_deref()?)?;
            STANDARD.decode(kept).ok()
        });
        // A random 32-bit number, as in Yjs.
        let id = (js_sys::Math::random() * f64::from(u32::MAX)) as u32;
        let client = Client::new(id, readonly, kept);
        let typing = SendWrapper::new(Typing::new(client));
        self.typing.set_value(Some(typing));
        let every = set_interval_with_handle(
            move || {
                if let Some(outcome) = self.with(|client| client.tick(now())) {
                    self.execute(outcome);
                    self.update_signals();
                }
            },
            TICK,
        );
        let page_hide = window_event_listener_untyped("pagehide", move |_| self.page_hidden());
        let hidden = window_event_listener(leptos::ev::visibilitychange, move |_| {
            if document().hidden() {
                self.keep();
            }
        });
        // On the document, because browsers differ in whether a text area gets its own event.
        let selected = window_event_listener_untyped("focusin", move |_| self.send_state_soon());
        let moved = SendWrapper::new(self.watch_selection());
        on_cleanup(move || {
            if let Ok(every) = every {
                every.clear();
            }
            for listener in [page_hide, selected] {
                listener.remove();
            }
            hidden.remove();
            drop(moved);
        });
    }

    /// Listens for the document's `selectionchange`, which does not reach the window.
    fn watch_selection(self) -> impl Drop {
        Listener::new(&document(), "selectionchange", move || {
            self.send_state_soon();
        })
    }

    /// The page is hidden, perhaps for good.
    fn page_hidden(self) {
        self.take_over();
        self.keep();
        let frame = self.with(|client| client.set_state(None, now()));
        self.send(frame.flatten().into_iter().collect());
    }

    fn execute(self, outcome: Outcome) {
        self.send(outcome.frames);
        if outcome.people_changed {
            self.people_changed();
        }
    }

    /// Updates the signals whose values changed.
    pub(super) fn update_signals(self) {
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
        self.once(self.pending_keep, KEEP_AFTER, Self::keep);
    }

    /// Stores unsaved edits in the tab's storage; removes the entry if there are none.
    fn keep(self) {
        let Some(Some(name)) = self.kept_as.try_get_value() else {
            return;
        };
        let Some(kept) = self.with(|client| client.to_keep()) else {
            return;
        };
        let kept = kept.map(|kept| STANDARD.encode(kept));
        let is_kept = tab_storage::write(&name, kept.as_deref()) || kept.is_none();
        let shows_no_room = self
            .refusal
            .try_with_untracked(|why| why.as_deref() == Some(NO_ROOM));
        if shows_no_room == Some(is_kept) {
            let no_room = (!is_kept).then(|| NO_ROOM.to_owned());
            let _ = self.refusal.try_set(no_room);
        }
    }

    pub(super) fn send(self, frames: Vec<Vec<u8>>) {
        let Some(socket) = self.socket.try_get_value().flatten() else {
            return;
        };
        for frame in frames {
            // Only the exchange of the next connection covers an update that is not sent, so none is dropped on an open one.
            // Their size is bounded by `UNSAVED_BYTES`.
            if !is_awareness(&frame) {
                socket.send_binary_unbounded(&frame);
            } else if !socket.send_binary(&frame) {
                self.with(Client::state_unsent);
            }
        }
    }

    pub(super) fn with<T>(self, action: impl FnOnce(&mut Client) -> T) -> Option<T> {
        self.typing(|typing| action(&mut typing.client))
    }

    /// Must not be called within itself, nor do anything that fires an event synchronously, such as moving the focus.
    pub(super) fn typing<T>(self, action: impl FnOnce(&mut Typing) -> T) -> Option<T> {
        let action =
            |typing: &mut Option<SendWrapper<Typing>>| typing.as_mut().map(|typing| action(typing));
        self.typing.try_update_value(action).flatten()
    }

    /// Schedules an action; further calls before it runs have no effect.
    pub(super) fn once(self, pending: Coalesce, wait: Duration, action: fn(Self)) {
        if pending.schedule() {
            set_timeout(
                move || {
                    // The page may have been disposed by then.
                    if pending.run() {
                        action(self);
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
