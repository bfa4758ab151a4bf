//! The list of rooms with their unread counts, and the form that opens another room.

use gloo_net::http::Request;
use leptos::{
    ev::{KeyboardEvent, SubmitEvent},
    html,
    prelude::*,
    task::spawn_local,
};
use leptos_router::hooks::use_navigate;

use super::chat::Chat;
use crate::{
    chat::{
        ROOM_RULE, ROOMS, is_room_name,
        message::{ROOMS_ROUTE, RoomSummary},
    },
    ui::{erase::Erase, input_method::is_composing, one_press::one_press},
    web::error::answer_in,
};
use realtime::client::{live_text, text_content};

/// Most rooms that are suggested: more than a person looks through.
const MOST_SUGGESTED: usize = 50;

/// The list of rooms.
#[component]
pub fn Rooms(chat: Chat) -> impl IntoView {
    let names = Memo::new(move |_| room_names(chat));
    view! {
        <nav class="rooms" aria-label="Rooms">
            <h2>"Rooms"</h2>
            <ul data-test="rooms"><For each=move || names.get() key=Clone::clone let:name><Room chat name/></For></ul>
            <NewRoom chat/>
        </nav>
    }
    .erase()
}

/// Alt with an arrow goes to the room above or below.
pub fn listen_for_room_keys(chat: Chat) {
    let navigate = use_navigate();
    let go = move |event: KeyboardEvent| {
        let step: isize = match (event.alt_key(), event.key().as_str()) {
            (true, "ArrowUp") => -1,
            (true, "ArrowDown") => 1,
            _ => return,
        };
        if is_composing(&event) {
            return;
        }
        event.prevent_default();
        let (names, current) = (untrack(|| room_names(chat)), chat.current.get_untracked());
        let place = names.iter().position(|name| *name == current).unwrap_or(0) as isize;
        if let Some(name) = usize::try_from(place + step)
            .ok()
            .and_then(|place| names.get(place))
        {
            navigate(&address(name), Default::default());
        }
    };
    Effect::new(move |_| {
        let listener = window_event_listener(leptos::ev::keydown, go.clone());
        on_cleanup(move || listener.remove());
    });
}

#[component]
fn Room(chat: Chat, name: String) -> impl IntoView {
    let unread = {
        let name = name.clone();
        Memo::new(move |_| chat.in_all(|state| state.room(&name).map_or(0, |room| room.unread)))
    };
    let is_current = {
        let name = name.clone();
        Memo::new(move |_| chat.current.with(|current| *current == name))
    };
    let leave = (!ROOMS.contains(&name.as_str())).then(|| {
        let (navigate, left, here) = (use_navigate(), name.clone(), name.clone());
        // A room with unsent messages cannot be left: they would wait out of sight and be sent at the next visit. A
        // room that refuses the join can be left all the same.
        let unsent = Memo::new(move |_| {
            let refused =
                chat.in_all(|state| state.room(&here).is_some_and(|room| room.refusal.is_some()));
            !refused && !chat.unsent_in(&here).is_empty()
        });
        let title = move || {
            if unsent.get() {
                "What you wrote here has not been sent yet"
            } else {
                "Leave this room"
            }
        };
        let leave = move |_| {
            chat.leave(&left);
            if is_current.get_untracked() {
                navigate("/chat", Default::default());
            }
        };
        view! { <button type="button" class="leave" aria-label=format!("Leave {name}") title=title disabled=move || unsent.get() on:click=leave data-test="leave">"×"</button> }
    });
    view! {
        <li data-test="room" data-room=name.clone()>
            <a href=address(&name) aria-current=move || is_current.get().then_some("page")><span class="room-name" translate="no">{format!("#{name}")}</span> <Unread count=unread test="unread"/></a>
            {leave}
        </li>
    }
}

/// The number of unread messages; nothing if there are none.
#[component]
pub fn Unread(count: Memo<usize>, #[prop(optional)] test: Option<&'static str>) -> impl IntoView {
    view! {
        <Show when=move || count.get() != 0>
            <span class="count" data-test=test>
                <span {..live_text(move || count.get().to_string())} translate="no"></span>
                <span class="visually-hidden">" unread"</span>
            </span>
        </Show>
    }
}

/// The form that opens another room. Visiting a valid name creates the room; rooms that others created are suggested.
#[component]
fn NewRoom(chat: Chat) -> impl IntoView {
    let input = NodeRef::<html::Input>::new();
    let refusal = RwSignal::new(None::<&'static str>);
    let others = RwSignal::new(Vec::<RoomSummary>::new());
    let suggest = move |_| {
        spawn_local(async move {
            // Without suggestions, the name can still be typed.
            let Some(rooms) = rooms_of_others(chat).await else {
                return;
            };
            // `None` when the page is gone.
            let _ = others.try_set(rooms);
        })
    };
    let navigate = use_navigate();
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let Some(input) = input.get_untracked() else {
            return;
        };
        let typed = input.value();
        let typed = typed.trim();
        let name = typed.strip_prefix('#').unwrap_or(typed);
        if is_room_name(name) {
            refusal.set(None);
            input.set_value("");
            navigate(&address(name), Default::default());
        } else {
            refusal.set(Some(ROOM_RULE));
        }
    };
    view! {
        <form class="new-room" on:submit=submit>
            <label class="visually-hidden" for="new-room">"New room"</label>
            <input id="new-room" node_ref=input placeholder="New room" autocomplete="off" autocapitalize="none" spellcheck="false" list="other-rooms" on:focus=suggest
                aria-describedby="room-refusal" aria-invalid=move || refusal.get().is_some().to_string() data-test="new-room"/>
            <datalist id="other-rooms">
                {move || others.get().into_iter().map(|room| view! { <option {..text_content(format!("{} here", room.members))} value=room.room></option> }).collect_view()}
            </datalist>
            <button type="submit" class="small" data-test="open-room" on:click=one_press(|| false)>"Open"</button>
            <output {..live_text(move || refusal.get())} id="room-refusal" class="refusal" data-test="room-refusal"></output>
        </form>
    }
}

/// Rooms that are not in the list, the busiest first.
async fn rooms_of_others(chat: Chat) -> Option<Vec<RoomSummary>> {
    // Read before the answer arrives: the page may be gone by then.
    let listed = untrack(|| room_names(chat));
    let response = Request::get(ROOMS_ROUTE).send().await.ok()?;
    let mut rooms = answer_in::<Vec<RoomSummary>>(response).await.ok()?;
    rooms.retain(|room| !listed.contains(&room.room));
    rooms.sort_by_key(|room| std::cmp::Reverse(room.members));
    rooms.truncate(MOST_SUGGESTED);
    Some(rooms)
}

fn room_names(chat: Chat) -> Vec<String> {
    chat.in_all(|state| state.rooms().iter().map(|room| room.name.clone()).collect())
}

fn address(name: &str) -> String {
    format!("/chat/{name}")
}
