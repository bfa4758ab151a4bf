//! The members of the current room, and the portrait of a user.

use leptos::prelude::*;

use super::chat::Chat;
use crate::{
    session::{User, page::view::Avatar},
    ui::{erase::Erase, letter_case::lower_case},
};

/// The members of the current room.
#[component]
pub fn People(chat: Chat) -> impl IntoView {
    let members = Memo::new(move |_| {
        let mut members = chat
            .in_room(|room| room.members.clone())
            .unwrap_or_default();
        members.sort_by_cached_key(|user| (lower_case(&user.name), user.id));
        members
    });
    view! {
        <aside class="members"><h2>"Here now"</h2>
            <ul data-test="members">
                <For each=move || members.get() key=|user| (user.id, user.name.clone()) let:user>
                    <li data-test="member"><Avatar color=user.color/><bdi translate="no">{user.name}</bdi></li>
                </For>
            </ul>
        </aside>
    }
    .erase()
}

/// A user's colour and initial.
#[component]
pub fn Portrait(user: User) -> impl IntoView {
    // The style sheet writes it in upper case.
    let initial = user
        .name
        .chars()
        .next()
        .map(String::from)
        .unwrap_or_default();
    view! {
        <svg class="portrait" viewBox="0 0 32 32" aria-hidden="true">
            <circle cx="16" cy="16" r="16" fill=user.color></circle>
            <text x="16" y="22" text-anchor="middle" font-size="17" fill="white">{initial}</text>
        </svg>
    }
}
