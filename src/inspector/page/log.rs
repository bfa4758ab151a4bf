//! Keeps the last frames of a connection, and counters of all its frames. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::Deserialize;

use crate::inspector::framing::{frame_overhead, overhead_of};
use realtime::{
    client::observer::{Direction, DropReason, Frame, Payload, TraceEvent},
    json::decode,
    status::ConnectionStatus,
};

/// The maximum number of frames that are kept.
pub const MAX_ENTRIES: usize = 500;
/// The maximum number of bytes of frames that are kept. The newest frame is kept whatever its size.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The maximum number of round trips that are kept for their curve.
const MAX_ROUND_TRIPS: usize = 40;
/// The kind of binary frames.
pub const BINARY: &str = "binary";

/// A frame, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counts all frames of this connection, from 1.
    pub number: u64,
    /// Unix milliseconds.
    pub at: f64,
    pub direction: Direction,
    /// The event's name, the message's tag, or [`BINARY`].
    pub kind: String,
    pub payload: Payload,
    /// Bytes of the payload.
    pub size: usize,
    /// Bytes that the transport adds to it.
    pub overhead: usize,
    pub skipped: Option<DropReason>,
}

/// Counters since the page was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    pub frames_in: u64,
    pub frames_out: u64,
    pub payload_bytes: u64,
    pub overhead_bytes: u64,
    /// How often the connection was open again after it was lost.
    pub reconnects: u64,
    /// Missed events that were replayed.
    pub recovered: u64,
    /// Heartbeats, or pongs.
    pub heartbeats: u64,
    pub duplicates: u64,
    pub undecoded: u64,
    /// Volatile commands that were dropped because the uplink was full.
    pub unsent: u64,
    /// The last close of the socket: the code and, if there is one, the reason.
    pub last_close: Option<String>,
    /// The newest round trips in milliseconds, oldest first.
    pub round_trips: VecDeque<f64>,
}

/// The outcome of a resume, from a stream's `hello` or a room's `joined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Recovery {
    pub recovered: bool,
    pub replayed: u64,
}

/// The last frames of a connection, and its counters.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    newest: u64,
    kinds: BTreeMap<String, u64>,
    /// The newest frame of each kind that is known by an id or changes a document. Clearing keeps it.
    identified: BTreeMap<String, Arc<Entry>>,
    repeats: bool,
    pub counters: Counters,
    was_open: bool,
}

impl Log {
    /// Records what the connection saw at the time `at` (Unix milliseconds).
    pub fn record(&mut self, trace_event: TraceEvent, at: f64) {
        match trace_event {
            TraceEvent::Frame(frame) => self.keep(frame, at),
            TraceEvent::Dropped(why) => {
                match why {
                    DropReason::Duplicate => self.counters.duplicates += 1,
                    DropReason::Undecoded => self.counters.undecoded += 1,
                }
                if let Some(last) = self.last_in() {
                    last.skipped = Some(why);
                }
            }
            TraceEvent::Unsent(_) => self.counters.unsent += 1,
            TraceEvent::Closed { code, reason } => {
                let close = format!("{code} {reason}");
                self.counters.last_close = Some(close.trim_end().to_owned());
            }
            TraceEvent::Status(ConnectionStatus::Open) => {
                self.counters.reconnects += u64::from(self.was_open);
                self.was_open = true;
            }
            TraceEvent::Status(_) => {}
        }
    }

    /// The newest frames of a kind (of all for `None`), newest first.
    pub fn newest(&self, kind: Option<&str>, most: usize) -> Vec<Arc<Entry>> {
        let wanted = |entry: &&Arc<Entry>| kind.is_none_or(|kind| entry.kind == kind);
        self.entries
            .iter()
            .rev()
            .filter(wanted)
            .take(most)
            .cloned()
            .collect()
    }

    /// The kinds of frames so far, each with its count.
    pub fn kinds(&self) -> Vec<(String, u64)> {
        let kinds = self.kinds.iter();
        kinds.map(|(kind, count)| (kind.clone(), *count)).collect()
    }

    /// Whether the newest frame equals the previous one of its kind, field by field. Only for frames that are known by
    /// an id or change a document.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// Removes the frames; the counters stay.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Frames are kept, not copied: there may be a thousand a second, and the panel is mostly folded.
    fn keep(&mut self, frame: Frame, at: f64) {
        let kind = kind_of(&frame.payload);
        let (size, overhead) = sizes(&frame);
        self.newest += 1;
        self.count(&frame, &kind, size, overhead, at);
        match self.kinds.get_mut(&kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(kind.clone(), 1)),
        }
        self.bytes += size;
        let entry = Arc::new(Entry {
            number: self.newest,
            at,
            direction: frame.direction,
            kind,
            payload: frame.payload,
            size,
            overhead,
            skipped: None,
        });
        self.repeats = entry.is_identified() && self.identify(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || (self.bytes > MAX_BYTES && self.entries.len() > 1)
        {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.size;
            }
        }
    }

    /// Keeps the newest frame of a kind. Returns whether it equals the previous one.
    fn identify(&mut self, entry: &Arc<Entry>) -> bool {
        let Some(before) = self.identified.get_mut(&entry.kind) else {
            self.identified.insert(entry.kind.clone(), entry.clone());
            return false;
        };
        std::mem::replace(before, entry.clone()).payload == entry.payload
    }

    fn count(&mut self, frame: &Frame, kind: &str, size: usize, overhead: usize, at: f64) {
        let counters = &mut self.counters;
        match frame.direction {
            Direction::In => counters.frames_in += 1,
            Direction::Out => counters.frames_out += 1,
        }
        counters.payload_bytes += size as u64;
        counters.overhead_bytes += overhead as u64;
        if let Some(recovery) = recovery_of(frame, kind).filter(|recovery| recovery.recovered) {
            counters.recovered += recovery.replayed;
        }
        if frame.direction == Direction::Out {
            return;
        }
        match kind {
            "heartbeat" => counters.heartbeats += 1,
            "pong" => {
                counters.heartbeats += 1;
                if let Some(sent) = sent_at(&frame.payload) {
                    counters.round_trips.push_back(at - sent);
                    if counters.round_trips.len() > MAX_ROUND_TRIPS {
                        counters.round_trips.pop_front();
                    }
                }
            }
            _ => {}
        }
    }

    fn last_in(&mut self) -> Option<&mut Entry> {
        let mut newest_first = self.entries.iter_mut().rev();
        let last = newest_first.find(|entry| entry.direction == Direction::In)?;
        // A view may hold the entry. What the view shows stays as it was; the log changes a copy.
        Some(Arc::make_mut(last))
    }
}

