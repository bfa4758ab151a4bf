//! Events as bytes: the fields of one event of a stream (WHATWG HTML, section 9.2.6).

use bytes::Bytes;
use serde::Serialize;

use crate::position::Position;

/// Encodes one event: `id`, `event` (the serde tag) and `data` (the whole JSON, of which serde makes one line).
pub fn frame(position: Option<&Position>, event: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(event).unwrap_or_else(|error| {
        // Only a type that is not a message (a map with keys that are no strings) can fail: a programmer's error.
        tracing::error!(%error, "an event could not be encoded");
        String::from("{}")
    });
    frame_json(position, &json)
}

/// Encodes one event whose data is this JSON: a `data` line for each of its lines, which every client joins with line feeds
/// (WHATWG HTML, section 9.2.6).
///
/// A tag is an identifier and a position has no line ends, so that no field can break out of its line.
pub fn frame_json(position: Option<&Position>, json: &str) -> Bytes {
    let id = position
        .map(|position| format!("id: {position}\n"))
        .unwrap_or_default();
    let name = tag(json);
    // A carriage return ends a line as well; in JSON it stands only where white space means nothing.
    let data = json.split(['\n', '\r']).collect::<Vec<_>>();
    let data = data.join("\ndata: ");
    Bytes::from(format!("{id}event: {name}\ndata: {data}\n\n"))
}

/// The tag of an internally tagged enum; serde writes it first.
fn tag(json: &str) -> &str {
    json.strip_prefix(r#"{"type":""#)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("message")
}
