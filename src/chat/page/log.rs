//! The view of the current room's log: its messages, the unsent ones below them, and the button to the newest.

use std::collections::{BTreeMap, BTreeSet};

use leptos::prelude::*;
use uuid::Uuid;

use super::{
    chat::Chat,
    model::{
        links::{Piece, pieces},
        transcript::Row,
    },
    people::Portrait,
    scroll::Scroller,
    time::{Clock, Day},
};
use crate::{
    chat::message::{ChatCommand, ChatSocket},
    ui::erase::Erase,
};
use realtime::client::{Socket, live_text, outbox::EntryState, text_content};

/// The log of the current room.
#[component]
pub fn Log(chat: Chat, socket: Socket<ChatSocket>) -> impl IntoView {
    let scroller = Scroller::new();
    Effect::new(move |_| chat.mounted(scroller));
    let rows = Memo::new(move |_| chat.rows());
    // `For` removes and reinserts every child when more than one is added before the first, and all rows would be laid
    // out anew. So rows are grouped in blocks, of which one is added at a time.
    let blocks = Memo::new(move |_| {
        let mut blocks = rows.with(|rows| rows.iter().map(|row| row.block).collect::<Vec<_>>());
        blocks.dedup();
        blocks
    });
    let rows_of = move |block| {
        let is_in_block = |row: &&Row| row.block == block;
        rows.with(|rows| rows.iter().filter(is_in_block).cloned().collect::<Vec<_>>())
    };
    let name = chat.current.get_untracked();
    let receipts = {
        let name = name.clone();
        Memo::new(move |_| chat.in_all(|state| state.receipts(&name)))
    };
    let waiting = Memo::new(move |_| waiting(chat, socket));
    let empty = Memo::new(move |_| rows.with(Vec::is_empty) && waiting.with(Vec::is_empty));
    let typing = Memo::new(move |_| {
        chat.in_room(|room| room.typing_sentence())
            .unwrap_or_default()
    });
    let (log, list) = (scroller.log, scroller.list);
    view! {
        <div class="log-frame">
            // Live regions are turned off, although the role `log` implies one: history, missed messages and "Read by"
            // would be read aloud. New messages are announced below, in sentences.
            <div class="log" node_ref=log role="log" aria-live="off" tabindex="0" aria-label=format!("Messages in {name}")
                on:scroll=move |_| chat.scrolled() data-test="log">
                <Show when=move || empty.get()><p class="empty">"Nobody has said anything here yet."</p></Show>
                <div node_ref=list>
                    <For each=move || blocks.get() key=|block| *block let:block>
                        <div><For each=move || rows_of(block) key=|row| (row.message.id.value(), row.leads, row.day) let:row><Message chat row receipts/></For></div>
                    </For>
                </div>
                <For each=move || waiting.get() key=|entry| (entry.id, entry.state.clone()) let:entry><Waiting chat entry/></For>
            </div>
            <ToLatest chat/>
        </div>
        <p {..live_text(move || chat.announcement.get())} class="visually-hidden" aria-live="polite" data-test="announcement"></p>
        <p {..live_text(move || typing.get())} class="typing quiet" data-test="typing"></p>
    }
    .erase()
}

#[component]
fn Message(chat: Chat, row: Row, receipts: Memo<BTreeMap<u64, usize>>) -> impl IntoView {
    let Row {
        message,
        leads,
        day,
        ..
    } = row;
    let offset = message.offset;
    let receipt = Memo::new(move |_| receipts.with(|receipts| receipts.get(&offset).copied()));
    let receipt = move || {
        receipt.get().map(|readers| {
            let words = if readers == 0 {
                "Sent".to_owned()
            } else {
                format!("Read by {readers}")
            };
            view! { <p {..text_content(words)} class="receipt quiet" data-test="receipt"></p> }
        })
    };
    let name = message.from.name.clone();
    let head = if leads {
        view! { <Portrait user=message.from.clone()/><p class="message-head"><strong dir="auto" translate="no">{name}</strong>" "<Clock at=message.at/></p> }.erase()
    } else {
        // Visible only beside the pointer; always read by screen readers, since a message without its author means
        // little.
        view! { <p class="message-aside"><span class="visually-hidden"><bdi translate="no">{name}</bdi>", "</span><Clock at=message.at/></p> }.erase()
    };
    view! {
        <article class="message" class:leads=leads class:found=move || chat.found.get() == Some(offset) data-offset=offset.to_string() data-test="message">
            {day.map(|day| view! { <Day day/> })}
            {head}
            <p class="message-text" data-test="message-text">{linked(&message.text)}</p>
            {receipt}
        </article>
    }
    .erase()
}

