//! The texts of the guide, which only the server renders: a browser gets them with the document, and no wasm carries them.
//!
//! Links to pages are plain: the router in the browser follows them as it follows those of its own.

pub mod comparison;
pub mod recommendations;
pub mod rules;
pub mod source;

use std::sync::LazyLock;

use leptos::prelude::*;

use self::{
    comparison::Comparison,
    recommendations::Recommendations,
    rules::{Neither, Rules, WhyCrdt},
    source::{Source, Sources, source},
};
use super::super::{INTRODUCTION, MEASURED, TEXTS};
use crate::ui::{first_state::FirstState, served::ServedId};

static HTML_OF_INTRODUCTION: LazyLock<String> = LazyLock::new(|| introduction().to_html());
static HTML_OF_MEASURED: LazyLock<String> = LazyLock::new(|| measured().to_html());
static HTML_OF_TEXTS: LazyLock<String> = LazyLock::new(|| texts().to_html());

pub static MEASURED_BY: [Source; 4] = [
    source("src/home/server/feed.rs", "fn publish"),
    source("src/home/page/series.rs", ""),
    source("realtime/src/status.rs", "Input::Cut"),
    source(
        "src/tests/compare.rs",
        "the_stream_resumes_and_the_socket_does_not",
    ),
];

/// Provides the texts to the render of a page.
pub fn provide() {
    FirstState::<ServedId, String>::provide(|ServedId(id)| match id {
        INTRODUCTION => HTML_OF_INTRODUCTION.clone(),
        MEASURED => HTML_OF_MEASURED.clone(),
        TEXTS => HTML_OF_TEXTS.clone(),
        _ => String::new(),
    });
}

fn introduction() -> impl IntoView {
    view! {
        <section class="hero">
            <h1>"Two ways to keep a page live"</h1>
            <p class="lead">
                "Server-Sent Events and WebSocket side by side, each where it is right: a transport is chosen by what a lost, late or "
                "repeated message costs."
            </p>
        </section>
        <section class="cards" aria-label="The four pages">
            <Card href="/ticker" name="Ticker" transport="SSE" kind="The latest value wins"
                text="Prices of a market. Come back after a break and you get what you missed, or a fresh table; read slowly and you get the newest price of each symbol, never a backlog."/>
            <Card href="/progress" name="Progress" transport="SSE" kind="A finite, ordered log"
                text="Start a job and watch its bar from as many tabs as you like. Reload in the middle: nothing is lost, and the stream ends when the job does."/>
            <Card href="/chat" name="Chat" transport="WebSocket" kind="An ordered log that acknowledges"
                text="Rooms with one order for everybody. What you write while you are offline waits in an outbox, and arrives once."/>
            <Card href="/collab" name="Collab" transport="WebSocket" kind="Volatile and mergeable"
                text="Everybody's pointer on one board, where only the newest place matters, and one text that merges whatever anybody types, in any order."/>
        </section>
    }
}

#[component]
fn Card(
    href: &'static str,
    name: &'static str,
    transport: &'static str,
    kind: &'static str,
    text: &'static str,
) -> impl IntoView {
    view! {
        <a href=href class="card">
            <h2>{name}</h2>
            <p class="badges"><span class="badge" data-transport=transport>{transport}</span><span class="badge plain">{kind}</span></p>
            <p>{text}</p>
        </a>
    }
}

fn measured() -> impl IntoView {
    view! {
        <p class="prose">
            "This server sends the same message twenty times a second over an event stream and over a socket. Drop a connection and see "
            "what comes after: the stream asks for what it missed; the socket, as it comes from the box, does not know that it missed "
            "anything. What it takes to know, " <a href="/chat">"the chat"</a> " has built. " <Sources places=&MEASURED_BY/>
        </p>
    }
}

fn texts() -> impl IntoView {
    view! {
        <Comparison/>
        <Recommendations/>
        <Rules/>
        <Neither/>
        <WhyCrdt/>
    }
}
