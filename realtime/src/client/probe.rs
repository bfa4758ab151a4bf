//! What a connection asks plain requests for: why it was refused, and a new session.

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

/// Remembers that the page was just loaded anew.
const RELOADED: &str = "wirewise-reloaded";

/// A request that is aborted when this is dropped, whatever it has come to.
pub(super) struct Question(AbortController);

impl Question {
    pub(super) fn new() -> Option<Self> {
        AbortController::new().ok().map(Self)
    }

    pub(super) fn signal(&self) -> AbortSignal {
        self.0.signal()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where connections leave the answer to a renewal, for pages that show whose session it is. An application provides one as
/// context, above all connections; every connection then writes the newest answer's JSON into it (here
/// `{"user":…,"token":…}`).
#[derive(Clone, Copy)]
pub struct Renewals(pub RwSignal<Option<Value>>);

impl Default for Renewals {
    fn default() -> Self {
        Self(RwSignal::new(None))
    }
}

/// What `EventSource` does not say: to it 204, 401 and 502 look alike. Reads the headers only, and of a 401 the body. The
/// caller ends the request: the rest of an answer that is a stream would go on for ever.
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

/// Asks for the session to be renewed, and where that is refused for the session of somebody new. The answer sets the cookie.
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
            // Refused: the session cannot be renewed. Of a server in trouble, or one that asks to wait, that is not known.
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

/// Makes the browser drop the HTTP/1.1 connections that it keeps for later requests: as many requests as it keeps connections
/// take them all, and a request that is aborted before its answer takes its connection along. Connections that work answer
/// in time and stay.
pub(super) fn drop_kept_connections() {
    /// What a browser opens to one host.
    const KEPT: usize = 6;
    /// Longer than a way there and back, shorter than the shortest delay before the next attempt.
    const ANSWERS_WITHIN_MS: u32 = 300;
    let Some(question) = Question::new() else {
        return;
    };
    let signal = question.signal();
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
    Timeout::new(ANSWERS_WITHIN_MS, move || drop(question)).forget();
}

/// Whether the document at `path` and the code it names can be had now. A proxy whose server is away answers them with an
/// error of its own, and whoever leaves for that page has lost the one in front.
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

/// Whether an attribute of a document is the address of a file that a page cannot do without.
fn is_code(address: &str) -> bool {
    address.starts_with('/') && (address.ends_with(".js") || address.ends_with(".wasm"))
}

async fn good_answer(method: Method, path: &str) -> Option<Response> {
    let request = RequestBuilder::new(path).method(method);
    let response = request.cache(RequestCache::NoStore).send().await;
    response.ok().filter(Response::ok)
}

/// Loads the page anew, unless a document was loaded so a moment ago. Says whether it does.
pub fn reload_once() -> bool {
    at_most_once_a_minute(|| window().location().reload())
}

/// Leaves for the document at `path` (with its query and fragment), unless a document was loaded so a moment ago.
pub fn load_document_once(path: &str) {
    let location = window().location();
    let here = || Ok::<_, JsValue>(location.pathname()? + &location.search()? + &location.hash()?);
    at_most_once_a_minute(|| match here()? == path {
        // Assigning the address that is there already would do nothing where it has a fragment.
        true => location.reload(),
        false => location.assign(path),
    });
}

fn at_most_once_a_minute(load: impl FnOnce() -> Result<(), JsValue>) -> bool {
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
