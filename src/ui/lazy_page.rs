//! Pages, and parts of pages, whose code the browser loads when they are opened.
//!
//! A load that fails makes the code of Leptos's `#[lazy_route]` panic, and a panic ends the app: one click while the
//! connection is cut would cause it, or one on a page of a build that the server has since replaced. Here the present
//! page stays, a notice says what is waited for, and what was chosen opens as soon as it can.

use std::time::Duration;

use gloo_timers::future::sleep;
use leptos::{
    prelude::*, reactive::spawn_local_scoped_with_cancellation, wasm_split::SplitLoaderError,
};
use leptos_router::{hooks::use_url, location::Url};

use super::{
    documents::{document_can_be_had, load_document_once},
    erase::Erase,
    hydration::guard,
    icons::{Glyph, Icon},
};
use realtime::backoff::Backoff;

/// Declares the route `$page`, whose view, the component `$view`, is in a file of its own, named after `$chunk`. What
/// `$first` loads is there before the view.
// rustfmt indents the attribute of a macro further each time.
#[rustfmt::skip]
macro_rules! lazy_page {
    ($page:ident, $chunk:ident, $view:ident $(, $first:expr)?) => {
        /// The route.
        pub struct $page;

        impl leptos_router::LazyRoute for $page {
            fn data() -> Self {
                Self
            }

            async fn preload() {
                $crate::ui::lazy_page::until_loaded(preload_chunk).await;
            }

            async fn view(_: Self) -> leptos::prelude::AnyView {
                // So that the document names the file, and the browser fetches it along with the app's.
                leptos::prefetch_lazy_fn_on_server(stringify!($chunk));
                $($crate::ui::lazy_page::until_loaded($first).await;)?
                $crate::ui::lazy_page::until_loaded($chunk).await
            }
        }

        #[leptos::wasm_split::wasm_split(
            $chunk,
            wasm_split_path = leptos::wasm_split,
            fallible,
            preload(preload_chunk)
        )]
        fn $chunk() -> Result<leptos::prelude::AnyView, leptos::wasm_split::SplitLoaderError> {
            use $crate::ui::erase::Erase;
            Ok(leptos::prelude::view! { <$view/> }.erase())
        }
    };
}
pub(crate) use lazy_page;

/// Declares the function `$load`, which loads the code of the part `$chunk` and returns the function `$view` that is in it.
macro_rules! lazy_part {
    ($chunk:ident, $load:ident, $view:ident: $type:ty) => {
        #[leptos::wasm_split::wasm_split($chunk, wasm_split_path = leptos::wasm_split, fallible)]
        fn $load() -> Result<$type, leptos::wasm_split::SplitLoaderError> {
            Ok($view)
        }
    };
}
pub(crate) use lazy_part;

/// The function that `load` returns, once `wanted` was true and the code is loaded. Until then `None`.
pub fn part_when<V: Copy + Send + Sync + 'static>(
    wanted: impl Fn() -> bool + 'static,
    load: impl AsyncFn() -> Result<V, SplitLoaderError> + Copy + 'static,
) -> ReadSignal<Option<V>> {
    let (part, set_part) = signal(None);
    Effect::new(move |begun: Option<bool>| {
        let begun = begun.unwrap_or_default();
        if wanted() && !begun {
            spawn_local_scoped_with_cancellation(async move {
                set_part.set(Some(until_loaded(load).await));
            });
            return true;
        }
        begun
    });
    part
}

/// Stands in for a part whose code is being loaded.
#[component]
pub fn PartAwaited() -> impl IntoView {
    view! { <p class="quiet" role="status">"Loading…"</p> }
}

/// How many pages and parts are waiting to be loaded.
#[derive(Clone, Copy, Default)]
pub struct PagesAwaited(RwSignal<usize>);

/// A page or part that is waiting to be loaded. It counts until it is dropped, also when the visitor goes elsewhere.
struct Awaited(PagesAwaited);

impl Awaited {
    fn count(pages: PagesAwaited) -> Self {
        pages.0.update(|count| *count += 1);
        Self(pages)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.0.try_update(|count| *count -= 1);
    }
}

/// Loads until it succeeds, with the kit's backoff. If the server has the page's document and all code that it names,
/// and this file still cannot be loaded, the server runs another build: its document is loaded instead, at most once a
/// minute. If a server or proxy is in trouble (502, 503), the load is only repeated.
pub async fn until_loaded<T, E>(load: impl AsyncFn() -> Result<T, E>) -> T {
    let (target, pages) = (use_url(), expect_context());
    let mut awaited = None;
    for attempt in 0.. {
        if let Ok(loaded) = load().await {
            return loaded;
        }
        awaited.get_or_insert_with(|| Awaited::count(pages));
        // While the app is hydrating, its own notice does not exist yet.
        guard::missing();
        let address = address(&target.read_untracked());
        if document_can_be_had(&address).await {
            // The connection may have recovered after the attempt. The files of a replaced build stay away.
            if let Ok(loaded) = load().await {
                return loaded;
            }
            load_document_once(&address);
        }
        let delay_ms = Backoff::DEFAULT.delay_ms(attempt, true, js_sys::Math::random());
        sleep(Duration::from_millis(delay_ms)).await;
    }
    unreachable!("attempts do not run out");
}

fn address(url: &Url) -> String {
    let (path, search, hash) = (url.path(), url.search(), url.hash());
    let question = if search.is_empty() { "" } else { "?" };
    format!("{path}{question}{search}{hash}")
}

/// The notice that a page or a part is waited for.
#[component]
pub fn AwaitedPage() -> impl IntoView {
    let PagesAwaited(count) = expect_context();
    view! {
        <div class="awaited-page" role="status" data-test="awaited-page">
            {move || (count.get() > 0).then(|| view! {
                <Icon glyph=Glyph::Lost/>
                // In an element: a translator may replace the text itself, which could then not be removed.
                <span>"What you chose could not be loaded. It opens as soon as the connection is back."</span>
            })}
        </div>
    }
    .erase()
}
