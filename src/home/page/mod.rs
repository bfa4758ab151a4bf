//! The guide's page: its sections, one file each.

pub mod comparison;
pub mod live;
mod raw;
pub mod recommendations;
pub mod rules;
pub mod series;
pub mod source;
pub mod tree;

use leptos::prelude::*;
use leptos_router::components::A;

use self::{
    comparison::Comparison,
    live::LiveComparison,
    recommendations::Recommendations,
    rules::{Neither, Rules, WhyCrdt},
    tree::DecisionTree,
};
use crate::ui::{about::About, erase::Erase, lazy_page::lazy_page};

// Loaded lazily: its texts are a third of what every other page would otherwise have to load as well.
lazy_page!(HomePage, guide_page, Home);

#[component]
fn Home() -> impl IntoView {
    view! {
        <About title="" description="Server-Sent Events and WebSocket side by side, each where it is right."/>
        <div class="guide">
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
            <LiveComparison/>
            <DecisionTree/>
            <Comparison/>
            <Recommendations/>
            <Rules/>
            <Neither/>
            <WhyCrdt/>
        </div>
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
    let words = view! {
        <h2>{name}</h2>
        <p class="badges"><span class="badge" data-transport=transport>{transport}</span><span class="badge plain">{kind}</span></p>
        <p>{text}</p>
    }
    .erase();
    view! {
        <A href=href attr:class="card">{words}</A>
    }
}
