//! The page's handle on the chat: its state, its socket, and the timing of its renders.

mod scrolling;

use std::time::Duration;

use leptos::prelude::*;
use uuid::Uuid;

use super::{
    model::{Acknowledged, ChatState, RoomState, TYPING_MS, transcript::Row},
    scroll::{Place, Scroller},
    time::Calendar,
};
use crate::{
    chat::{
        check_text, is_room_name,
        message::{ChatCommand, ChatEvent, ChatMessage, ChatSocket, ChatWelcome, FirstMessages},
    },
    session::{
        User,
        current_user::CurrentUser,
        page::view::{follow_sign_out, kept_name, welcomed},
    },
    ui::{bidi::isolated, first_state::first_state},
};
use realtime::{
    channel::{ChannelContract, NOT_JOINED},
    client::{
        Alarm, Coalesce, Socket, SocketEvent, SocketOptions, channel::Applied, outbox::Outbox,
        tab_storage, use_socket_with_options,
    },
    message::SocketError,
};

/// Storage name of the unsent messages.
const OUTBOX: &str = "chat.outbox";
/// Storage name of the rooms that this tab visited.
const VISITED: &str = "chat.rooms";
/// The refusal of a message after signing out.
const SIGNED_OUT: &str = "You signed out. Continue as a guest to write.";
/// Most rooms that are remembered; a socket may be in 128.
const MOST_VISITED: usize = 100;
/// Delay of a read mark: a reader who only scrolls by has not read, and many messages share one mark.
const READ_AFTER: Duration = Duration::from_millis(300);
/// Messages that arrive within this time are announced together.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);
/// More new messages than this are announced as a number.
const MOST_ANNOUNCED: usize = 3;
/// Render delay in a hidden tab, which gets no animation frames; its title still shows the unread count.
const HIDDEN_FRAME: Duration = Duration::from_millis(200);

/// The chat of one page. All copies share their state.
#[derive(Clone, Copy)]
pub struct Chat {
    state: RwSignal<ChatState>,
    /// The room in the address; empty if that is not a room name.
    pub current: Memo<String>,
    /// The offset of the message that was jumped to.
    pub found: RwSignal<Option<u64>>,
    /// For screen readers: the messages that arrived just now.
    pub announcement: RwSignal<String>,
    /// Search results cover the log.
    pub covered: RwSignal<bool>,
    /// The tab's storage has no space for a draft.
    pub draft_lost: RwSignal<bool>,
    current_user: RwSignal<Option<User>>,
    calendar: Calendar,
    /// Set once the hook has returned.
    socket: StoredValue<Option<Socket<ChatSocket>>>,
    scroller: StoredValue<Option<Scroller>>,
    frame: Coalesce,
    reading: Coalesce,
    announcing: Coalesce,
    /// When a refused join is sent again.
    joining: Alarm,
    /// The offset of a message to scroll into the middle as soon as it is shown.
    jump: StoredValue<Option<u64>>,
    /// The last scroll position of the log.
    place: StoredValue<Place>,
}

impl Chat {
    /// Opens the page's one socket, for as long as `room` is a room name. It stays open when the room changes.
    pub fn connect(room: Memo<Option<String>>) -> (Self, Socket<ChatSocket>) {
        let visited = room.get_untracked().unwrap_or_default();
        let first = first_state::<String, Option<FirstMessages>>(visited.clone()).flatten();
        let current_user = expect_context::<CurrentUser>().0;
        let me = current_user.with_untracked(|user| user.as_ref().map(|user| user.id));
        let chat = Self {
            state: RwSignal::new(ChatState::new(me, &visited, first)),
            current: Memo::new(move |_| room.get().unwrap_or_default()),
            found: RwSignal::new(None),
            announcement: RwSignal::new(String::new()),
            covered: RwSignal::new(false),
            draft_lost: RwSignal::new(false),
            current_user,
            calendar: expect_context(),
            socket: StoredValue::new(None),
            scroller: StoredValue::new(None),
            frame: Coalesce::new(),
            reading: Coalesce::new(),
            announcing: Coalesce::new(),
            joining: Alarm::new(),
            jump: StoredValue::new(None),
            place: StoredValue::new(Place::default()),
        };
        let options = SocketOptions::default().keep_outbox_as(kept_name(current_user, OUTBOX));
        let wanted = move || room.with(|room| room.is_some().then_some(ChatSocket));
        let socket = use_socket_with_options(wanted, move |event| chat.on_event(event), options);
        chat.socket.set_value(Some(socket));
        follow_sign_out(current_user, socket.connection);
        chat.visit_rooms();
        chat.show_when_visibility_changes();
        (chat, socket)
    }

