//! Takes apart what a server sends: the head of an HTTP answer, then blocks of an event stream, frames of a WebSocket, or a page.

use anyhow::{Context, Result, bail};
use memchr::memmem;

/// What the body of the answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Blocks that end with an empty line.
    Blocks,
    /// Frames of a WebSocket.
    Frames,
    /// One document.
    Page,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Head(&'a [u8]),
    /// A block, a text message, or a page.
    Text(&'a [u8]),
    Ping(&'a [u8]),
    /// The stream or the socket is over. The end of a page is its text.
    End,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Head,
    Plain,
    /// The number of bytes of the current chunk that are still to come.
    Chunked(usize),
    Length(usize),
    Frames,
}

/// The decoder of one connection.
pub struct Decoder {
    body: Body,
    framing: Framing,
    /// Bytes that arrived and are not decoded.
    bytes: Vec<u8>,
    /// The part of the body that is not a whole block, or a whole page, yet.
    text: Vec<u8>,
    /// Chunks and frames so far: the server wrote each of them by itself.
    pub pieces: u64,
}

impl Decoder {
    /// `head`: whether the server sends the head of an HTTP answer first. Raw TCP does not.
    pub fn new(body: Body, head: bool) -> Self {
        let framing = if head { Framing::Head } else { Framing::Plain };
        Self {
            body,
            framing,
            bytes: vec![],
            text: vec![],
            pieces: 0,
        }
    }

    pub fn decode(
        &mut self,
        arrived: &[u8],
        each: &mut impl FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(arrived);
        let mut at = 0;
        while let Some(used) = self.step(&bytes[at..], each)? {
            at += used;
        }
        bytes.drain(..at);
        self.bytes = bytes;
        Ok(())
    }

    /// Decodes the next part. Returns how many bytes it had, or `None` if it is not complete.
    fn step(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Item) -> Result<()>,
    ) -> Result<Option<usize>> {
        match self.framing {
            Framing::Head => self.head(bytes, each),
            Framing::Frames => frame(bytes, &mut self.pieces, each),
            Framing::Plain if bytes.is_empty() => Ok(None),
            Framing::Plain => {
                self.take(bytes, each)?;
                Ok(Some(bytes.len()))
            }
            Framing::Length(0) => self.end(each).map(|()| Some(0)),
            Framing::Length(_) if bytes.is_empty() => Ok(None),
            Framing::Length(left) => {
                let taken = left.min(bytes.len());
                self.take(&bytes[..taken], each)?;
                self.framing = Framing::Length(left - taken);
                Ok(Some(taken))
            }
            Framing::Chunked(0) => self.chunk(bytes, each),
            Framing::Chunked(_) if bytes.is_empty() => Ok(None),
            Framing::Chunked(left) => {
                let taken = left.min(bytes.len());
                self.take(&bytes[..taken], each)?;
                self.framing = Framing::Chunked(left - taken);
                Ok(Some(taken))
            }
        }
    }

    fn head(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Item) -> Result<()>,
    ) -> Result<Option<usize>> {
        // The empty line that ends the last chunk of the answer before.
        if bytes.starts_with(b"\r\n") {
            return Ok(Some(2));
        }
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = &bytes[..end];
        let lower = String::from_utf8_lossy(head).to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        self.framing = if self.body == Body::Frames {
            Framing::Frames
        } else if lower.contains("transfer-encoding: chunked") {
            Framing::Chunked(0)
        } else if let Some(length) = length {
            Framing::Length(length.trim().parse().context("a content-length")?)
        } else {
            Framing::Plain
        };
        each(Item::Head(head))?;
        Ok(Some(end + 4))
    }

    /// The line before a chunk.
    fn chunk(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Item) -> Result<()>,
    ) -> Result<Option<usize>> {
        let Some(end) = memmem::find(bytes, b"\r\n") else {
            return Ok(None);
        };
        // The line that ends the chunk before.
        if end > 0 {
            let line = String::from_utf8_lossy(&bytes[..end]);
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).context("the size of a chunk")?;
            if size == 0 {
                self.end(each)?;
            } else {
                self.pieces += 1;
                self.framing = Framing::Chunked(size);
            }
        }
        Ok(Some(end + 2))
    }

    fn end(&mut self, each: &mut impl FnMut(Item) -> Result<()>) -> Result<()> {
        self.framing = Framing::Head;
        if self.body != Body::Page {
            return each(Item::End);
        }
        let page = std::mem::take(&mut self.text);
        each(Item::Text(&page))
    }

    fn take(&mut self, bytes: &[u8], each: &mut impl FnMut(Item) -> Result<()>) -> Result<()> {
        self.text.extend_from_slice(bytes);
        if self.body == Body::Page {
            return Ok(());
        }
        let mut at = 0;
        while let Some(end) = memmem::find(&self.text[at..], b"\n\n") {
            each(Item::Text(&self.text[at..at + end]))?;
            at += end + 2;
        }
        self.text.drain(..at);
        Ok(())
    }
}

