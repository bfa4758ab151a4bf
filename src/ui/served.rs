//! Markup that only the server renders: it is in the document and not in the wasm.
//!
//! A feature's server half provides it by its id. While hydrating, the browser keeps what the document holds. When the
//! router opens a page in the browser, the page's document is fetched first ([`load`]).

use std::collections::HashMap;

use gloo_net::http::Request;
use leptos::prelude::*;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::{Document, Element, wasm_bindgen::JsCast};

use super::first_state::FirstState;

const CLASS: &str = "served";

// Declared by hand, because another feature of web-sys would rebuild every crate that depends on it.
#[wasm_bindgen]
extern "C" {
    type DOMParser;

    #[wasm_bindgen(constructor)]
    fn new() -> DOMParser;

    #[wasm_bindgen(method, js_name = parseFromString)]
    fn parse_from_string(this: &DOMParser, text: &str, mime_type: &str) -> Document;
}

/// The id of an element whose content only the server renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServedId(pub &'static str);

/// What was fetched, by the ids of its elements.
#[derive(Clone, Copy, Default)]
pub struct ServedMarkup(StoredValue<HashMap<String, String>>);

impl ServedMarkup {
    fn get(self, id: &str) -> Option<String> {
        self.0.with_value(|markup| markup.get(id).cloned())
    }

    /// Keeps the content of the [`Served`] elements of a document.
    fn keep(self, document: &Document) {
        let found = document.get_elements_by_class_name(CLASS);
        let elements =
            (0..found.length()).filter_map(|index| found.item(index)?.dyn_into::<Element>().ok());
        self.0.update_value(|markup| {
            markup.extend(elements.map(|element| (element.id(), element.inner_html())));
        });
    }
}

/// An element with what the server provides for its id.
#[component]
pub fn Served(id: &'static str) -> impl IntoView {
    let provided = FirstState::<ServedId, String>::find(ServedId(id));
    let fetched = || use_context::<ServedMarkup>().and_then(|markup| markup.get(id));
    let html = provided.or_else(fetched).unwrap_or_default();
    view! { <div id=id class=CLASS inner_html=html></div> }
}

/// Fetches the document at `path` and keeps the content of its [`Served`] elements, unless the element `id` is there
/// already or was fetched before: then the server rendered this page and the browser is about to hydrate it, or the visitor
/// comes back to it.
///
/// # Errors
///
/// The document could not be fetched, or it has no element with this id.
pub async fn load(path: &str, id: &str) -> Result<(), String> {
    // The server has what it provides.
    if use_context::<FirstState<ServedId, String>>().is_some() {
        return Ok(());
    }
    let markup: ServedMarkup = expect_context();
    if document().get_element_by_id(id).is_some() {
        markup.keep(&document());
    }
    if markup.get(id).is_some() {
        return Ok(());
    }
    let response = Request::get(path)
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let html = response.text().await.map_err(|error| error.to_string())?;
    markup.keep(&DOMParser::new().parse_from_string(&html, "text/html"));
    match markup.get(id) {
        Some(_) => Ok(()),
        None => Err(format!("{path} has no element {id}")),
    }
}
