//! Rooms, messages, who is there, and the line to write in.

use leptos::{ev::SubmitEvent, html, prelude::*};
use leptos_meta::Title;
use leptos_router::{LazyRoute, components::A, hooks::use_params_map, lazy_route};
use uuid::Uuid;

use super::{
    ROOM_RULE, ROOMS, TEXT_RULE, is_room_name, is_sendable,
    message::{ChatCommand, ChatEvent, ChatMessage, ChatSocket, FirstMessages},
};
use crate::{
    app::Visitor,
    first_state::{PageStatus, first_state},
    realtime::{
        client::{Socket, SocketEvent, StatusLine, use_socket},
        position::Position,
    },
    session::User,
};

/// Closer than this to its end, the log follows new messages, in pixels.
const FOLLOW_WITHIN: i32 = 80;

/// The route.
pub struct ChatPage;

#[lazy_route]
impl LazyRoute for ChatPage {
    fn data() -> Self {
        Self
    }

    fn view(_this: Self) -> AnyView {
        view! { <ChatRoute/> }.into_any()
    }
}

#[component]
fn ChatRoute() -> impl IntoView {
    let params = use_params_map();
    let room = Memo::new(move |_| {
        params.with(|params| params.get("room").unwrap_or_else(|| ROOMS[0].to_owned()))
    });
    view! {
        <Title text="Chat"/>
        // Anew for another room: its messages, its position and its outbox are its own.
        {move || {
            let room = room.get();
            if is_room_name(&room) {
                view! { <Room room/> }.into_any()
            } else {
                PageStatus::set(404);
                view! { <section class="notice"><h1>"No such room"</h1><p>{ROOM_RULE}</p><p><A href="/chat">"To the lobby"</A></p></section> }.into_any()
            }
        }}
    }
}

/// What a room shows.
#[derive(Clone, Copy)]
struct RoomState {
    messages: RwSignal<Vec<ChatMessage>>,
    members: RwSignal<Vec<User>>,
    /// Where the member stands: moves with each message, never with `joined.head`.
    position: StoredValue<Option<Position>>,
    refusal: RwSignal<Option<String>>,
}

impl RoomState {
    fn take(self, socket: Socket<ChatSocket>, room: &str, event: ChatEvent) {
        match event {
            ChatEvent::Joined(joined) if joined.room == room => {
                self.members.set(joined.members);
                if !joined.recovered {
                    // Another history, or too long ago: the latest messages follow.
                    self.messages.set(vec![]);
                    let offset = joined.head - joined.replayed as u64;
                    self.position
                        .set_value(Some(Position::new(joined.epoch, offset)));
                }
                socket.ready();
            }
            ChatEvent::Message { room: to, message } if to == room => {
                let news = self.position.try_update_value(|position| match position {
                    Some(position) if message.offset > position.offset => {
                        position.offset = message.offset;
                        true
                    }
                    _ => false,
                });
                let id = message.id;
                if news == Some(true) {
                    self.messages.update(|messages| messages.push(message));
                }
                // One's own message says as much as its acknowledgement, and comes first.
                socket.acknowledge(id);
            }
            ChatEvent::Ack { id, .. } => socket.acknowledge(id),
            ChatEvent::UserJoined { room: to, user } if to == room => {
                self.members.update(|members| {
                    members.retain(|member| member.id != user.id);
                    members.push(user);
                })
            }
            ChatEvent::UserLeft { room: to, user_id } if to == room => {
                self.members
                    .update(|members| members.retain(|member| member.id != user_id));
            }
            _ => {}
        }
    }
}

#[component]
fn Room(room: String) -> impl IntoView {
    let first = first_state::<String, Option<FirstMessages>>(room.clone()).flatten();
    let state = RoomState {
        position: StoredValue::new(first.as_ref().map(|first| first.position.clone())),
        members: RwSignal::new(
            first
                .as_ref()
                .map(|first| first.members.clone())
                .unwrap_or_default(),
        ),
        messages: RwSignal::new(first.map(|first| first.messages).unwrap_or_default()),
        refusal: RwSignal::new(None),
    };
    let visitor = expect_context::<Visitor>().0;
    // The hook hands its handler no socket: it is there only once the hook has returned.
    let handle = StoredValue::new(None::<Socket<ChatSocket>>);
    let name = room.clone();
    let socket = use_socket(
        || Some(ChatSocket),
        move |event| {
            let Some(socket) = handle.get_value() else {
                return;
            };
            match event {
                SocketEvent::Welcome { welcome, .. } => {
                    visitor.update(|user| *user = Some(welcome.user));
                    socket.send(&ChatCommand::Join {
                        room: name.clone(),
                        after: state.position.get_value(),
                    });
                }
                SocketEvent::Event(event) => state.take(socket, &name, event),
                SocketEvent::Refused(error) => {
                    let id = error.re.as_ref().and_then(|id| id.parse::<Uuid>().ok());
                    if let Some(id) = id {
                        socket.outbox.update(|outbox| {
                            outbox.remove(id);
                        });
                    }
                    state.refusal.set(Some(error.message));
                }
                SocketEvent::Binary(_) => {}
            }
        },
    );
    handle.set_value(Some(socket));
    restart_with_a_new_name(visitor, move || socket.connection.restart());
    let rooms = ROOMS
        .map(|name| view! { <li><A href=format!("/chat/{name}")>{format!("#{name}")}</A></li> });
    let member = move |user: User| {
        view! { <li data-test="member"><Avatar color=user.color/><span>{user.name}</span></li> }
    };
    view! {
        <div class="page-head">
            <h1>{format!("#{room}")}</h1>
            <StatusLine connection=socket.connection transport="WebSocket">
                {move || Some(socket.outbox.with(|outbox| outbox.len())).filter(|unsent| *unsent > 0).map(|unsent| view! { <span class="warning" data-test="unsent">{format!("{unsent} unsent")}</span> })}
            </StatusLine>
        </div>
        <div class="chat">
            <nav class="rooms" aria-label="Rooms"><h2>"Rooms"</h2><ul>{rooms.collect_view()}</ul></nav>
            <div class="talk">
                <Log state socket room=room.clone()/>
                <Composer state socket room/>
            </div>
            <aside class="members"><h2>"Here now"</h2>
                <ul data-test="members"><For each=move || state.members.get() key=|user| (user.id, user.name.clone()) let:user>{member(user)}</For></ul>
            </aside>
        </div>
    }
}

