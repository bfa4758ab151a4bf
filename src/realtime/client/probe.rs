//! What a connection asks plain requests for: why it was refused, and a new session.

use gloo_net::http::Request;
use gloo_timers::callback::Timeout;
use leptos::{prelude::window, task::spawn_local};
use wasm_bindgen::JsValue;
use web_sys::RequestCache;

use crate::realtime::contract::{ALIVE_ROUTE, RENEWAL_ROUTE};

/// Remembers that the page was just loaded anew.
const RELOADED: &str = "wirewise-reloaded";

/// The status behind an address, read by a request that is aborted at the headers, and `Retry-After` in milliseconds.
/// `EventSource` says neither: 204, 401 and 502 look alike to it.
pub(super) async fn status_of(url: &str) -> (Option<u16>, Option<u64>) {
    let abort = web_sys::AbortController::new().ok();
    let signal = abort.as_ref().map(web_sys::AbortController::signal);
    let request = Request::get(url)
        .header("accept", "text/event-stream")
        .abort_signal(signal.as_ref())
        .send();
    let Ok(response) = request.await else {
        return (None, None);
    };
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|seconds| seconds.parse::<u64>().ok());
    if let Some(abort) = abort {
        abort.abort();
    }
    (
        Some(response.status()),
        retry_after.map(|seconds| seconds * 1_000),
    )
}

/// Asks for a guest session; the answer sets the cookie.
pub(super) async fn renew_session() -> bool {
    Request::post(RENEWAL_ROUTE)
        .send()
        .await
        .is_ok_and(|response| response.ok())
}

/// Makes the browser drop the HTTP/1.1 connections that it keeps for later requests: as many requests as it keeps connections
/// take them all, and a request that is aborted before its answer takes its connection along. Connections that work answer
/// in time and stay.
pub(super) fn drop_kept_connections() {
    /// What a browser opens to one host.
    const KEPT: usize = 6;
    /// Longer than a way there and back, shorter than the shortest delay before the next attempt.
    const ANSWERS_WITHIN_MS: u32 = 300;
    let Ok(abort) = web_sys::AbortController::new() else {
        return;
    };
    let signal = abort.signal();
    for index in 0..KEPT {
        // Addresses of their own: a browser asks for one address once at a time.
        let request = Request::get(&format!("{ALIVE_ROUTE}?{index}"))
            .cache(RequestCache::NoStore)
            .abort_signal(Some(&signal))
            .send();
        spawn_local(async move {
            let _ = request.await;
        });
    }
    Timeout::new(ANSWERS_WITHIN_MS, move || abort.abort()).forget();
}

/// Whether the server answers at all.
pub async fn alive() -> bool {
    Request::get(ALIVE_ROUTE)
        .cache(RequestCache::NoStore)
        .send()
        .await
        .is_ok_and(|response| response.ok())
}

/// Loads the page anew, unless a document was loaded so a moment ago. Says whether it does.
pub fn reload_once() -> bool {
    once_in_a_moment(|| window().location().reload())
}

/// Leaves for the document at `path` (with its query and fragment), unless a document was loaded so a moment ago.
pub fn load_document_once(path: &str) {
    let location = window().location();
    let here = || Ok::<_, JsValue>(location.pathname()? + &location.search()? + &location.hash()?);
    once_in_a_moment(|| match here()? == path {
        // Assigning the address that is there already would do nothing where it has a fragment.
        true => location.reload(),
        false => location.assign(path),
    });
}

fn once_in_a_moment(load: impl FnOnce() -> Result<(), JsValue>) -> bool {
    /// A second load within this many milliseconds would be a loop.
    const A_MOMENT: f64 = 60_000.0;
    let Ok(Some(storage)) = window().session_storage() else {
        return false;
    };
    let last = storage
        .get_item(RELOADED)
        .ok()
        .flatten()
        .and_then(|at| at.parse::<f64>().ok());
    let now = js_sys::Date::now();
    if last.is_some_and(|last| now - last < A_MOMENT) {
        return false;
    }
    storage
        .set_item(RELOADED, &now.to_string())
        .and_then(|()| load())
        .is_ok()
}
