//! Renders the shell of every page, the navigation, and the routes of the pages.

use leptos::prelude::*;
use leptos_meta::{HashedStylesheet, MetaTags, provide_meta_context};
use leptos_router::{
    Lazy, SsrMode,
    components::{A, Route, Router, Routes},
    path,
};

use crate::{
    home::page::HomePage,
    inspector::message::Allowed,
    session::{
        User,
        current_user::CurrentUser,
        page::{form::Person, renewal::renew_session},
    },
    ui::{
        about::{About, Site},
        documents::STORAGE_PREFIX,
        erase::Erase,
        first_state::{PageStatus, first_state},
        forms::RefusedForm,
        hydration::guard::{APP_ID, Guard},
        icons::{Glyph, Icon},
        lazy_page::{AwaitedPage, PagesAwaited},
        served::ServedMarkup,
        theme::{ThemeSwitch, bars},
    },
};
use realtime::client::ClientConfig;

/// A small resource that the server answers immediately (GET).
pub const ALIVE_ROUTE: &str = "/healthz";

/// A page as the navigation and the page for unknown addresses list it.
struct Page {
    href: &'static str,
    name: &'static str,
    transport: &'static str,
    glyph: Glyph,
    summary: &'static str,
}

#[rustfmt::skip]
const PAGES: &[Page] = &[
    Page { href: "/ticker", name: "Ticker", transport: "SSE", glyph: Glyph::Ticker, summary: "prices over Server-Sent Events" },
    Page { href: "/progress", name: "Progress", transport: "SSE", glyph: Glyph::Progress, summary: "long tasks over Server-Sent Events" },
    Page { href: "/chat", name: "Chat", transport: "WebSocket", glyph: Glyph::Chat, summary: "rooms over WebSocket" },
    Page { href: "/collab", name: "Collab", transport: "WebSocket", glyph: Glyph::Collab, summary: "a shared text over WebSocket" },
];

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
    ClientConfig::default()
        .storage_prefix(STORAGE_PREFIX)
        .alive_url(ALIVE_ROUTE)
        .renew_session_with(move || renew_session(user))
        .provide();
    provide_context(first_state::<(), Allowed>(()).unwrap_or_default());
    RefusedForm::provide();
    provide_context(PagesAwaited::default());
    provide_context(ServedMarkup::default());
    view! {
        <Router>
            // The browser follows this link, not the router: the browser also moves the focus.
            <a class="skip" href="#main" rel="external">"Skip to the content"</a>
            <Header/>
            <main id="main" tabindex="-1">
                <Routes fallback=NotFound>
                    <Route path=path!("/") view={Lazy::<HomePage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/ticker") view={Lazy::<crate::ticker::page::TickerPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/progress/:job?") view={Lazy::<crate::progress::page::ProgressPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/chat/:room?") view={Lazy::<crate::chat::page::ChatPage>::new()} ssr=SsrMode::Async/>
                    <Route path=path!("/collab/:doc?") view={Lazy::<crate::collab::page::CollabPage>::new()} ssr=SsrMode::Async/>
                </Routes>
            </main>
            <AwaitedPage/>
        </Router>
    }
}

/// The links to all pages, the visitor, and the switch of the theme.
#[component]
fn Header() -> impl IntoView {
    let mark = view! {
        <svg viewBox="0 0 32 32" aria-hidden="true">
            <path class="one-way" d="M4 9.5h23M22 4.5l5 5-5 5"></path>
            <path class="both-ways" d="M5 22.5h22M22 17.5l5 5-5 5M10 17.5l-5 5 5 5"></path>
        </svg>
        <span>"Wirewise"</span>
    }
    .erase();
    view! {
        <header class="site">
            <A href="/" attr:class="brand" exact=true>{mark}</A>
            <nav aria-label="Pages">
                {PAGES.iter().map(|page| view! { <PageLink page/> }).collect_view()}
            </nav>
            <Person/>
            <ThemeSwitch/>
        </header>
    }
    .erase()
}

/// A link of the navigation. The mark behind the name is that of the page's transport.
#[component]
fn PageLink(page: &'static Page) -> impl IntoView {
    let name = view! { <Icon glyph=page.glyph/>{page.name}<span class="mark" data-transport=page.transport></span> };
    let name = name.erase();
    view! { <A href=page.href>{name}</A> }
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
                {PAGES.iter().map(|page| view! { <li><A href=page.href>{page.name}</A>", "{page.summary}</li> }).collect_view()}
            </ul>
        </section>
    }
    .erase()
}
