//! Renders the shell of every page, the navigation, and the routes of the pages.

use leptos::prelude::*;
use leptos_meta::{HashedStylesheet, MetaTags, provide_meta_context};
use leptos_router::{
    Lazy, SsrMode,
    components::{A, Route, Router, Routes},
    path,
};

use crate::{
    chat::page::ChatPage,
    collab::page::CollabPage,
    home::page::{HomePage, counterpart::counterpart},
    inspector::{message::Allowed, page::Counterpart},
    progress::page::ProgressPage,
    session::{
        User,
        current_user::CurrentUser,
        page::{form::Person, view::follow_renewals},
    },
    ticker::page::TickerPage,
    ui::{
        about::{About, Site},
        first_state::{PageStatus, first_state},
        hydration::guard::{APP_ID, Guard},
        icons::{Glyph, Icon},
        lazy_page::{AwaitedPage, PagesAwaited},
        theme::{ThemeSwitch, bars},
    },
};

/// The document around the app, on the server only.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    let site = use_context::<Site>().map(|site| site.0).unwrap_or_default();
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8"/>
                <Guard/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml"/>
                <link rel="apple-touch-icon" href="/apple-touch-icon.png"/>
                {open_graph("og:site_name", "Wirewise".into())}
                {open_graph("og:type", "website".into())}
                {open_graph("og:image", format!("{site}/og.png"))}
                {open_graph("og:image:alt", "Wirewise: Server-Sent Events and WebSocket side by side".into())}
                <meta name="twitter:card" content="summary_large_image"/>
                {bars()}
                <HashedStylesheet options=options.clone() id="leptos"/>
                <AutoReload options=options.clone()/>
                <HydrationScripts options/>
                <MetaTags/>
            </head>
            <body>
                <div id=APP_ID>
                    <App/>
                </div>
            </body>
        </html>
    }
}

/// A property that link previews read (<https://ogp.me>). `property` is not one of HTML's own attributes.
fn open_graph(property: &'static str, content: String) -> impl IntoView {
    leptos::html::meta()
        .attr("property", property)
        .content(content)
}

/// All pages.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let user = RwSignal::new(first_state::<(), User>(()));
    provide_context(CurrentUser(user));
    follow_renewals(user);
    provide_context(first_state::<(), Allowed>(()).unwrap_or_default());
    provide_context(Counterpart(counterpart));
    provide_context(PagesAwaited::default());
    view! {
        <Router>
            // The browser follows this link, not the router: the browser also moves the focus.
            <a class="skip" href="#main" rel="external">"Skip to the content"</a>
            <header class="site">
                <A href="/" attr:class="brand" exact=true>
                    <svg viewBox="0 0 32 32" aria-hidden="true">
                        <path class="one-way" d="M4 9.5h23M22 4.5l5 5-5 5"></path>
                        <path class="both-ways" d="M5 22.5h22M22 17.5l5 5-5 5M10 17.5l-5 5 5 5"></path>
                    </svg>
                    <span>"Wirewise"</span>
                </A>
                <nav aria-label="Pages">
                    <PageLink href="/ticker" name="Ticker" transport="SSE" glyph=Glyph::Ticker/>
                    <PageLink href="/progress" name="Progress" transport="SSE" glyph=Glyph::Progress/>
                    <PageLink href="/chat" name="Chat" transport="WebSocket" glyph=Glyph::Chat/>
                    <PageLink href="/collab" name="Collab" transport="WebSocket" glyph=Glyph::Collab/>
                </nav>
                <Person/>
                <ThemeSwitch/>
            </header>
            <main id="main" tabindex="-1">
                <Routes fallback=NotFound>
                    <Route path=path!("/") view={Lazy::<HomePage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/ticker") view={Lazy::<TickerPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/progress/:job?") view={Lazy::<ProgressPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/chat/:room?") view={Lazy::<ChatPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/collab/:doc?") view={Lazy::<CollabPage>::new()} ssr=SsrMode::Async/>
                </Routes>
            </main>
            <AwaitedPage/>
        </Router>
    }
}

/// A link of the navigation. The mark behind the name is that of the page's transport.
#[component]
fn PageLink(
    href: &'static str,
    name: &'static str,
    transport: &'static str,
    glyph: Glyph,
) -> impl IntoView {
    view! { <A href=href><Icon glyph/>{name}<span class="mark" data-transport=transport></span></A> }
}

#[component]
fn NotFound() -> impl IntoView {
    PageStatus::set(404);
    view! {
        <About title="Not found" description="There is no page under this address."/>
        <section class="notice">
            <Icon glyph=Glyph::Lost/>
            <h1>"There is nothing here"</h1>
            <p>"The address may be mistyped, or it is of a page that is gone. The pages there are:"</p>
            <ul>
                <li><A href="/">"The guide"</A>", to begin with"</li>
                <li><A href="/ticker">"Ticker"</A>", prices over Server-Sent Events"</li>
                <li><A href="/progress">"Progress"</A>", long tasks over Server-Sent Events"</li>
                <li><A href="/chat">"Chat"</A>", rooms over WebSocket"</li>
                <li><A href="/collab">"Collab"</A>", a shared text over WebSocket"</li>
            </ul>
        </section>
    }
}
