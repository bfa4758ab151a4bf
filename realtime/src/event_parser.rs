//! Parses the bytes of an event stream, for clients without `EventSource`: programs, and pages that use `fetch`.
//!
//! It follows the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream", with two exceptions: the last event id
//! is not carried over to events without an id, and `retry` is ignored.

/// An incremental parser: bytes go in as they arrive, complete events come out.
#[derive(Debug, Default)]
pub struct EventParser {
    bytes: Vec<u8>,
    /// Bytes before this index have been parsed.
    at: usize,
    /// True once the byte order mark, if there is one, has been skipped.
    begun: bool,
    name: String,
    data: String,
    id: Option<String>,
}

/// An event with data. By the standard, an event without data is not dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEvent {
    /// `message` if the stream gives no name.
    pub name: String,
    /// The values of the `data` lines, joined by line feeds, without a trailing one.
    pub data: String,
    /// The value of the event's own last `id` line without a NUL; `None` if it has none.
    pub id: Option<String>,
}

impl EventParser {
    /// Appends the next bytes, split anywhere. [`EventParser::next_event`] returns the events that they complete.
    pub fn feed(&mut self, bytes: &[u8]) {
        // Discard the parsed bytes before the buffer would grow.
        if self.at > 0 && self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete event.
    pub fn next_event(&mut self) -> Option<ParsedEvent> {
        while let Some((start, end)) = self.next_line() {
            let line = String::from_utf8_lossy(&self.bytes[start..end]);
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                let mut data = std::mem::take(&mut self.data);
                let id = self.id.take();
                // The trailing line feed is not part of the data. If there is none, there was no data line, hence no event.
                if data.pop().is_some() {
                    let name = if name.is_empty() {
                        "message".into()
                    } else {
                        name
                    };
                    return Some(ParsedEvent { name, data, id });
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.name = value.to_owned(),
                "data" => {
                    self.data.push_str(value);
                    self.data.push('\n');
                }
                "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
                _ => {}
            }
        }
        None
    }

    /// The start and end of the next complete line, without its terminator.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        if !self.begun {
            self.skip_mark()?;
        }
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let end = match (rest[length], rest.get(length + 1)) {
            (b'\r', Some(b'\n')) => 2,
            // The line feed of a CRLF may still arrive.
            (b'\r', None) => return None,
            _ => 1,
        };
        let start = self.at;
        self.at += length + end;
        Some((start, start + length))
    }

    /// Skips a byte order mark. `None` until enough bytes have arrived to decide.
    fn skip_mark(&mut self) -> Option<()> {
        const MARK: &[u8] = b"\xEF\xBB\xBF";
        let seen = self.bytes.len().min(MARK.len());
        if self.bytes[..seen] != MARK[..seen] {
            self.begun = true;
        } else if seen == MARK.len() {
            self.at = seen;
            self.begun = true;
        }
        self.begun.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(stream: &[u8], cut: usize) -> Vec<(String, String, Option<String>)> {
        let mut parser = EventParser::default();
        let mut events = vec![];
        for piece in stream.chunks(cut) {
            parser.feed(piece);
            while let Some(event) = parser.next_event() {
                events.push((event.name, event.data, event.id));
            }
        }
        events
    }

    fn event(name: &str, data: &str, id: Option<&str>) -> (String, String, Option<String>) {
        (name.into(), data.into(), id.map(str::to_owned))
    }

    #[test]
    fn a_stream_parses_the_same_however_it_is_split() {
        let stream = "\u{feff}: comment\nretry: 1\n\nid: e-1\nevent: price\ndata: {\"a\":1}\n\ndata:x\ndata: y\r\n\r\nevent: none\n\ndata\n\nid\ndata: é\r\rdata: cut";
        let expected = vec![
            event("price", "{\"a\":1}", Some("e-1")),
            event("message", "x\ny", None),
            event("message", "", None),
            event("message", "é", Some("")),
        ];
        // A carriage return at the end of a piece is held back until the next byte arrives.
        for cut in 1..=stream.len() {
            assert_eq!(
                events(stream.as_bytes(), cut),
                expected,
                "in pieces of {cut}"
            );
        }
    }
}