    /// Reads from the current room.
    pub fn in_room<T>(self, read: impl FnOnce(&RoomState) -> T) -> Option<T> {
        let current = self.current.read();
        self.state.with(|state| state.room(&current).map(read))
    }

    /// Reads from all rooms.
    pub fn in_all<T>(self, read: impl FnOnce(&ChatState) -> T) -> T {
        self.state.with(read)
    }

    pub fn unread(self) -> usize {
        self.state.with(ChatState::unread)
    }

    pub fn unread_elsewhere(self) -> usize {
        self.unread() - self.in_room(|room| room.unread).unwrap_or_default()
    }

    /// The rows of the current room that are shown.
    pub fn rows(self) -> Vec<Row> {
        let day_of = self.calendar.day_of();
        self.in_room(|room| room.log.rows(day_of))
            .unwrap_or_default()
    }

    /// Sends a message to the current room. The error is a sentence; nothing was accepted then.
    pub fn post(self, text: String) -> Result<(), String> {
        if self.current_user.with_untracked(Option::is_none) {
            return Err(SIGNED_OUT.to_owned());
        }
        check_text(&text).map_err(str::to_owned)?;
        // Ids in the order of time (RFC 9562): ids of one moment are neighbours in the server's index, where random
        // ones would each need a page.
        let (id, room) = (Uuid::now_v7(), self.current.get_untracked());
        let command = ChatSocket::send(&room, id, text);
        let queued = self
            .socket()
            .map(|socket| socket.send_reliably(id, &room, command));
        queued.unwrap_or(Ok(())).map_err(|full| full.to_string())?;
        self.to_latest();
        Ok(())
    }

    /// The draft of a room.
    pub fn draft(self, room: &str) -> String {
        let kept = self
            .draft_name(room)
            .and_then(|name| tab_storage::read(&name));
        kept.unwrap_or_default()
    }

    /// Stores the draft of a room; removes it if it is empty.
    pub fn keep_draft(self, room: &str, draft: &str) {
        let Some(name) = self.draft_name(room) else {
            return;
        };
        let draft = Some(draft).filter(|draft| !draft.is_empty());
        let kept = tab_storage::write(&name, draft) || draft.is_none();
        if self.draft_lost.get_untracked() == kept {
            self.draft_lost.set(!kept);
        }
    }

    fn draft_name(self, room: &str) -> Option<String> {
        kept_name(self.current_user, &format!("chat.draft.{room}"))
    }

    /// Discards a message that was refused for good.
    pub fn discard(self, id: Uuid) {
        if let Some(socket) = self.socket() {
            socket.acknowledge(id);
        }
    }

    /// The ids of a room's messages that are not sent yet, or were refused and not discarded yet.
    pub fn unsent_in(self, room: &str) -> Vec<Uuid> {
        let of_room = |outbox: &Outbox<ChatCommand>| {
            let entries = outbox.entries().filter(|entry| entry.ordering_key == room);
            entries.map(|entry| entry.id).collect()
        };
        let socket = self.socket();
        socket.map_or(vec![], |socket| socket.outbox.with(of_room))
    }

    /// The user is typing.
    pub fn typing(self) {
        let due = self.change_room(|room| room.typing_due(js_sys::Date::now()));
        if let (Some(typing), Some(socket)) = (due.flatten(), self.socket()) {
            socket.send(&typing);
        }
    }

