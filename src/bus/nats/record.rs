//! How events, snapshots and floors stand in the streams: subjects, headers and payloads.
//!
//! | Stream | Subject | Headers | Payload |
//! |---|---|---|---|
//! | `WIREWISE_LOG` | `wirewise.log.LOG` | `Nats-Msg-Id: LOG/UUID`, `Wirewise-Author` | an event |
//! | | | `Wirewise-Kind: snapshot`, `Wirewise-Upto`, `Wirewise-Head`, `Wirewise-At` | a snapshot |
//! | | | `Wirewise-Kind: floor`, `Wirewise-Upto`, `Wirewise-At` | none |
//! | `WIREWISE_LATEST` | `wirewise.latest.KEY` | | a value; none removes the key |
//! | `WIREWISE_CLAIMS` | `wirewise.claim.KEY` | | none |
//! | `WIREWISE_LEASES` | `wirewise.lease.KEY` | | the 16 bytes of the id of the node that owns the key |
//!
//! Messages to `wirewise.volatile.SUBJECT` and `wirewise.ask.SUBJECT` are in no stream. Each begins with the 16 bytes of
//! the id of the node that sent it.

use std::fmt::Write;

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use bytes::Bytes;
use uuid::Uuid;

use crate::bus::{
    NewEvent,
    embedded::{replica::Change, stream_place::StreamPlace},
};

pub const LOG_PREFIX: &str = "wirewise.log.";
pub const LATEST_PREFIX: &str = "wirewise.latest.";
pub const CLAIM_PREFIX: &str = "wirewise.claim.";
pub const LEASE_PREFIX: &str = "wirewise.lease.";
pub const VOLATILE_PREFIX: &str = "wirewise.volatile.";

const ASK_PREFIX: &str = "wirewise.ask.";

const KIND: &str = "Wirewise-Kind";
const SNAPSHOT: &str = "snapshot";
const FLOOR: &str = "floor";
const AUTHOR: &str = "Wirewise-Author";
const UPTO: &str = "Wirewise-Upto";
const HEAD: &str = "Wirewise-Head";
const AT: &str = "Wirewise-At";

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

impl Record {
    pub fn event(event: &NewEvent) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{}/{}", event.log, event.id));
        if let Some(author) = event.author {
            headers.insert(AUTHOR, author.to_string());
        }
        Self {
            subject: log_subject(&event.log),
            headers,
            payload: event.bytes.clone(),
        }
    }

    /// `head` and `at`: the head of the log for which the snapshot was made, and the time of its newest event.
    pub fn snapshot(log: &str, upto: u64, head: u64, at: u64, bytes: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(KIND, SNAPSHOT);
        headers.insert(UPTO, upto.to_string());
        headers.insert(HEAD, head.to_string());
        headers.insert(AT, at.to_string());
        Self {
            subject: log_subject(log),
            headers,
            payload: bytes,
        }
    }

    pub fn floor(log: &str, upto: u64, at: u64) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(KIND, FLOOR);
        headers.insert(UPTO, upto.to_string());
        headers.insert(AT, at.to_string());
        Self {
            subject: log_subject(log),
            headers,
            payload: Bytes::new(),
        }
    }

    pub fn latest(key: &str, value: Bytes) -> Self {
        Self {
            subject: latest_subject(key),
            headers: HeaderMap::new(),
            payload: value,
        }
    }

    pub fn claim(key: &str) -> Self {
        Self {
            subject: format!("{CLAIM_PREFIX}{}", encode(key)),
            headers: HeaderMap::new(),
            payload: Bytes::new(),
        }
    }
}

/// The subject of a latest value.
pub fn latest_subject(key: &str) -> String {
    format!("{LATEST_PREFIX}{}", encode(key))
}

/// The subject of a log.
pub fn log_subject(log: &str) -> String {
    format!("{LOG_PREFIX}{}", encode(log))
}