impl Entry {
    /// Whether an equal second frame can only be a repetition.
    fn is_identified(&self) -> bool {
        /// The outer type of sync messages in the y-websocket protocol.
        const SYNC: u8 = 0;
        if self.direction == Direction::Out {
            return false;
        }
        match &self.payload {
            Payload::Event { id, .. } => {
                !id.is_empty() && !matches!(self.kind.as_str(), "hello" | "heartbeat" | "drain")
            }
            Payload::Text(_) => self.kind == "message",
            Payload::Binary(bytes) => bytes.first() == Some(&SYNC),
        }
    }

    /// The payload on one line, as far as it is text.
    pub fn line(&self) -> Cow<'_, str> {
        match &self.payload {
            Payload::Event { data, .. } if data.contains('\n') => data.replace('\n', " ").into(),
            Payload::Event { data, .. } => Cow::Borrowed(data),
            Payload::Text(text) => Cow::Borrowed(text),
            Payload::Binary(bytes) => Cow::Owned(hexadecimal(bytes, LINE_BYTES)),
        }
    }

    /// The whole frame as text: an event with its fields as a stream spells them, JSON, or hexadecimal.
    pub fn whole(&self) -> String {
        match &self.payload {
            Payload::Event { name, data, id } => {
                let id = match id.is_empty() {
                    true => String::new(),
                    false => format!("id: {id}\n"),
                };
                let data = data.replace('\n', "\ndata: ");
                format!("{id}event: {name}\ndata: {data}\n")
            }
            Payload::Text(text) => text.clone(),
            Payload::Binary(bytes) => hexadecimal(bytes, WHOLE_BYTES),
        }
    }
}

/// The maximum number of bytes that are shown in a row, and of a whole frame.
const LINE_BYTES: usize = 24;
const WHOLE_BYTES: usize = 2048;

/// The outcome of a resume, if this frame carries it.
pub fn recovery_of(frame: &Frame, kind: &str) -> Option<Recovery> {
    if frame.direction == Direction::Out || !matches!(kind, "hello" | "joined") {
        return None;
    }
    decode(text_of(&frame.payload)?).ok()
}

/// The event's name, the message's tag, or [`BINARY`].
pub fn kind_of(payload: &Payload) -> String {
    #[derive(Deserialize)]
    struct Tag {
        r#type: String,
    }
    match payload {
        Payload::Event { name, .. } => name.clone(),
        Payload::Text(text) => {
            let tag = decode::<Tag>(text);
            tag.map_or_else(|_| "text".to_owned(), |tag| tag.r#type)
        }
        Payload::Binary(_) => BINARY.to_owned(),
    }
}

fn sizes(frame: &Frame) -> (usize, usize) {
    let from_client = frame.direction == Direction::Out;
    match &frame.payload {
        Payload::Event { name, data, id } => (data.len(), overhead_of(name, data, id)),
        Payload::Text(text) => (text.len(), frame_overhead(text.len(), from_client)),
        Payload::Binary(bytes) => (bytes.len(), frame_overhead(bytes.len(), from_client)),
    }
}

fn sent_at(pong: &Payload) -> Option<f64> {
    #[derive(Deserialize)]
    struct Pong {
        at: f64,
    }
    let pong: Pong = decode(text_of(pong)?).ok()?;
    Some(pong.at)
}

fn text_of(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::Event { data, .. } => Some(data),
        Payload::Text(text) => Some(text),
        Payload::Binary(_) => None,
    }
}

/// Prints bytes in hexadecimal, 16 per line, and how many are left out beyond `most`.
fn hexadecimal(bytes: &[u8], most: usize) -> String {
    let lines = bytes[..bytes.len().min(most)].chunks(16).map(|line| {
        let pairs = line.iter().map(|byte| format!("{byte:02x}"));
        pairs.collect::<Vec<_>>().join(" ")
    });
    let mut text = lines.collect::<Vec<_>>().join("\n");
    if bytes.len() > most {
        text.push_str(&format!("\n… {} more bytes", bytes.len() - most));
    }
    text
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
