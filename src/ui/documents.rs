//! Loads documents in place of the page: only if they can be loaded, and at most one in a minute.

use gloo_net::http::{Method, RequestBuilder, Response};
use leptos::prelude::window;
use realtime::client::probe::load_once_a_minute;
use wasm_bindgen::JsValue;
use web_sys::RequestCache;

/// The first part of the keys of the tab's session storage.
pub const STORAGE_PREFIX: &str = "wirewise";

/// Whether the document at `path` and the code that it references can be loaded now. If the server is down, a proxy
/// answers with an error page, and navigating there would lose the current page.
pub async fn document_can_be_had(path: &str) -> bool {
    let Some(document) = good_answer(Method::GET, path).await else {
        return false;
    };
    let html = document.text().await.unwrap_or_default();
    for file in html.split('"').filter(|piece| is_code(piece)) {
        if good_answer(Method::HEAD, file).await.is_none() {
            return false;
        }
    }
    true
}

/// Whether an attribute value is the address of a script or a wasm file, without which the page does not work.
fn is_code(address: &str) -> bool {
    address.starts_with('/') && (address.ends_with(".js") || address.ends_with(".wasm"))
}

async fn good_answer(method: Method, path: &str) -> Option<Response> {
    let request = RequestBuilder::new(path).method(method);
    let response = request.cache(RequestCache::NoStore).send().await;
    response.ok().filter(Response::ok)
}

/// Loads the document at `path` (with its query and fragment), unless a document was loaded this way, or the page was
/// reloaded by itself, within the last minute.
pub fn load_document_once(path: &str) {
    let location = window().location();
    let here = || Ok::<_, JsValue>(location.pathname()? + &location.search()? + &location.hash()?);
    load_once_a_minute(STORAGE_PREFIX, &|| match here()? == path {
        // Assigning the current address would not load anything if it has a fragment.
        true => location.reload(),
        false => location.assign(path),
    });
}