/// What a message of a stream changes.
pub fn read(subject: &str, headers: Option<&HeaderMap>, payload: Bytes) -> Change {
    let known = if let Some(key) = subject.strip_prefix(LATEST_PREFIX) {
        decode(key).map(|key| Change::Latest {
            key,
            value: payload,
        })
    } else if let Some(log) = subject.strip_prefix(LOG_PREFIX) {
        decode(log).and_then(|log| read_log(log, headers?, payload))
    } else {
        None
    };
    known.unwrap_or(Change::Unknown)
}

fn read_log(log: String, headers: &HeaderMap, payload: Bytes) -> Option<Change> {
    let text = |name: &str| headers.get(name).map(|value| value.as_str());
    let number = |name| text(name)?.parse::<u64>().ok();
    match text(KIND) {
        None => {
            let id = message_id(Some(headers));
            let id: Uuid = id.strip_prefix(&*log)?.strip_prefix('/')?.parse().ok()?;
            let author = match text(AUTHOR) {
                Some(author) => Some(author.parse().ok()?),
                None => None,
            };
            let event = NewEvent::new(log, id, payload);
            Some(Change::Event(NewEvent { author, ..event }))
        }
        Some(SNAPSHOT) => Some(Change::Snapshot {
            log,
            upto: number(UPTO)?,
            head: number(HEAD)?,
            at: number(AT)?,
            bytes: payload,
        }),
        Some(FLOOR) => Some(Change::Floor {
            log,
            upto: number(UPTO)?,
            at: number(AT)?,
        }),
        Some(_) => None,
    }
}

/// The id that a message was published with; empty if it has none.
pub fn message_id(headers: Option<&HeaderMap>) -> &str {
    let id = headers.and_then(|headers| headers.get(NATS_MESSAGE_ID));
    id.map(|id| id.as_str()).unwrap_or_default()
}

/// The place of a message, as the replica stores it. Two messages that stand at one place of two histories differ in
/// their id or, where they have none, in their time.
pub fn stream_place(sequence: u64, headers: Option<&HeaderMap>, nanoseconds: i128) -> StreamPlace {
    StreamPlace {
        sequence,
        message: format!("{nanoseconds} {}", message_id(headers)),
    }
}

/// When the stream took the message of a place (Unix milliseconds); `None` for the beginning of a stream.
pub fn taken_at_ms(place: &StreamPlace) -> Option<u64> {
    let (nanoseconds, _) = place.message.split_once(' ')?;
    Some(nanoseconds.parse::<u64>().ok()? / 1_000_000)
}

/// A message of a node to others: its id and the content.
pub fn signed(node: Uuid, bytes: &[u8]) -> Bytes {
    [node.as_bytes(), bytes].concat().into()
}

/// The node that sent a message, and the content; `None` if it is too short.
pub fn read_signed(payload: &Bytes) -> Option<(Uuid, Bytes)> {
    let (sender, _) = payload.split_first_chunk::<16>()?;
    Some((Uuid::from_bytes(*sender), payload.slice(16..)))
}

pub fn volatile_subject(subject: &str) -> String {
    format!("{VOLATILE_PREFIX}{}", encode(subject))
}

/// The name of a volatile subject.
pub fn read_volatile_subject(subject: &str) -> Option<String> {
    decode(subject.strip_prefix(VOLATILE_PREFIX)?)
}

/// The subject under which questions are asked.
pub fn ask_subject(subject: &str) -> String {
    format!("{ASK_PREFIX}{}", encode(subject))
}

/// The subject of a lease.
pub fn lease_subject(key: &str) -> String {
    format!("{LEASE_PREFIX}{}", encode(key))
}

/// Names as one token of a subject. NATS gives a meaning to spaces, dots and the wildcards `*` and `>`.
fn encode(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => token.push(byte.into()),
            // A string takes every write.
            _ => drop(write!(token, "%{byte:02X}")),
        }
    }
    token
}