    /// Removes a room from the list and discards its unsent messages, which a room that refuses the join can have.
    pub fn leave(self, name: &str) {
        let unsent = untrack(|| self.unsent_in(name));
        unsent.into_iter().for_each(|id| self.discard(id));
        let leave = self.state.try_update(|state| state.leave(name));
        self.send(leave.flatten());
        self.not_ready(name);
        self.remember_visited();
    }

    /// Renders changes with the next frame: a thousand messages at once are one render.
    pub fn changed(self) {
        if !self.frame.schedule() {
            return;
        }
        if document().hidden() {
            set_timeout(move || self.show(), HIDDEN_FRAME);
        } else {
            request_animation_frame(move || self.show());
        }
    }

    /// Sends a read mark soon, if the end of the log is visible then.
    pub fn read_soon(self) {
        if self.reading.schedule() {
            set_timeout(move || self.read(), READ_AFTER);
        }
    }

    fn read(self) {
        if !self.reading.run() || !self.end_is_seen() {
            return;
        }
        let room = self.current.get_untracked();
        let due = self.change(|state| state.read_due(&room)).flatten();
        if due.is_some() {
            self.send(due);
            self.changed();
        }
    }

    fn on_event(self, event: SocketEvent<ChatWelcome, ChatEvent>) {
        match event {
            SocketEvent::Welcome { welcome, .. } => {
                let id = welcome.user.id;
                if welcomed(self.current_user, welcome.user) {
                    self.change(|state| state.connected(id));
                    self.join();
                } else if let Some(socket) = self.socket() {
                    socket.connection.close();
                }
            }
            SocketEvent::Event(event) => self.apply(event),
            SocketEvent::Refused(error) => self.refused(&error),
            // The status line says what follows a close; the inspector shows messages that cannot be decoded.
            SocketEvent::Binary(_) | SocketEvent::Closed { .. } | SocketEvent::Undecoded { .. } => {
            }
        }
    }

    fn apply(self, event: ChatEvent) {
        if matches!(&event, ChatEvent::Typing { .. }) {
            set_timeout(
                move || self.expire(),
                Duration::from_millis(TYPING_MS as u64 + 50),
            );
        }
        let is_page = matches!(&event, ChatEvent::History { .. });
        let room = event.room().to_owned();
        let applied = self.change(|state| state.apply(event, js_sys::Date::now()));
        let (Some(applied), Some(socket)) = (applied, self.socket()) else {
            return;
        };
        match applied {
            Applied::Joined { .. } => {
                socket.ready(&room);
                self.join();
            }
            Applied::Gap { rejoins: true, .. } => {
                socket.not_ready(&room);
                self.join();
            }
            // Only the acknowledgement removes the command from the outbox, not the message, although that arrives
            // first. The command may have been sent again meanwhile; if that repetition is refused, the server accepts
            // no other message until it is sent once more.
            Applied::Acknowledged { id, offset } => {
                if let Some(ChatCommand::Send { text, .. }) = socket.acknowledge(id) {
                    let own = Acknowledged { id, offset, text };
                    self.change(|state| state.acknowledge(&room, own));
                }
            }
            _ => {}
        }
        if is_page || matches!(applied, Applied::Joined { .. }) {
            self.continue_seek();
        }
        self.changed();
    }

    fn refused(self, error: &SocketError) {
        let at = js_sys::Date::now();
        let again_at = self.change(|state| state.refused(error, at)).flatten();
        if let (Some(again_at), Some(room)) = (again_at, ChatSocket::channel_of(error)) {
            if error.code == NOT_JOINED {
                self.not_ready(room);
            }
            self.join();
            let room = room.to_owned();
            let retry = move || {
                if self.change(|state| state.retry(&room)).is_some() {
                    self.continue_seek();
                    self.changed();
                }
            };
            set_timeout(retry, Duration::from_millis((again_at - at) as u64));
        }
        self.changed();
    }

    /// Sends the joins that are due, and those that were refused when they are due.
    fn join(self) {
        let first = self.current.try_get_untracked().unwrap_or_default();
        let due = self.change(|state| state.joins_due(&first, js_sys::Date::now()));
        let (joins, due_at) = due.unwrap_or_default();
        joins.into_iter().for_each(|join| self.send(Some(join)));
        if let Some(due_at) = due_at {
            self.joining.run_at(due_at, move || self.join());
        }
    }

