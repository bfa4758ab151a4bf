//! The shell of every page, the navigation, and the routes.

use leptos::{prelude::*, text_prop::TextProp};
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
    home::HomePage,
    hydration::{APP_ID, guard::Guard},
    icons::{Glyph, Icon},
    inspector::message::Allowed,
    lazy_page::{AwaitedPage, PagesAwaited},
    progress::page::ProgressPage,
    session::{User, form::Person, view::follow_renewals},
    theme::{ThemeSwitch, bars},
    ticker::page::TickerPage,
};

/// Where the site is, as in `https://wire.example`: a preview's picture is named by its whole address.
#[derive(Clone)]
pub struct Site(pub String);

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

/// What previews of links show (<https://ogp.me>); `property` is no attribute of HTML's own.
fn open_graph(property: &'static str, content: String) -> impl IntoView {
    leptos::html::meta()
        .attr("property", property)
        .content(content)
}

/// Who this browser is to the others; changes with the name form. `None` once the person signed out.
#[derive(Clone, Copy)]
pub struct Visitor(pub RwSignal<Option<User>>);

/// All pages.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let visitor = RwSignal::new(first_state::<(), User>(()));
    provide_context(Visitor(visitor));
    follow_renewals(visitor);
    provide_context(first_state::<(), Allowed>(()).unwrap_or_default());
    provide_context(PagesAwaited::default());
    view! {
        <Router>
            // The browser's own way, not the router's: it takes the focus along.
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

/// The mark behind the name is that of the page's transport.
#[component]
fn PageLink(
    href: &'static str,
    name: &'static str,
    transport: &'static str,
    glyph: Glyph,
) -> impl IntoView {
    view! { <A href=href><Icon glyph/>{name}<span class="mark" data-transport=transport></span></A> }
}

/// The title of a page, and what search engines and previews of links say about it.
#[component]
pub fn About(#[prop(into)] title: TextProp, description: &'static str) -> impl IntoView {
    // Counted, and read once here: on the server the head is written where no page's signals can be read any more.
    let shown = ArcRwSignal::new(untrack(|| title.get()));
    Effect::new({
        let shown = shown.clone();
        move |_| shown.set(title.get())
    });
    let title = move || with_the_sites_name(shown.get().into_owned());
    view! {
        // Whole, and nowhere else: one further up would blank the title until this page's code has come.
        <Title text=title.clone()/>
        <Meta name="description" content=description/>
        <Meta property="og:title" content=title/>
        <Meta property="og:description" content=description/>
    }
    // Of one plain type: in every page it would be a large part of the page's own.
    .into_any()
}

fn with_the_sites_name(title: String) -> String {
    if title.is_empty() {
        "Wirewise".to_owned()
    } else {
        format!("{title} · Wirewise")
    }
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