fn decode(token: &str) -> Option<String> {
    let (mut bytes, mut rest) = (vec![], token.bytes());
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "chat/lobby";

    fn read_back(record: &Record) -> Change {
        read(
            &record.subject,
            Some(&record.headers),
            record.payload.clone(),
        )
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let event = NewEvent::new(LOG, Uuid::new_v4(), "hello");
        assert_eq!(
            read_back(&Record::event(&event)),
            Change::Event(event.clone())
        );
        let by = event.by(Uuid::new_v4());
        assert_eq!(read_back(&Record::event(&by)), Change::Event(by));
        let snapshot = Change::Snapshot {
            log: LOG.into(),
            upto: 7,
            head: 9,
            at: 11,
            bytes: "all".into(),
        };
        let record = Record::snapshot(LOG, 7, 9, 11, "all".into());
        assert_eq!(read_back(&record), snapshot);
        let floor = Change::Floor {
            log: LOG.into(),
            upto: 7,
            at: 11,
        };
        assert_eq!(read_back(&Record::floor(LOG, 7, 11)), floor);
        let latest = Change::Latest {
            key: "a/b".into(),
            value: "1".into(),
        };
        assert_eq!(read_back(&Record::latest("a/b", "1".into())), latest);
    }

    #[test]
    fn an_id_has_one_spelling_whatever_the_client_wrote() {
        let id: Uuid = "{0192D5A8-0000-7000-8000-00000000000A}".parse().unwrap();
        let record = Record::event(&NewEvent::new(LOG, id, ""));
        let expected = "chat/lobby/0192d5a8-0000-7000-8000-00000000000a";
        assert_eq!(message_id(Some(&record.headers)), expected);
    }

    #[test]
    fn any_name_is_one_token_of_a_subject() {
        for name in [
            "chat/lobby",
            "a.b",
            "*",
            ">",
            "a b",
            "ä%",
            "%25",
            "\r\n",
            "",
        ] {
            let token = encode(name);
            assert!(!token.contains(['.', '*', '>', ' ', '\r', '\n']), "{token}");
            assert_eq!(decode(&token).as_deref(), Some(name));
        }
        assert_eq!(decode("%2"), None);
        assert_eq!(decode("%zz"), None);
        assert_eq!(decode("%ff"), None, "no UTF-8");
    }

    #[test]
    fn what_is_not_understood_changes_nothing() {
        let event = Record::event(&NewEvent::new(LOG, Uuid::new_v4(), "hello"));
        let spoiled = |name: &str, value: &str| {
            let mut record = event.clone();
            record.headers.insert(name, value);
            read_back(&record)
        };
        for (name, value) in [
            (
                "Nats-Msg-Id",
                "chat/other/0192d5a8-0000-7000-8000-00000000000a",
            ),
            ("Nats-Msg-Id", "chat/lobby/x"),
            (AUTHOR, "x"),
            (KIND, "a kind of a newer version"),
            (KIND, SNAPSHOT),
            (KIND, FLOOR),
        ] {
            assert_eq!(spoiled(name, value), Change::Unknown, "{name}: {value}");
        }
        assert_eq!(read(&event.subject, None, Bytes::new()), Change::Unknown);
        assert_eq!(read("wirewise.log.%", None, Bytes::new()), Change::Unknown);
        assert_eq!(read("other", None, Bytes::new()), Change::Unknown);
    }

    #[test]
    fn a_message_names_the_node_that_sent_it() {
        let node = Uuid::new_v4();
        let message = signed(node, b"hello");
        assert_eq!(read_signed(&message), Some((node, "hello".into())));
        assert_eq!(read_signed(&"short".into()), None);
        let subject = volatile_subject("chat/typing.lobby");
        let name = Some("chat/typing.lobby".to_owned());
        assert_eq!(read_volatile_subject(&subject), name);
        assert_eq!(read_volatile_subject("other"), None);
    }
}
