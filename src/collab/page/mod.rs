//! The collab page: a document with carets on a board with pointers, over one socket.
//!
//! [`Client`](self::sync::Client), which is pure, decides what the text is and what is sent when. `editor.rs`,
//! `typing.rs` and `writers.rs` execute that on the socket, the text area and the carets. The other files are views.
//! The whole page is a lazy route, and only this route loads yrs.

mod board;
mod browser;
mod carets;
mod editor;
mod field;
mod interpolate;
mod peers;
mod people;
pub mod sync;
mod toolbar;
mod typing;
mod wire;
mod writer;
mod writers;

use std::borrow::Cow;

use leptos::prelude::*;
use leptos_router::{
    components::A,
    hooks::{use_params_map, use_query_map},
};

use self::{
    board::Board,
    editor::Editor,
    field::Field,
    peers::Peers,
    people::{People, others},
    toolbar::Toolbar,
};
use super::{
    DOCUMENT_RULE, FIRST_DOCUMENT, is_document_name,
    message::{BoardEvent, BoardSocket, FirstBoard, READONLY},
};
use crate::{
    inspector::page::Inspector,
    session::{
        current_user::CurrentUser,
        page::view::{follow_sign_out, welcomed},
    },
    ui::{
        about::About,
        erase::Erase,
        first_state::{PageStatus, first_state},
        lazy_page::lazy_page,
    },
    web::parameters::{Spelling, spelling},
};
use realtime::{
    client::{SocketEvent, StatusLine, live_text, text_content, use_socket},
    status::ConnectionStatus,
    transport::Transport,
};

lazy_page!(CollabPage, collab_page, CollabRoute);

#[component]
fn CollabRoute() -> impl IntoView {
    let (params, query) = (use_params_map(), use_query_map());
    let document = Memo::new(move |_| {
        params.with(|params| {
            params
                .get("doc")
                .unwrap_or_else(|| FIRST_DOCUMENT.to_owned())
        })
    });
    let readonly = Memo::new(move |_| query.with(|query| query.into_iter().any(asks_to_read_only)));
    view! {
        <About title="Collab" description="One text and everybody's pointers over WebSocket: what anybody writes merges, offline too."/>
        // Rebuilt for each document.
        {move || {
            let (document, readonly) = (document.get(), readonly.get());
            if is_document_name(&document) {
                view! { <Desk document readonly/> }.erase()
            } else {
                PageStatus::set(404);
                view! { <section class="notice"><h1>"No such document"</h1><p>{DOCUMENT_RULE}</p><p><A href="/collab">"To the first document"</A></p></section> }.erase()
            }
        }}
    }
}

/// Accepts misspellings of the parameter: a user who mistypes it does not want to write.
fn asks_to_read_only((name, value): (&Cow<'static, str>, &str)) -> bool {
    spelling(name, READONLY) != Spelling::Other && value == "1"
}

#[component]
fn Desk(document: String, readonly: bool) -> impl IntoView {
    let first = first_state::<String, FirstBoard>(document.clone()).unwrap_or_default();
    let visitor = expect_context::<CurrentUser>().0;
    let peers = Peers::new(first.peers);
    let editor = Editor::new(&document, readonly, &first.text, visitor);
    let contract = BoardSocket {
        document: document.clone(),
        readonly,
    };
    let socket = use_socket(
        move || Some(contract.clone()),
        move |event| match event {
            SocketEvent::Welcome { welcome, .. } => {
                if !welcomed(visitor, welcome.user) {
                    return editor.close();
                }
                // The server lists the other peers. Moves of the own pointer match no peer and are dropped.
                peers.replace(welcome.peers);
                editor.connected();
            }
            SocketEvent::Event(BoardEvent::Saved {
                state_vector,
                updates,
            }) => editor.saved(&state_vector, updates),
            SocketEvent::Event(event) => peers.apply(event),
            SocketEvent::Refused(error) => editor.refused(error),
            SocketEvent::Binary(frame) => editor.receive(&frame),
            // The status line reports a close, and the inspector shows a message that could not be decoded.
            SocketEvent::Closed { .. } | SocketEvent::Undecoded { .. } => {}
        },
    );
    editor.attach(socket);
    Effect::new(move |_| {
        if !matches!(socket.connection.status.get(), ConnectionStatus::Open) {
            editor.disconnected();
        }
    });
    follow_sign_out(visitor, socket.connection);
    let others = others(peers, editor, visitor);
    let here = Memo::new(move |_| others.with(Vec::len) + 1);
    let field = view! { <Field editor text=first.text readonly/> }.erase();
    let more = view! {
        <span {..live_text(move || format!("{} here", here.get()))} data-test="here"></span>
    }
    .erase();
    view! {
        <div class="page-head">
            <h1 {..text_content(format!("Board: {document}"))}></h1>
            <StatusLine connection=socket.connection transport="WebSocket">{more}</StatusLine>
        </div>
        <div class="desk-head">
            <People others visitor/>
            <Toolbar editor document readonly/>
        </div>
        <Board socket peers>{field}</Board>
        <p class="quiet board-note">"Pointers are volatile: only the newest place is sent, at most once in 33 ms. The text is a CRDT: it merges whatever anybody writes, offline too."</p>
        <Inspector connection=socket.connection transport=Transport::WebSocket history=false describe=wire::describe/>
        <noscript inner_html="<p class=\"notice\">Reading works without JavaScript; writing needs it, since it goes through a WebSocket.</p>"></noscript>
    }
    .erase()
}
