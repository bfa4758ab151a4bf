//! What a connection asks plain requests for: why it was refused, and a new session.

use gloo_net::http::Request;
use leptos::prelude::window;
use wasm_bindgen::JsValue;

use crate::realtime::contract::RENEWAL_ROUTE;

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

/// Loads the page anew, unless that was done a moment ago. Says whether it does.
pub(super) fn reload_once() -> bool {
    /// A second reload within this many milliseconds would be a loop.
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
    let again = last.is_some_and(|last| now - last < A_MOMENT);
    let done: Result<(), JsValue> = match again {
        true => Err(JsValue::NULL),
        false => storage
            .set_item(RELOADED, &now.to_string())
            .and_then(|()| window().location().reload()),
    };
    done.is_ok()
}
