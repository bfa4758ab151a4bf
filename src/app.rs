//! The shell of every page, the navigation, and the routes.

use leptos::prelude::*;
use leptos_meta::{HashedStylesheet, Meta, MetaTags, Title, provide_meta_context};
use leptos_router::{
    Lazy, SsrMode,
    components::{A, Route, Router, Routes},
    path,
};

use crate::{
    chat::page::ChatPage,
    collab::page::CollabPage,
    first_state::{PageStatus, first_state},
    home::Home,
    inspector::message::Allowed,
    progress::page::ProgressPage,
    session::{User, form::NameForm},
    ticker::page::TickerPage,
};

/// The document around the app, on the server only.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml"/>
                <HashedStylesheet options=options.clone() id="leptos"/>
                <AutoReload options=options.clone()/>
                <HydrationScripts options/>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}

/// Who this browser is to the others; changes with the name form. `None` only where a page was rendered without a session.
#[derive(Clone, Copy)]
pub struct Visitor(pub RwSignal<Option<User>>);

/// All pages.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    provide_context(Visitor(RwSignal::new(first_state::<(), User>(()))));
    provide_context(first_state::<(), Allowed>(()).unwrap_or_default());
    view! {
        <Title formatter=|title: String| if title.is_empty() { "Wirewise".to_owned() } else { format!("{title} · Wirewise") }/>
        <Meta name="description" content="Server-Sent Events and WebSocket side by side, each where it is right."/>
        <Router>
            <a class="skip" href="#main">"Skip to the content"</a>
            <header class="site">
                <A href="/" attr:class="brand" exact=true>
                    <svg viewBox="0 0 32 32" aria-hidden="true"><path d="M3 11h17l-4-4M29 21H12l4 4M20 11l9 10" fill="none" stroke="currentColor" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/></svg>
                    "Wirewise"
                </A>
                <nav aria-label="Pages">
                    <A href="/ticker">"Ticker"</A>
                    <A href="/progress">"Progress"</A>
                    <A href="/chat">"Chat"</A>
                    <A href="/collab">"Collab"</A>
                </nav>
                <NameForm/>
            </header>
            <main id="main">
                <Routes fallback=NotFound>
                    <Route path=path!("/") view=Home ssr=SsrMode::Async/>
                    <Route path=path!("/ticker") view={Lazy::<TickerPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/progress/:job?") view={Lazy::<ProgressPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/chat/:room?") view={Lazy::<ChatPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/collab/:doc?") view={Lazy::<CollabPage>::new()} ssr=SsrMode::Async/>
                </Routes>
            </main>
        </Router>
    }
}

#[component]
fn NotFound() -> impl IntoView {
    PageStatus::set(404);
    view! {
        <Title text="Not found"/>
        <section class="notice">
            <h1>"There is nothing here"</h1>
            <p>"The address may be mistyped, or it is of a page that is gone. The pages there are:"</p>
            <ul>
                <li><A href="/">"The guide"</A></li>
                <li><A href="/ticker">"Ticker"</A>", prices over Server-Sent Events"</li>
                <li><A href="/progress">"Progress"</A>", long tasks over Server-Sent Events"</li>
                <li><A href="/chat">"Chat"</A>", rooms over WebSocket"</li>
                <li><A href="/collab">"Collab"</A>", pointers over WebSocket"</li>
            </ul>
        </section>
    }
}