    fn expire(self) {
        if self
            .change(|state| state.expire(js_sys::Date::now()))
            .is_some()
        {
            self.changed();
        }
    }

    fn announce_soon(self) {
        let has_news = self.state.with_untracked(|state| {
            self.current
                .with_untracked(|current| state.room(current).is_some_and(RoomState::has_news))
        });
        if has_news && self.announcing.schedule() {
            set_timeout(move || self.announce(), ANNOUNCE_AFTER);
        }
    }

    fn announce(self) {
        if self.announcing.run() {
            let news = self.change_room(RoomState::take_news).unwrap_or_default();
            self.announcement.set(in_words(&news));
        }
    }

    /// Enters the room of the address whenever it changes, and at first the rooms that this tab visited before.
    fn visit_rooms(self) {
        Effect::new(move |before: Option<()>| {
            let name = self.current.get();
            self.change(|state| {
                if before.is_none() {
                    remembered(self.current_user)
                        .iter()
                        .for_each(|room| state.enter(room));
                }
                state.enter(&name);
            });
            self.found.set(None);
            self.covered.set(false);
            self.state.notify();
            self.remember_visited();
            self.join();
        });
    }

    fn remember_visited(self) {
        let names = self.state.with_untracked(|state| {
            let rooms = state.rooms().iter().skip(crate::chat::ROOMS.len());
            rooms.map(|room| room.name.clone()).collect::<Vec<_>>()
        });
        let newest = names[names.len().saturating_sub(MOST_VISITED)..].join(" ");
        if let Some(name) = kept_name(self.current_user, VISITED) {
            tab_storage::write(&name, Some(&*newest).filter(|names| !names.is_empty()));
        }
    }

    fn show_when_visibility_changes(self) {
        Effect::new(move |_| {
            // Also when the tab is hidden: a frame that was requested before does not run until the tab is visible
            // again, and until then nothing else would be rendered.
            let listener =
                window_event_listener(leptos::ev::visibilitychange, move |_| self.show());
            on_cleanup(move || listener.remove());
        });
    }

    /// Sends a command that the state of this page counts as sent until the connection is lost. A user causes few.
    fn send(self, command: Option<ChatCommand>) {
        if let (Some(command), Some(socket)) = (command, self.socket()) {
            socket.send_unbounded(&command);
        }
    }

    fn not_ready(self, room: &str) {
        if let Some(socket) = self.socket() {
            socket.not_ready(room);
        }
    }

    /// Changes the state without notifying the views; [`Chat::changed`] does that.
    fn change<T>(self, change: impl FnOnce(&mut ChatState) -> T) -> Option<T> {
        self.state.try_maybe_update(|state| (false, change(state)))
    }

    fn change_room<T>(self, change: impl FnOnce(&mut RoomState) -> T) -> Option<T> {
        let current = self.current.try_get_untracked()?;
        self.change(|state| state.room_mut(&current).map(change))
            .flatten()
    }

    fn socket(self) -> Option<Socket<ChatSocket>> {
        self.socket.try_get_value().flatten()
    }
}

/// The rooms that this tab visited, as far as they can be read.
fn remembered(current_user: RwSignal<Option<User>>) -> Vec<String> {
    let names = kept_name(current_user, VISITED).and_then(|name| tab_storage::read(&name));
    let names = names.unwrap_or_default();
    let names = names.split(' ').filter(|name| is_room_name(name));
    names.take(MOST_VISITED).map(str::to_owned).collect()
}

fn in_words(news: &[std::sync::Arc<ChatMessage>]) -> String {
    if news.len() > MOST_ANNOUNCED {
        return format!("{} new messages", news.len());
    }
    let sentences = news
        .iter()
        .map(|message| format!("{}: {}", isolated(&message.from.name), message.text));
    sentences.collect::<Vec<_>>().join("\n")
}