/// Decodes one frame of a WebSocket (RFC 6455, section 5.2). A server does not mask.
fn frame(
    bytes: &[u8],
    pieces: &mut u64,
    each: &mut impl FnMut(Item) -> Result<()>,
) -> Result<Option<usize>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (length, start) = match (second, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (126, _) => return Ok(None),
        (127.., _) => bail!("a frame of 64 KiB or more came, or a masked one"),
        (short, _) => (usize::from(*short), 2),
    };
    let Some(payload) = bytes.get(start..start + length) else {
        return Ok(None);
    };
    *pieces += 1;
    match first {
        0x81 | 0x82 => each(Item::Text(payload))?,
        0x88 => each(Item::End)?,
        0x89 => each(Item::Ping(payload))?,
        0x8a => {}
        other => bail!("a frame came that begins with the byte {other:#04x}"),
    }
    Ok(Some(start + length))
}

/// A masked frame of a client. The key is zero, so that the payload stays as it is: a server unmasks it all the same.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

pub fn text_frame(text: &str) -> Vec<u8> {
    masked(0x81, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes the bytes in pieces of every length, and returns the items as text.
    fn items(body: Body, head: bool, bytes: &[u8]) -> Vec<String> {
        let decoded = |piece: usize| {
            let mut decoder = Decoder::new(body, head);
            let mut items = vec![];
            for bytes in bytes.chunks(piece) {
                let mut each = |item: Item| {
                    items.push(match item {
                        Item::Head(_) => "head".into(),
                        Item::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        Item::Ping(_) => "ping".into(),
                        Item::End => "end".into(),
                    });
                    Ok(())
                };
                decoder.decode(bytes, &mut each).unwrap();
            }
            items
        };
        for piece in 1..bytes.len() {
            assert_eq!(decoded(piece), decoded(bytes.len()), "pieces of {piece}");
        }
        decoded(bytes.len())
    }

    #[test]
    fn blocks_are_found_across_chunks() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n: a\n\n\r\n3\r\nb\nc\r\n2\r\n\n\n\r\n0\r\n\r\n";
        assert_eq!(
            items(Body::Blocks, true, bytes),
            ["head", ": a", "b\nc", "end"]
        );
        assert_eq!(items(Body::Blocks, false, b"a\n\nb\n\nc"), ["a", "b"]);
    }

    #[test]
    fn two_pages_come_on_one_connection() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ncde";
        assert_eq!(
            items(Body::Page, true, bytes),
            ["head", "ab", "head", "cde"]
        );
    }

    #[test]
    fn frames_are_taken_apart() {
        let mut bytes =
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02hi\x89\x00\x81\x7e\x00\x80".to_vec();
        bytes.extend([b'x'; 128]);
        bytes.extend(*b"\x88\x00");
        let long = "x".repeat(128);
        assert_eq!(
            items(Body::Frames, true, &bytes),
            ["head", "hi", "ping", &long, "end"]
        );
    }
}
