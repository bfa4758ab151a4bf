//! The script that watches the app, and the app's calls into it.

use leptos::{nonce::use_nonce, prelude::*};
use wasm_bindgen::prelude::wasm_bindgen;

/// The id of the element that the app lives in.
pub const APP_ID: &str = "app";

/// The script, for the head of the document, before anything that can fail.
#[component]
pub fn Guard() -> impl IntoView {
    view! { <script nonce=use_nonce()>{include_str!("guard.js")}</script> }
}

#[wasm_bindgen(js_namespace = wirewise)]
extern "C" {
    /// Whether hydration failed before in this tab, so that the app mounts itself afresh.
    pub fn mounts() -> bool;
    /// The app runs: every handler is attached.
    pub fn alive();
    /// The app panicked. Shows a notice, or loads the page again.
    pub fn panicked();
    /// A file of the app could not be loaded. Shows a notice until the app runs; nothing if it runs already.
    pub fn missing();
}
