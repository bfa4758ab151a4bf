//! Plain HTTP requests beside a connection: why a stream was refused, flushing pooled connections.

use gloo_net::http::Request;
use gloo_timers::callback::Timeout;
use leptos::task::spawn_local;
use web_sys::RequestCache;

use crate::{
    client::{
        credential::with_parameter,
        probe::{AbortOnDrop, answer_of},
    },
    status::Answer,
};

/// Determines why a stream was refused. `EventSource` does not expose the status: 204, 401 and 502 look alike to it.
///
/// Reads only the headers, and the body of a 401. Then the request is aborted, because a response that is a stream would never
/// end.
pub async fn why_refused(url: &str) -> Option<Answer> {
    let abort = AbortOnDrop::new();
    let request = Request::get(url)
        .header("accept", "text/event-stream")
        .cache(RequestCache::NoStore)
        .abort_signal(abort.as_ref().map(AbortOnDrop::signal).as_ref());
    let response = request.send().await.ok()?;
    Some(answer_of(&response).await)
}

/// Flushes the dead connections from the browser's HTTP/1.1 keep-alive pool, with requests to `alive_url`.
///
/// It sends as many requests as the pool has connections, so that they occupy all of them. A request that is aborted before
/// its response closes its connection. Working connections answer in time and stay.
pub fn flush_pooled_connections(alive_url: &str) {
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
        let request = Request::get(&with_parameter(alive_url, &index.to_string()))
            .cache(RequestCache::NoStore)
            .abort_signal(Some(&signal))
            .send();
        spawn_local(async move {
            let _ = request.await;
        });
    }
    Timeout::new(ANSWERS_WITHIN_MS, move || drop(requests)).forget();
}
