//! The form for writing a message. Its text survives a reload, and is removed only once it is accepted.

use leptos::{
    ev::{KeyboardEvent, SubmitEvent},
    html,
    prelude::*,
};
use web_sys::HtmlTextAreaElement;

use super::chat::Chat;
use crate::{
    ui::{erase::Erase, input_method::is_composing},
    web::text_rules::has_visible_character,
};
use realtime::client::live_text;

/// Most lines that the field grows to; beyond that it scrolls.
const MOST_LINES: u32 = 8;

/// The form for writing a message.
#[component]
pub fn Composer(chat: Chat) -> impl IntoView {
    let field = NodeRef::<html::Textarea>::new();
    let refusal = RwSignal::new(None::<String>);
    let shown = move || {
        refusal
            .get()
            .or_else(|| chat.in_room(|room| room.refusal.clone()).flatten())
    };
    // Each room has its own draft.
    Effect::new(move |before: Option<()>| {
        let draft = chat.current.with(|room| chat.draft(room));
        let Some(field) = field.get() else { return };
        // Text that was typed before hydration is newer than any draft.
        if before.is_some() || field.value().is_empty() {
            field.set_value(&draft);
        }
        refusal.set(None);
        grow(&field);
    });
    let changed = move || {
        let Some(field) = field.get_untracked() else {
            return;
        };
        let text = field.value();
        chat.current
            .with_untracked(|room| chat.keep_draft(room, &text));
        grow(&field);
        if has_visible_character(&text) {
            chat.typing();
        }
    };
    let send = move || {
        let Some(field) = field.get_untracked() else {
            return;
        };
        let text = field.value();
        if text.is_empty() {
            return refusal.set(None);
        }
        match chat.post(text) {
            // Cleared only now: a text that is not accepted stays.
            Ok(()) => {
                field.set_value("");
                chat.current
                    .with_untracked(|room| chat.keep_draft(room, ""));
                grow(&field);
                refusal.set(None);
            }
            Err(reason) => refusal.set(Some(reason)),
        }
    };
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        send();
    };
    let key = move |event: KeyboardEvent| {
        // While a word is being composed (Japanese, Chinese, …), Enter chooses it.
        if event.key() == "Enter" && !event.shift_key() && !event.alt_key() && !is_composing(&event)
        {
            event.prevent_default();
            send();
        }
    };
    let label = move || format!("Message to #{}", chat.current.get());
    view! {
        <form class="composer" on:submit=submit>
            <textarea node_ref=field rows="1" aria-label=label placeholder="Write a message" autocomplete="off" enterkeyhint="send"
                aria-describedby="chat-refusal" on:input=move |_| changed() on:keydown=key data-test="composer"></textarea>
            <button type="submit" data-test="send">"Send"</button>
        </form>
        <output {..live_text(shown)} id="chat-refusal" class="refusal" data-test="chat-refusal"></output>
        <noscript inner_html="<p class=\"notice\">Reading works without JavaScript; writing needs it, since it goes through a WebSocket.</p>"></noscript>
    }
    .erase()
}

/// Sets as many rows as the text has lines. By the attribute: styles are for the style sheet.
fn grow(field: &HtmlTextAreaElement) {
    field.set_rows(1);
    while field.rows() < MOST_LINES && field.scroll_height() > field.client_height() {
        field.set_rows(field.rows() + 1);
    }
}
