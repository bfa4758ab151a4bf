//! Full-text search in the current room, and the jump from a result to its message.

use gloo_net::http::Request;
use leptos::{
    ev::{KeyboardEvent, SubmitEvent},
    html,
    prelude::*,
    task::spawn_local,
};

use super::{chat::Chat, time::Clock};
use crate::{
    chat::{
        SEARCH_CHARACTERS,
        message::{ChatMessage, HistoryPage, SEARCH_ROUTE},
    },
    session::page::view::Avatar,
    ui::{erase::Erase, input_method::is_composing},
    web::{
        error::{answer_in, refused},
        text_rules::has_visible_character,
    },
};
use realtime::{client::text_content, contract::fill};

#[derive(Clone, PartialEq)]
enum Results {
    Coming,
    Found(Vec<ChatMessage>),
    Failed(String),
}

/// The search field and the results.
#[component]
pub fn Search(chat: Chat) -> impl IntoView {
    let field = NodeRef::<html::Input>::new();
    let results = RwSignal::new(None::<Results>);
    // The number of the latest search identifies its answer. The text of the field cannot: it may be the next search
    // already.
    let asked = StoredValue::new(0_u32);
    // The room was changed, or the log is to be shown again.
    Effect::new(move |_| {
        if !chat.covered.get() {
            results.set(None);
        }
    });
    let leave = move || {
        chat.covered.set(false);
        if let Some(field) = field.get_untracked() {
            field.set_value("");
        }
        chat.read_soon();
    };
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let words = field
            .get_untracked()
            .map(|field| field.value())
            .unwrap_or_default();
        if !has_visible_character(&words) {
            return leave();
        }
        let room = chat.current.get_untracked();
        chat.covered.set(true);
        results.set(Some(Results::Coming));
        asked.update_value(|asked| *asked += 1);
        let number = asked.get_value();
        spawn_local(async move {
            let found = find(&room, words.trim()).await;
            // The answer is ignored if the user has gone to another room or searched again.
            let same = chat
                .current
                .try_get_untracked()
                .is_some_and(|now| now == room)
                && asked.try_get_value() == Some(number);
            if same && chat.covered.get_untracked() {
                results.set(Some(found.map_or_else(Results::Failed, Results::Found)));
            }
        });
    };
    let go_to = move |offset: u64| match chat.go_to(offset) {
        Ok(()) => chat.covered.set(false),
        Err(sentence) => results.set(Some(Results::Failed(sentence.to_owned()))),
    };
    let on_escape = move |event: KeyboardEvent| {
        // While a word is being composed, Escape cancels it.
        if event.key() == "Escape" && !is_composing(&event) {
            leave();
        }
    };
    view! {
        <div class="search" role="search" on:keydown=on_escape>
            <form on:submit=submit>
                <label class="visually-hidden" for="search">"Search in this room"</label>
                <input id="search" type="search" dir="auto" node_ref=field placeholder="Search in this room" maxlength=SEARCH_CHARACTERS autocomplete="off" enterkeyhint="search" data-test="search"/>
                <button type="submit" class="small" data-test="find">"Find"</button>
            </form>
            {move || results.get().map(|results| view! {
                <section class="results" aria-label="Search results" data-test="results">
                    <div class="results-head">
                        <p {..text_content(in_words(&results))} role="status" data-test="results-count"></p>
                        <button type="button" class="small" on:click=move |_| leave() data-test="leave-search">"Back to the messages"</button>
                    </div>
                    {match results {
                        Results::Found(messages) => view! { <ul>{messages.into_iter().map(|message| result(message, go_to)).collect_view()}</ul> }.erase(),
                        Results::Coming | Results::Failed(_) => ().erase(),
                    }}
                </section>
            })}
        </div>
    }
    .erase()
}

fn result(message: ChatMessage, go_to: impl Fn(u64) + 'static) -> impl IntoView {
    let ChatMessage {
        offset,
        from,
        text,
        at,
        ..
    } = message;
    view! {
        <li>
            <button type="button" class="result" on:click=move |_| go_to(offset) data-test="result">
                <span class="result-head"><Avatar color=from.color/><strong dir="auto" translate="no">{from.name}</strong>" "<Clock at/></span>
                <span class="result-text">{text}</span>
            </button>
        </li>
    }
}

fn in_words(results: &Results) -> String {
    match results {
        Results::Coming => "Searching…".to_owned(),
        Results::Failed(sentence) => sentence.clone(),
        Results::Found(messages) => match messages.len() {
            0 => "Nothing was found. All words must occur in one message.".to_owned(),
            1 => "1 message".to_owned(),
            count => format!("{count} messages, newest first"),
        },
    }
}

async fn find(room: &str, words: &str) -> Result<Vec<ChatMessage>, String> {
    const UNREACHABLE: &str =
        "The server cannot be reached. Search again when the connection is back.";
    let url = format!(
        "{}?q={}",
        fill(SEARCH_ROUTE, &[room]),
        js_sys::encode_uri_component(words)
    );
    let response = Request::get(&url)
        .send()
        .await
        .map_err(|_| UNREACHABLE.to_owned())?;
    if response.ok() {
        let page = answer_in::<HistoryPage>(response).await;
        return page
            .map(|page| page.messages)
            .map_err(|refused| refused.error);
    }
    Err(refused(response).await.error)
}
