//! Plain HTTP requests beside a connection: why a stream was refused, session renewal, flushing pooled connections, reloads.

use gloo_net::http::{Method, Request, RequestBuilder, Response};
use gloo_timers::callback::Timeout;
use leptos::{prelude::*, task::spawn_local};
use serde::Deserialize;
use serde_json::Value;
use wasm_bindgen::JsValue;
use web_sys::{AbortController, AbortSignal, RequestCache};

use crate::{
    backoff::retry_after_ms,
    close::reason,
    contract::{ALIVE_ROUTE, GUEST_ROUTE, RENEWAL_ROUTE},
    status::{Answer, Renewal},
};

/// The storage key for the time of the last automatic reload.
const RELOADED: &str = "wirewise-reloaded";

/// Aborts its request when dropped, whatever the state of the request.
pub(super) struct AbortOnDrop(AbortController);

impl AbortOnDrop {
    pub(super) fn new() -> Option<Self> {
        AbortController::new().ok().map(Self)
    }

    pub(super) fn signal(&self) -> AbortSignal {
        self.0.signal()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The latest response to a session renewal, for pages that show the user of the session.
///
/// An application provides it as context above all connections. Every connection then writes the JSON of its latest renewal
/// response into it (here `{"user":…,"token":…}`).
#[derive(Clone, Copy)]
pub struct Renewals(pub RwSignal<Option<Value>>);

impl Default for Renewals {
    fn default() -> Self {
        Self(RwSignal::new(None))
    }
}

/// Determines why a stream was refused. `EventSource` does not expose the status: 204, 401 and 502 look alike to it.
///
/// Reads only the headers, and the body of a 401. The caller aborts the request, because a response that is a stream would
/// never end.
pub(super) async fn why_refused(url: &str, signal: Option<AbortSignal>) -> Option<Answer> {
    let request = Request::get(url)
        .header("accept", "text/event-stream")
        .cache(RequestCache::NoStore)
        .abort_signal(signal.as_ref());
    let response = request.send().await.ok()?;
    Some(answer_of(&response).await)
}

async fn answer_of(response: &Response) -> Answer {
    #[derive(Default, Deserialize)]
    struct Unauthorized {
        reason: Option<String>,
    }
    let status = response.status();
    let body = match status {
        401 => response.json::<Unauthorized>().await.unwrap_or_default(),
        _ => Unauthorized::default(),
    };
    Answer {
        status,
        retry_after_ms: retry_after_of(response),
        reason: body.reason,
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

/// Renews the session, or requests a new guest session if the renewal is refused. The response sets the cookie.
pub(super) async fn renew_session(
    signal: Option<AbortSignal>,
    renewals: Option<Renewals>,
) -> Renewal {
    for route in [RENEWAL_ROUTE, GUEST_ROUTE] {
        let request = Request::post(route).abort_signal(signal.as_ref()).send();
        let Ok(response) = request.await else { break };
        if response.ok() {
            if let (Some(renewals), Ok(answer)) = (renewals, response.json().await) {
                let _ = renewals.0.try_set(Some(answer));
            }
            return Renewal::Renewed;
        }
        let answer = answer_of(&response).await;
        match answer.status {
            401 if answer.reason.as_deref() == Some(reason::SIGNED_OUT) => {
                return Renewal::SignedOut;
            }
            // Refused: the session cannot be renewed. A server error or a request to wait (408, 429) does not mean that.
            400..500 if !matches!(answer.status, 408 | 429) => {}
            _ => {
                return Renewal::Failed {
                    retry_after_ms: answer.retry_after_ms,
                };
            }
        }
    }
    Renewal::Failed {
        retry_after_ms: None,
    }
}

/// Flushes the dead connections from the browser's HTTP/1.1 keep-alive pool.
///
/// It sends as many requests as the pool has connections, so that they occupy all of them. A request that is aborted before
/// its response closes its connection. Working connections answer in time and stay.
pub(super) fn flush_pooled_connections() {
    /// The number of connections that a browser opens to one host.
    const POOL_SIZE: usize = 6;
    /// Longer than a round trip, and shorter than the shortest delay before the next attempt.
    const ANSWERS_WITHIN_MS: u32 = 300;
    let Some(requests) = AbortOnDrop::new() else {
        return;
    };
    let signal = requests.signal();
    for index in 0..POOL_SIZE {
        // Distinct addresses, because a browser requests the same address only once at a time.
        let request = Request::get(&format!("{ALIVE_ROUTE}?{index}"))
            .cache(RequestCache::NoStore)
            .abort_signal(Some(&signal))
            .send();
        spawn_local(async move {
            let _ = request.await;
        });
    }
    Timeout::new(ANSWERS_WITHIN_MS, move || drop(requests)).forget();
}

/// Whether the document at `path` and the code that it references can be loaded now. If the server is down, a proxy answers
/// with an error page, and navigating there would lose the current page.
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

/// Reloads the page, unless a document was loaded this way within the last minute. Returns whether it does.
pub fn reload_once() -> bool {
    at_most_once_a_minute(|| window().location().reload())
}

/// Loads the document at `path` (with its query and fragment), unless a document was loaded this way within the last minute.
pub fn load_document_once(path: &str) {
    let location = window().location();
    let here = || Ok::<_, JsValue>(location.pathname()? + &location.search()? + &location.hash()?);
    at_most_once_a_minute(|| match here()? == path {
        // Assigning the current address would not load anything if it has a fragment.
        true => location.reload(),
        false => location.assign(path),
    });
}

fn at_most_once_a_minute(load: impl FnOnce() -> Result<(), JsValue>) -> bool {
    /// A second load within this many milliseconds would be a reload loop.
    const RELOAD_INTERVAL_MS: f64 = 60_000.0;
    let Ok(Some(storage)) = window().session_storage() else {
        return false;
    };
    let last = storage
        .get_item(RELOADED)
        .ok()
        .flatten()
        .and_then(|at| at.parse::<f64>().ok());
    let now = js_sys::Date::now();
    if last.is_some_and(|last| now - last < RELOAD_INTERVAL_MS) {
        return false;
    }
    storage
        .set_item(RELOADED, &now.to_string())
        .and_then(|()| load())
        .is_ok()
}
