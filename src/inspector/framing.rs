//! Computes the bytes that a transport adds to a message. Script sees no bytes, so they are computed from the message's
//! parts.

/// `event: ` and `data: ` with their line ends, and the empty line that ends an event (WHATWG HTML, section 9.2.5).
const EVENT_FIELDS: usize = "event: \ndata: \n\n".len();
const ID_FIELD: usize = "id: \n".len();
/// The line ends of an HTTP/1.1 chunk (RFC 9112, section 7.1): one after its size, one after its content.
const CHUNK_ENDS: usize = 4;
/// A frame from a client is masked with a key of four bytes (RFC 6455, section 5.3).
const MASKING_KEY: usize = 4;

/// Bytes of an event beyond its data: field names, id, type, and the HTTP/1.1 chunk around it, as if it were sent
/// alone. (Over HTTP/2 the 9 bytes of a DATA frame's header take the chunk's place.) `data` and `id` are lengths in
/// bytes; an `id` of 0 means none.
pub fn event_overhead(name: &str, data: usize, id: usize) -> usize {
    let id = if id == 0 { 0 } else { ID_FIELD + id };
    let fields = EVENT_FIELDS + name.len() + id;
    let size = fields + data;
    fields + CHUNK_ENDS + hexadecimal_digits(size)
}

/// As [`event_overhead`], for known data: each line after the first has a `data: ` of its own.
pub fn overhead_of(name: &str, data: &str, id: &str) -> usize {
    let line_feeds = data.bytes().filter(|byte| *byte == b'\n').count();
    let more = line_feeds * "data: ".len();
    event_overhead(name, data.len() + more, id.len()) + more
}

/// Bytes of a WebSocket frame beyond its payload (RFC 6455, section 5.2).
pub fn frame_overhead(payload: usize, from_client: bool) -> usize {
    let header = match payload {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    header + if from_client { MASKING_KEY } else { 0 }
}

fn hexadecimal_digits(number: usize) -> usize {
    number
        .checked_ilog(16)
        .map_or(1, |digits| digits as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_costs_its_fields_and_a_chunk() {
        let (name, data, id) = ("price", r#"{"type":"price"}"#, "abc-12");
        let event = format!("id: {id}\nevent: {name}\ndata: {data}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        assert_eq!(
            event_overhead(name, data.len(), id.len()),
            chunk.len() - data.len()
        );
        let bare = format!("event: {name}\ndata: \n\n");
        let chunk = format!("{:x}\r\n{bare}\r\n", bare.len());
        assert_eq!(event_overhead(name, 0, 0), chunk.len());
    }

    #[test]
    fn each_further_line_of_data_costs_its_field() {
        let (name, data) = ("note", "{\"type\":\"note\",\n\"text\":\"\"}");
        let event = format!(
            "event: {name}\ndata: {}\n\n",
            data.replace('\n', "\ndata: ")
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        assert_eq!(overhead_of(name, data, ""), chunk.len() - data.len());
        assert_eq!(
            overhead_of("price", "{}", "a-1"),
            event_overhead("price", 2, 3)
        );
    }

    #[test]
    fn a_frame_header_grows_with_its_payload() {
        let sizes = [0, 125, 126, 65_535, 65_536];
        assert_eq!(
            sizes.map(|size| frame_overhead(size, false)),
            [2, 2, 4, 4, 10]
        );
        assert_eq!(
            sizes.map(|size| frame_overhead(size, true)),
            [6, 6, 8, 8, 14]
        );
    }

    #[test]
    fn sizes_are_written_in_hexadecimal() {
        assert_eq!(
            [0, 1, 15, 16, 255, 256].map(hexadecimal_digits),
            [1, 1, 1, 2, 2, 3]
        );
    }
}
