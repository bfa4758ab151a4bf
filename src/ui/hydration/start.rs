//! Starts the app in the document: hydrates it, or mounts it afresh.

use gloo_timers::future::TimeoutFuture;
use leptos::{
    mount::{hydrate_from_async, hydrate_islands, mount_to},
    prelude::*,
};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlElement;

use super::guard::{self, APP_ID};

/// Interval of checking whether a mounted page exists, in milliseconds: about a frame.
const LOOK_EVERY_MS: u32 = 16;

/// Takes over the document. A panic, now or later, is written to the console and reported to the guard.
pub fn start<V: IntoView + 'static>(app: fn() -> V) {
    std::panic::set_hook(Box::new(|panic| {
        leptos::logging::error!("{panic}");
        guard::panicked();
    }));
    let element = document().get_element_by_id(APP_ID);
    let Some(element) = element.and_then(|element| element.dyn_into::<HtmlElement>().ok()) else {
        return guard::missing();
    };
    if guard::mounts() {
        mount(element, app);
    } else {
        hydrate(element, app);
    }
}

fn hydrate<V: IntoView + 'static>(element: HtmlElement, app: fn() -> V) {
    spawn_local(async move {
        hydrate_from_async(element, app).await.forget();
        guard::alive();
    });
}

/// Replaces what the server rendered. The first states are read from the document as while hydrating: in the same order.
fn mount<V: IntoView + 'static>(element: HtmlElement, app: fn() -> V) {
    // Creates a root owner that reads the first states. It is meant for islands, and hydrates nothing itself.
    hydrate_islands();
    keep_states(&element);
    element.set_text_content(None);
    mount_to(element.clone(), app).forget();
    spawn_local(async move {
        // The code of the page is loaded by a task of the router.
        while !matches!(element.query_selector("main > *"), Ok(Some(_))) {
            TimeoutFuture::new(LOOK_EVERY_MS).await;
        }
        if let Some(context) = Owner::current_shared_context() {
            context.hydration_complete();
        }
        guard::alive();
    });
}

/// Moves the first states of shared parts behind an element. The page finds them by their ids.
fn keep_states(element: &HtmlElement) {
    while let Ok(Some(state)) = element.query_selector("script[type='application/json']") {
        if element.after_with_node_1(&state).is_err() {
            return;
        }
    }
}
