//! The guide: what each transport is, and what each page shows.

use leptos::prelude::*;
use leptos_router::components::A;

use crate::app::About;

#[component]
pub fn Home() -> impl IntoView {
    view! {
        <About title="" description="Server-Sent Events and WebSocket side by side, each where it is right."/>
        <section class="hero">
            <h1>"Two ways to keep a page live"</h1>
            <p class="lead">
                "Server-Sent Events and WebSocket side by side, each used where it is right. A transport is chosen by what a lost,
                late or repeated message costs. Open a page in two windows, then stop the server, and watch."
            </p>
        </section>
        <section class="cards" aria-label="The four pages">
            <Card href="/ticker" name="Ticker" transport="SSE" kind="The latest value wins"
                text="Prices from a simulated market. Come back after a break and you get every price you missed, or a fresh table; read slowly and you get the newest price of each symbol, never a backlog."/>
            <Card href="/progress" name="Progress" transport="SSE" kind="A finite, ordered log"
                text="Start a job and watch its bar from as many tabs as you like. Reload in the middle: nothing is lost, and the stream ends when the job does."/>
            <Card href="/chat" name="Chat" transport="WebSocket" kind="An ordered log that acknowledges"
                text="Rooms with one order for everybody. What you write while you are offline waits in an outbox, and arrives once."/>
            <Card href="/collab" name="Collab" transport="WebSocket" kind="Volatile"
                text="Everybody's pointer on one board. Only the newest place matters, so a slow reader gets where everybody is now."/>
        </section>
        <section>
            <h2>"Which one do you need?"</h2>
            <div class="table-wrap">
                <table class="compare">
                    <thead><tr><th scope="col"><span class="visually-hidden">"Property"</span></th><th scope="col">"Server-Sent Events"</th><th scope="col">"WebSocket"</th></tr></thead>
                    <tbody>
                        <tr><th scope="row">"Direction"</th><td>"Server to browser; the browser posts"</td><td>"Both ways, on one connection"</td></tr>
                        <tr><th scope="row">"It is"</th><td>"An HTTP response that does not end"</td><td>"A protocol of its own after an HTTP upgrade"</td></tr>
                        <tr><th scope="row">"Reconnect"</th><td>"Built into the browser, with the last event's id"</td><td>"Yours to build"</td></tr>
                        <tr><th scope="row">"Data"</th><td>"Text"</td><td>"Text and binary"</td></tr>
                        <tr><th scope="row">"Refused"</th><td>"With a status, which script cannot see"</td><td>"With a close code, which it can"</td></tr>
                        <tr><th scope="row">"Right for"</th><td>"Prices, notifications, progress, feeds"</td><td>"Chat, games, cursors, shared documents"</td></tr>
                    </tbody>
                </table>
            </div>
            <p>"Does the browser need to send often, or in binary? WebSocket. Otherwise Server-Sent Events: less to build, and less to break."</p>
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
        <A href=href attr:class="card">
            <h2>{name}</h2>
            <p class="badges"><span class="badge" data-transport=transport>{transport}</span><span class="badge plain">{kind}</span></p>
            <p>{text}</p>
        </A>
    }
}
