//! A server of an event stream, as `server/topic.rs` and `server/sse.rs` promise it to behave: a state, and a ring of changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::{
    contract::StreamContract,
    message::{Hello, StreamControl},
    position::{Epoch, Position},
    status::Answer,
};

#[derive(Clone, PartialEq)]
pub struct Counter;

/// Every event carries its offset, so that a page can be compared with the server.
#[derive(Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Counted {
    Now { number: u64 },
    Change { number: u64 },
}

impl StreamContract for Counter {
    const NAME: &'static str = "counter";
    const ROUTE: &'static str = "/api/counter";
    type Event = Counted;

    fn is_state(event: &Counted) -> bool {
        matches!(event, Counted::Now { .. })
    }
}

/// Server to client.
#[derive(Clone, Debug)]
pub enum Down {
    Opened,
    Frame {
        name: &'static str,
        data: String,
        id: String,
    },
    /// The stream was refused or has ended.
    Error,
}

pub struct Server {
    pub is_up: bool,
    pub has_session: bool,
    /// Streams are refused with this status and `Retry-After`.
    pub refuses: Option<(u16, Option<u64>)>,
    pub heartbeat_ms: u64,
    /// The open streams, each with the offset at which it began.
    pub seats: BTreeMap<usize, u64>,
    pub out: Vec<(usize, Down)>,
    epoch: u32,
    head: u64,
    /// How many changes can be replayed.
    ring: u64,
}

impl Server {
    pub fn new(heartbeat_ms: u64, ring: u64) -> Self {
        Self {
            is_up: true,
            has_session: true,
            refuses: None,
            heartbeat_ms,
            seats: BTreeMap::new(),
            out: vec![],
            epoch: 0,
            head: 7,
            ring,
        }
    }

    fn position(&self, offset: u64) -> Position {
        Position::new(Epoch::new(&format!("e{}", self.epoch)).unwrap(), offset)
    }

    pub fn head(&self) -> Position {
        self.position(self.head)
    }

    /// The response to a plain request; `None` if the server is down.
    pub fn answer(&self) -> Option<Answer> {
        let (status, retry_after_ms) = match self.refuses {
            _ if !self.has_session => (401, None),
            Some(refusal) => refusal,
            None => (200, None),
        };
        self.is_up.then(|| Answer {
            status,
            retry_after_ms,
            reason: (status == 401).then(|| "expired".into()),
        })
    }

    /// Opens a stream. Returns whether it is open.
    pub fn connect(&mut self, wire: usize, after: Option<Position>) -> bool {
        if self.answer().is_none_or(|answer| answer.status != 200) {
            self.out.push((wire, Down::Error));
            return false;
        }
        self.out.push((wire, Down::Opened));
        let head = self.head();
        let resumed =
            after.filter(|after| *after <= head && after.offset + self.ring >= head.offset);
        let recovered = resumed.is_some();
        let from = resumed.map_or(head.offset, |after| after.offset);
        let hello = StreamControl::Hello(Hello {
            connection: "c".into(),
            epoch: head.epoch.clone(),
            offset: from,
            recovered,
            replayed: (head.offset - from) as usize,
            heartbeat_ms: self.heartbeat_ms,
            connections: 1,
        });
        let at = self.position(from).to_string();
        // Without a recovered position `hello` has no id.
        let id = if recovered { at.clone() } else { String::new() };
        self.put(wire, "hello", &hello, id);
        if !recovered {
            self.put(wire, "now", &Counted::Now { number: from }, at);
        }
        for number in from + 1..=head.offset {
            self.change(wire, number);
        }
        self.seats.insert(wire, from);
        true
    }

    pub fn publish(&mut self) {
        self.head += 1;
        self.repeat();
    }

    /// Sends the newest change, possibly again. A stream repeats no change that it did not send: one at the position of its
    /// state would be a part of that.
    pub fn repeat(&mut self) {
        for (wire, began) in self.seats.clone() {
            if self.head > began {
                self.change(wire, self.head);
            }
        }
    }

    pub fn heartbeat(&mut self, wire: usize) {
        let heartbeat = StreamControl::Heartbeat {
            at: 0,
            connections: 1,
        };
        self.put(wire, "heartbeat", &heartbeat, self.head().to_string());
    }

    /// Ends all streams. The last event of each may ask for a delay.
    pub fn end_all(&mut self, retry_ms: Option<u64>) {
        for wire in std::mem::take(&mut self.seats).into_keys() {
            if let Some(retry_ms) = retry_ms {
                let drain = StreamControl::Drain { retry_ms };
                self.put(wire, "drain", &drain, self.head().to_string());
            }
            self.out.push((wire, Down::Error));
        }
    }

    /// The process ends without a word. With the history the offsets end too.
    pub fn stop(&mut self, keeps_history: bool) {
        self.is_up = false;
        self.seats.clear();
        if !keeps_history {
            self.epoch += 1;
            self.head = 0;
        }
    }

    fn change(&mut self, wire: usize, number: u64) {
        let id = self.position(number).to_string();
        self.put(wire, "change", &Counted::Change { number }, id);
    }

    fn put(&mut self, wire: usize, name: &'static str, event: &impl Serialize, id: String) {
        let data = serde_json::to_string(event).unwrap();
        self.out.push((wire, Down::Frame { name, data, id }));
    }
}
