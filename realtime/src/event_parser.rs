//! Reads an event stream, for clients that are no `EventSource`: programs, and a page that reads the bytes by `fetch`.
//!
//! The WHATWG HTML standard, section 9.2.6 "Interpreting an event stream". Not kept: the last event id across events without
//! one, and `retry`.

/// Takes bytes as they come, gives events as they are whole.
#[derive(Debug, Default)]
pub struct EventParser {
    bytes: Vec<u8>,
    /// Read up to here.
    at: usize,
    /// The stream began, and its byte order mark, if any, is behind.
    begun: bool,
    name: String,
    data: String,
    id: Option<String>,
}

/// An event with data; one without any is none (by the standard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEvent {
    /// `message` where the stream names none.
    pub name: String,
    pub data: String,
    pub id: Option<String>,
}

impl EventParser {
    /// Takes the next bytes, split anywhere; [`EventParser::next_event`] gives what became whole.
    pub fn feed(&mut self, bytes: &[u8]) {
        // What was read goes before the buffer would grow.
        if self.at > 0 && self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Option<ParsedEvent> {
        while let Some((start, end)) = self.next_line() {
            let line = String::from_utf8_lossy(&self.bytes[start..end]);
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                let mut data = std::mem::take(&mut self.data);
                let id = self.id.take();
                // The line feed after the last line is not part of it; without a line there is no event.
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

    /// Where the next whole line stands, without its end.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        if !self.begun {
            self.skip_mark()?;
        }
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let end = match (rest[length], rest.get(length + 1)) {
            (b'\r', Some(b'\n')) => 2,
            // A line feed may still follow.
            (b'\r', None) => return None,
            _ => 1,
        };
        let start = self.at;
        self.at += length + end;
        Some((start, start + length))
    }

    /// `None` while it cannot be told.
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
    fn a_stream_reads_the_same_however_it_is_cut() {
        let stream = "\u{feff}: comment\nretry: 1\n\nid: e-1\nevent: price\ndata: {\"a\":1}\n\ndata:x\ndata: y\r\n\r\nevent: none\n\ndata\n\nid\ndata: é\r\rdata: cut";
        let expected = vec![
            event("price", "{\"a\":1}", Some("e-1")),
            event("message", "x\ny", None),
            event("message", "", None),
            event("message", "é", Some("")),
        ];
        // A carriage return at the end of a piece waits for what follows it.
        for cut in 1..=stream.len() {
            assert_eq!(
                events(stream.as_bytes(), cut),
                expected,
                "in pieces of {cut}"
            );
        }
    }
}
