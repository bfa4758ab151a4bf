//! The chat page: one socket for all rooms, and the view of the current room.
//!
//! The state is [`ChatState`](self::model::ChatState), which is pure. `chat.rs` feeds it from the socket and renders it
//! once an animation frame; the other files are views of it.

mod chat;
mod composer;
mod log;
pub mod model;
mod people;
mod rooms;
mod scroll;
mod search;
mod time;

use leptos::prelude::*;
use leptos_router::{components::A, hooks::use_params_map};

use self::{
    chat::Chat,
    composer::Composer,
    log::Log,
    people::People,
    rooms::{Rooms, Unread, listen_for_room_keys},
    search::Search,
    time::Calendar,
};
use super::{ROOM_RULE, ROOMS, is_room_name, message::ChatSocket};
use crate::{
    inspector::page::Inspector,
    ui::{about::About, erase::Erase, first_state::PageStatus, lazy_page::lazy_page},
};
use realtime::{
    client::{Socket, StatusLine, live_text, outbox::Outbox, text_content},
    transport::Transport,
};

lazy_page!(ChatPage, chat_page, ChatRoute);

#[component]
fn ChatRoute() -> impl IntoView {
    let params = use_params_map();
    let named =
        move || params.with(|params| params.get("room").unwrap_or_else(|| ROOMS[0].to_owned()));
    // The room in the address; `None` if that is not a room name.
    let room = Memo::new(move |_| Some(named()).filter(|name| is_room_name(name)));
    provide_context(Calendar::new());
    let (chat, socket) = Chat::connect(room);
    let shown = move || room.with(Option::is_some);
    view! {
        <Show when=shown fallback=NoSuchRoom>
            <ChatView chat socket/>
        </Show>
    }
}

#[component]
fn NoSuchRoom() -> impl IntoView {
    PageStatus::set(404);
    view! {
        <About title="No such room" description=ROOM_RULE/>
        <section class="notice"><h1>"No such room"</h1><p>{ROOM_RULE}</p><p><A href="/chat">"To the lobby"</A></p></section>
    }
}

/// What is unfolded on a phone; on a wide screen everything is.
#[derive(Clone, Copy, PartialEq)]
enum Fold {
    Rooms,
    People,
}

/// The warning for a tab that cannot store unsent messages or drafts.
fn storage_warning(chat: Chat, socket: Socket<ChatSocket>) -> Option<&'static str> {
    let unsent = "This tab has no room to keep unsent messages: they will not survive a reload. Leave it open until they are sent.";
    let draft = "This tab has no room to keep what you write: it will not survive a reload.";
    if !socket.outbox_kept.get() {
        Some(unsent)
    } else {
        chat.draft_lost.get().then_some(draft)
    }
}

#[component]
fn ChatView(chat: Chat, socket: Socket<ChatSocket>) -> impl IntoView {
    listen_for_room_keys(chat);
    let name = move || format!("#{}", chat.current.get());
    let title = move || match chat.unread() {
        0 => name(),
        unread => format!("({unread}) {}", name()),
    };
    let unfolded = RwSignal::new(None::<Fold>);
    // Once a room is chosen, it is to be visible.
    Effect::new(move |_| {
        chat.current.track();
        unfolded.set(None);
    });
    let is = move |fold| move || unfolded.get() == Some(fold);
    let toggle = move |fold| {
        move |_| unfolded.update(|shown| *shown = (*shown != Some(fold)).then_some(fold))
    };
    let elsewhere = Memo::new(move |_| chat.unread_elsewhere());
    let people = Memo::new(move |_| chat.in_room(|room| room.members.len()).unwrap_or_default());
    let unsent = Memo::new(move |_| socket.outbox.with(Outbox::waiting));
    let more = view! {
        {move || Some(unsent.get()).filter(|unsent| *unsent > 0).map(|unsent| view! { <span {..text_content(format!("{unsent} unsent"))} class="warning" data-test="unsent"></span> })}
    }
    .erase();
    view! {
        <About title description="Rooms over WebSocket: one order for everybody, and what you write offline arrives once."/>
        <div class="page-head chat-head">
            <h1 {..live_text(name)} translate="no" data-test="room-name"></h1>
            <StatusLine connection=socket.connection transport="WebSocket">{more}</StatusLine>
            <div class="folds">
                <button type="button" class="small" aria-expanded=move || is(Fold::Rooms)().to_string() aria-controls="rooms" on:click=toggle(Fold::Rooms) data-test="show-rooms">
                    "Rooms" <Unread count=elsewhere/>
                </button>
                <button {..live_text(move || format!("Here now: {}", people.get()))} type="button" class="small" aria-expanded=move || is(Fold::People)().to_string() aria-controls="people" on:click=toggle(Fold::People) data-test="show-people"></button>
            </div>
        </div>
        <div class="chat">
            <div id="rooms" class="side" class:unfolded=is(Fold::Rooms)><Rooms chat/></div>
            <div class="talk">
                <Search chat/>
                // Built anew for another room, because each room has its own scroll position.
                {move || { chat.current.track(); view! { <Log chat socket/> } }}
                <Composer chat/>
                {move || storage_warning(chat, socket).map(|words| view! { <p class="warning" role="status" data-test="no-room">{words}</p> })}
            </div>
            <div id="people" class="side" class:unfolded=is(Fold::People)><People chat/></div>
        </div>
        <Inspector connection=socket.connection transport=Transport::WebSocket/>
    }
    .erase()
}
