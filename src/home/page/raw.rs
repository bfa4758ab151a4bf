//! Shows the first bytes of an event stream, read by `fetch`, its comment and `retry:` included.
//!
//! The data of one of its events takes two lines. The page also shows how a client joins them.

use leptos::{prelude::*, task::spawn_local};
use send_wrapper::SendWrapper;
use web_sys::AbortController;

use crate::{
    inspector::{
        counterpart::{CompareEvents, CompareNote},
        page::raw::read_pieces,
    },
    ui::erase::Erase,
};
use realtime::{event_parser::EventParser, json::decode};

/// The number of events that are shown: `hello`, the note, and some pulses.
const SHOWN_EVENTS: usize = 4;
const EVENT_END: &[u8] = b"\n\n";

/// The beginning of a stream of its own, which is requested when the component is mounted.
#[component]
pub fn FirstBytes() -> impl IntoView {
    let outcome = RwSignal::new(None::<Result<String, String>>);
    Effect::new(move |_| {
        let Ok(abort) = AbortController::new() else {
            return;
        };
        let (signal, end) = (abort.signal(), abort.clone());
        spawn_local(async move {
            let mut read = vec![];
            let collect = |piece: &[u8]| {
                read.extend_from_slice(piece);
                first_events(&read, SHOWN_EVENTS).is_none()
            };
            let why = read_pieces(&CompareEvents::url_with_note(), &signal, collect).await;
            // Enough was read: the abort ends the stream.
            end.abort();
            let shown = first_events(&read, SHOWN_EVENTS).map(String::from_utf8_lossy);
            let _ = outcome.try_set(Some(shown.map(Into::into).ok_or(why)));
        });
        let held = SendWrapper::new(abort);
        on_cleanup(move || held.abort());
    });
    move || {
        outcome.get().map(|outcome| match outcome {
            Ok(bytes) => view! {
                <p class="quiet">"The first events of the stream, read by fetch(), as the server wrote them:"</p>
                <pre role="group" tabindex="0" aria-label="First bytes of the stream" data-test="raw-bytes">{bytes.clone()}</pre>
                <p class="quiet">"Two data lines are one event: a client joins them with a line feed. This is what the note says: "<q data-test="raw-note">{note_in(&bytes)}</q></p>
            }
            .erase(),
            Err(why) => view! { <p class="empty" data-test="raw-refused">{why}</p> }.erase(),
        })
    }
}

/// The first `count` whole events, with everything before them; `None` until all of them are received.
fn first_events(bytes: &[u8], count: usize) -> Option<&[u8]> {
    let ends = bytes.windows(EVENT_END.len()).enumerate();
    let mut ends = ends.filter(|(_, end)| *end == EVENT_END);
    let (last, _) = ends.nth(count - 1)?;
    Some(&bytes[..last + EVENT_END.len()])
}

/// The text of the note among these events.
fn note_in(stream: &str) -> Option<String> {
    let mut parser = EventParser::default();
    parser.feed(stream.as_bytes());
    let notes = std::iter::from_fn(|| parser.next_event())
        .filter_map(|event| decode::<CompareNote>(&event.data).ok());
    notes.map(|CompareNote::Note { text }| text).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": wirewise compare\nretry: 2000\nevent: hello\ndata: {\"type\":\"hello\"}\n\nid: a-0\nevent: note\ndata: {\"type\":\"note\",\ndata: \"text\":\"joined\"}\n\nevent: pulse\nda";

    #[test]
    fn whole_events_are_shown_and_a_note_of_two_lines_is_read() {
        let first = |count| first_events(STREAM.as_bytes(), count).map(<[u8]>::len);
        assert_eq!(first(1), STREAM.find("id: a-0"));
        assert_eq!(first(2), STREAM.find("event: pulse"));
        assert_eq!(first(3), None);
        assert_eq!(note_in(STREAM).as_deref(), Some("joined"));
        assert_eq!(note_in("event: hello\ndata: {}\n\n"), None);
    }
}
