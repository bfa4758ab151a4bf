//! Encodes one event of an event stream as bytes (WHATWG HTML, section 9.2.6).

use bytes::Bytes;
use serde::Serialize;

use crate::position::Position;

/// Encodes one event: `id`, `event` (the serde tag) and `data` (the whole JSON, which serde writes as one line).
pub fn frame(position: Option<&Position>, event: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(event).unwrap_or_else(|error| {
        // A programming error: only a type that is not a message fails, such as a map whose keys are not strings.
        tracing::error!(%error, "an event could not be encoded");
        String::from("{}")
    });
    frame_json(position, &json)
}

/// Encodes one event whose data is this JSON. Each line of the JSON gets its own `data` line; every client joins them
/// with line feeds (WHATWG HTML, section 9.2.6).
///
/// A tag is an identifier and a position contains no line ends, so no field can break out of its line.
pub fn frame_json(position: Option<&Position>, json: &str) -> Bytes {
    let id = position
        .map(|position| format!("id: {position}\n"))
        .unwrap_or_default();
    let name = tag(json);
    // A carriage return ends a line as well. In JSON it occurs only where white space is insignificant.
    let data = json.split(['\n', '\r']).collect::<Vec<_>>();
    let data = data.join("\ndata: ");
    Bytes::from(format!("{id}event: {name}\ndata: {data}\n\n"))
}

/// The tag of an internally tagged enum; serde writes the tag first.
fn tag(json: &str) -> &str {
    json.strip_prefix(r#"{"type":""#)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("message")
}