#[component]
fn Log(state: RoomState, socket: Socket<ChatSocket>, room: String) -> impl IntoView {
    let log = NodeRef::<html::Div>::new();
    let unsent = move || {
        let sends = |command: &ChatCommand| match command {
            ChatCommand::Send { id, text, .. } => Some((*id, text.clone())),
            _ => None,
        };
        socket.outbox.with(|outbox| {
            outbox
                .entries()
                .filter_map(|entry| sends(&entry.command))
                .collect::<Vec<_>>()
        })
    };
    // Follows new messages unless the person scrolled up to read.
    Effect::new(move |before: Option<()>| {
        state.messages.track();
        socket.outbox.track();
        let Some(log) = log.get_untracked() else {
            return;
        };
        let from_end = log.scroll_height() - log.scroll_top() - log.client_height();
        if before.is_none()
            || from_end
                < FOLLOW_WITHIN
                    + log
                        .last_element_child()
                        .map_or(0, |last| last.client_height())
        {
            request_animation_frame(move || log.set_scroll_top(log.scroll_height()));
        }
    });
    view! {
        <div class="log" node_ref=log role="log" tabindex="0" aria-label=format!("Messages in {room}") data-test="log">
            <Show when=move || state.messages.with(Vec::is_empty) && socket.outbox.with(|outbox| outbox.is_empty())>
                <p class="empty">"Nobody has said anything here yet."</p>
            </Show>
            <For each=move || state.messages.get() key=|message| message.id let:message>
                <article class="message" data-test="message">
                    <Avatar color=message.from.color/>
                    <p class="message-head"><strong>{message.from.name}</strong> <Clock at=message.at/></p>
                    <p class="message-text" data-test="message-text">{message.text}</p>
                </article>
            </For>
            <For each=unsent key=|(id, _)| *id let:entry>
                <article class="message sending" data-test="sending">
                    <p class="message-head">"Sending…"</p>
                    <p class="message-text">{entry.1}</p>
                </article>
            </For>
        </div>
    }
}

#[component]
fn Composer(state: RoomState, socket: Socket<ChatSocket>, room: String) -> impl IntoView {
    let input = NodeRef::<html::Input>::new();
    let label = format!("Message to #{room}");
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let Some(input) = input.get_untracked() else {
            return;
        };
        let text = input.value();
        if !is_sendable(&text) {
            state
                .refusal
                .set((!text.is_empty()).then(|| TEXT_RULE.to_owned()));
            return;
        }
        let id = Uuid::new_v4();
        match socket.send_reliably(
            id,
            ChatCommand::Send {
                id,
                room: room.clone(),
                text,
            },
        ) {
            // Only now: a text that is not taken stays in the line.
            Ok(()) => {
                input.set_value("");
                state.refusal.set(None);
            }
            Err(full) => state.refusal.set(Some(full.to_string())),
        }
    };
    view! {
        <form class="composer" on:submit=submit>
            <input node_ref=input aria-label=label placeholder="Write a message" autocomplete="off" data-test="composer"/>
            <button type="submit" data-test="send">"Send"</button>
        </form>
        <output class="refusal" data-test="chat-refusal">{state.refusal}</output>
        <noscript inner_html="<p class=\"notice\">Reading works without JavaScript; writing needs it, since it goes through a WebSocket.</p>"></noscript>
    }
}

/// A person's colour.
#[component]
pub fn Avatar(color: String) -> impl IntoView {
    view! { <svg class="avatar" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="8" fill=color></circle></svg> }
}

/// A time of day: in UTC from the server, in the reader's own zone as soon as the browser knows it.
#[component]
fn Clock(at: u64) -> impl IntoView {
    let minutes = at / 60_000 % 1_440;
    let (shown, set_shown) = signal(format!("{:02}:{:02}", minutes / 60, minutes % 60));
    Effect::new(move |_| {
        let date = js_sys::Date::new(&(at as f64).into());
        set_shown.set(format!("{:02}:{:02}", date.get_hours(), date.get_minutes()));
    });
    view! { <time class="quiet">{shown}</time> }
}

/// The server learns a new name with a new connection.
pub fn restart_with_a_new_name(visitor: RwSignal<Option<User>>, restart: impl Fn() + 'static) {
    Effect::new(move |before: Option<Option<String>>| {
        let name = visitor.with(|user| user.as_ref().map(|user| user.name.clone()));
        if before
            .flatten()
            .is_some_and(|before| Some(&before) != name.as_ref())
        {
            restart();
        }
        name
    });
}
