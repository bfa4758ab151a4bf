//! What an application shares with the kit's plain HTTP requests: aborting them, reading a refusal, reloads.

use gloo_net::http::Response;
use leptos::prelude::*;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use web_sys::{AbortController, AbortSignal};

use crate::{backoff::retry_after_ms, json, status::Answer};

/// Aborts its requests when dropped, whatever their state. In a future it ties a request to the future: when the future is
/// dropped, the request is aborted.
pub struct AbortOnDrop(AbortController);

impl AbortOnDrop {
    /// `None` if the browser has no `AbortController`.
    pub fn new() -> Option<Self> {
        AbortController::new().ok().map(Self)
    }

    /// The signal for the requests.
    pub fn signal(&self) -> AbortSignal {
        self.0.signal()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a response says about a refusal: the status, `Retry-After`, and the reason in the body of a 401. An application uses it
/// for the response to a renewal of the session.
pub async fn answer_of(response: &Response) -> Answer {
    #[derive(Default, Deserialize)]
    struct Unauthorized {
        reason: Option<String>,
    }
    let status = response.status();
    let body = match status {
        401 => response.text().await.unwrap_or_default(),
        _ => String::new(),
    };
    let Unauthorized { reason } = json::decode(&body).unwrap_or_default();
    Answer {
        status,
        retry_after_ms: retry_after_of(response),
        reason,
    }
}

fn retry_after_of(response: &Response) -> Option<u64> {
    let headers = response.headers();
    let date = headers.get("date");
    retry_after_ms(
        &headers.get("retry-after")?,
        date.as_deref(),
        js_sys::Date::now(),
    )
}

/// Reloads the page, unless a document was loaded by [`load_once_a_minute`] with the same prefix within the last minute.
/// Returns whether it does. `storage_prefix` is that of the [`ClientConfig`](super::ClientConfig).
pub fn reload_once(storage_prefix: &str) -> bool {
    load_once_a_minute(storage_prefix, &|| window().location().reload())
}

/// Calls `load`, which loads a document in place of the page, unless that was done with the same prefix within the last
/// minute. Returns whether it was called and succeeded. The time is stored in the tab's session storage, under
/// `{storage_prefix}-reloaded`; without a storage `load` is not called.
pub fn load_once_a_minute(storage_prefix: &str, load: &dyn Fn() -> Result<(), JsValue>) -> bool {
    /// A second load within this many milliseconds would be a reload loop.
    const RELOAD_INTERVAL_MS: u64 = 60_000;
    let Ok(Some(storage)) = window().session_storage() else {
        return false;
    };
    let reloaded = format!("{storage_prefix}-reloaded");
    let last = storage
        .get_item(&reloaded)
        .ok()
        .flatten()
        .and_then(|at| at.parse::<u64>().ok());
    // Whole numbers: a page would download the parser and the writer of floating-point numbers for this alone.
    let now = js_sys::Date::now() as u64;
    if last.is_some_and(|last| now.saturating_sub(last) < RELOAD_INTERVAL_MS) {
        return false;
    }
    storage
        .set_item(&reloaded, &now.to_string())
        .and_then(|()| load())
        .is_ok()
}
