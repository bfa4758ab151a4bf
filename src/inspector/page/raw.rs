//! Shows the bytes of a stream, comments and `retry:` included. They are read by `fetch`, since an `EventSource`
//! reveals only fields.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use gloo_net::http::Request;
use gloo_timers::callback::Interval;
use js_sys::{Promise, Reflect, Uint8Array};
use leptos::{prelude::*, task::spawn_local};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, AbortSignal};

use realtime::client::{Connection, live_text, text_content};

/// The maximum number of bytes that are kept; older lines are dropped.
const MAX_BYTES: usize = 32 * 1024;
/// The interval at which the view is updated, in milliseconds.
const UPDATE_INTERVAL_MS: u32 = 250;

// Declared by hand, because another feature of web-sys would rebuild every crate that depends on it.
#[wasm_bindgen]
extern "C" {
    /// A `ReadableStream` (Streams standard, section 4.2).
    type ByteStream;
    type Reader;
    #[wasm_bindgen(method, js_name = getReader)]
    fn reader(this: &ByteStream) -> Reader;
    /// Resolves to `{ value, done }`; rejects when the stream breaks off.
    #[wasm_bindgen(method)]
    fn read(this: &Reader) -> Promise;
}

/// The newest bytes, and whether some of them are not shown yet.
#[derive(Default)]
struct Recent {
    bytes: RefCell<Vec<u8>>,
    fresh: Cell<bool>,
}

#[component]
pub(super) fn RawBytes(connection: Connection) -> impl IntoView {
    let text = RwSignal::new(String::new());
    let ended = RwSignal::new(None::<String>);
    Effect::new(move |_| {
        // Not tracked, because the position moves with every event, and this stream has a position of its own.
        let Some(url) = untrack(move || connection.url()) else {
            return ended.set(Some("There is no stream yet.".into()));
        };
        let Ok(abort) = AbortController::new() else {
            return;
        };
        let signal = abort.signal();
        let recent = Rc::new(Recent::default());
        let read = recent.clone();
        spawn_local(async move {
            let take = |piece: &[u8]| {
                keep(&mut read.bytes.borrow_mut(), piece);
                read.fresh.set(true);
                true
            };
            let why = read_pieces(&url, &signal, take).await;
            let _ = ended.try_set(Some(why));
        });
        let show = Interval::new(UPDATE_INTERVAL_MS, move || {
            if recent.fresh.take() {
                let shown = String::from_utf8_lossy(&recent.bytes.borrow()).into_owned();
                let _ = text.try_set(shown);
            }
        });
        let held = SendWrapper::new((abort, show));
        // The stream ends when the tab of the panel is closed.
        on_cleanup(move || held.0.abort());
    });
    view! {
        <p class="quiet">"A second stream, read by fetch(): the bytes as the server wrote them."</p>
        <pre {..live_text(move || text.get())} class="raw" role="group" tabindex="0" aria-label="Bytes of the stream" translate="no" data-test="raw"></pre>
        {move || ended.get().map(|why| view! { <p {..text_content(why)} class="empty" data-test="raw-ended"></p> })}
    }
}

/// Reads a stream piece by piece to its end, or until `take` returns false. Returns why it ended, as a sentence.
pub(crate) async fn read_pieces(
    url: &str,
    signal: &AbortSignal,
    mut take: impl FnMut(&[u8]) -> bool,
) -> String {
    let request = Request::get(url)
        .header("accept", "text/event-stream")
        .abort_signal(Some(signal));
    let response = match request.send().await {
        Ok(response) if response.status() == 200 => response,
        Ok(response) => {
            return format!(
                "The server answers {}: {}.",
                response.status(),
                meaning(response.status())
            );
        }
        Err(_) => return "The server cannot be reached.".into(),
    };
    let Some(body) = response.body() else {
        return "This browser cannot read a stream piece by piece.".into();
    };
    let reader = body.unchecked_into::<ByteStream>().reader();
    loop {
        let Ok(piece) = JsFuture::from(reader.read()).await else {
            return "The stream broke off.".into();
        };
        let field = |name: &str| Reflect::get(&piece, &name.into()).ok();
        match field("value").and_then(|value| value.dyn_into::<Uint8Array>().ok()) {
            Some(piece) if !take(&piece.to_vec()) => return "That was enough.".into(),
            Some(_) => {}
            None => return "The stream ended.".into(),
        }
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        204 => "nothing follows any more",
        401 => "the session is over",
        429 => "too many streams from this address",
        _ => "not a stream",
    }
}

/// Adds bytes. If there are too many, whole lines are removed from the front.
fn keep(bytes: &mut Vec<u8>, piece: &[u8]) {
    bytes.extend_from_slice(piece);
    if bytes.len() <= MAX_BYTES {
        return;
    }
    let cut = bytes.len() - MAX_BYTES;
    let line = bytes[cut..].iter().position(|byte| *byte == b'\n');
    bytes.drain(..line.map_or(cut, |line| cut + line + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_lines_are_kept() {
        let mut bytes = vec![];
        let line = b"data: 0123456789\n";
        for _ in 0..2 * MAX_BYTES / line.len() {
            keep(&mut bytes, line);
        }
        assert!(bytes.len() <= MAX_BYTES);
        assert!(bytes.starts_with(b"data: "), "no line is cut in two");
        assert!(bytes.len() > MAX_BYTES - 2 * line.len());
    }
}