/// A text with clickable addresses. All of it is inserted as text, never as HTML.
fn linked(text: &str) -> Vec<AnyView> {
    let view = |piece| match piece {
        Piece::Text(text) => text.to_owned().erase(),
        Piece::Link(address) => {
            let (address, shown) = (address.to_owned(), address.to_owned());
            view! { <a href=address target="_blank" rel="noopener noreferrer nofollow" data-test="link">{shown}</a> }.erase()
        }
    };
    pieces(text).into_iter().map(view).collect()
}

/// One of the user's own messages that is not in the log yet.
#[derive(Clone, Debug, PartialEq)]
struct WaitingEntry {
    id: Uuid,
    text: String,
    state: WaitingState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WaitingState {
    /// It is acknowledged, and its `message` event has not arrived yet.
    Sent,
    Sending,
    /// It is sent when the connection is open.
    Waiting,
    Failed(String),
}

fn waiting(chat: Chat, socket: Socket<ChatSocket>) -> Vec<WaitingEntry> {
    let sent = chat.in_room(|room| {
        let sent = |own: &super::model::Acknowledged| WaitingEntry {
            id: own.id,
            text: own.text.clone(),
            state: WaitingState::Sent,
        };
        room.acknowledged.iter().map(sent).collect::<Vec<_>>()
    });
    let mut entries = sent.unwrap_or_default();
    let room = chat.current.read();
    socket.outbox.with(|outbox| {
        let own = || outbox.entries().filter(|entry| entry.ordering_key == *room);
        let ids: BTreeSet<Uuid> = own().map(|entry| entry.id).collect();
        // A message that arrived before its acknowledgement is shown once, in the log.
        let held = chat.in_room(|room| room.held(&ids)).unwrap_or_default();
        let own = own().filter(|entry| !held.contains(&entry.id));
        entries.extend(own.filter_map(|entry| match &entry.command {
            ChatCommand::Send { text, .. } => Some(WaitingEntry {
                id: entry.id,
                text: text.clone(),
                state: match &entry.state {
                    EntryState::Waiting => WaitingState::Waiting,
                    EntryState::Sending => WaitingState::Sending,
                    EntryState::Failed(reason) => WaitingState::Failed(reason.clone()),
                },
            }),
            _ => None,
        }));
    });
    entries
}

#[component]
fn Waiting(chat: Chat, entry: WaitingEntry) -> impl IntoView {
    let WaitingEntry { id, text, state } = entry;
    let (name, words) = match &state {
        WaitingState::Sent => ("sent", "Sent".to_owned()),
        WaitingState::Sending => ("sending", "Sending…".to_owned()),
        WaitingState::Waiting => ("waiting", "Waiting to be sent".to_owned()),
        WaitingState::Failed(reason) => ("failed", format!("Not sent: {reason}")),
    };
    let remove = matches!(state, WaitingState::Failed(_)).then(|| {
        view! { <button type="button" class="small" on:click=move |_| chat.discard(id) data-test="discard">"Remove"</button> }
    });
    view! {
        <article class="message sending" data-state=name data-test="sending">
            <p class="message-text">{text}</p>
            <p class="receipt" data-test="sending-state">{words} {remove}</p>
        </article>
    }
}

#[component]
fn ToLatest(chat: Chat) -> impl IntoView {
    let up = Memo::new(move |_| {
        chat.in_room(|room| room.log.is_scrolled_up())
            .unwrap_or_default()
    });
    let new = Memo::new(move |_| chat.in_room(|room| room.new_below()).unwrap_or_default());
    let words = move || match new.get() {
        0 => "To the latest".to_owned(),
        1 => "1 new message".to_owned(),
        new => format!("{new} new messages"),
    };
    view! {
        <Show when=move || up.get()>
            <button type="button" class="to-latest" on:click=move |_| chat.to_latest() data-test="to-latest"><span {..live_text(words)}></span> <span aria-hidden="true">" ↓"</span></button>
        </Show>
    }
}
