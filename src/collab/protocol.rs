//! The y-websocket protocol: encodes and decodes the binary frames. Pure; used by server and browser.
//!
//! The layout follows [y-protocols' PROTOCOL.md](https://github.com/yjs/y-protocols/blob/master/PROTOCOL.md) and
//! y-websocket: an outer type (sync, awareness, auth, query awareness), then its content. Numbers are lib0 varints
//! (seven bits a byte, the least significant first); byte strings are preceded by their length. A frame may hold
//! several messages; [`decode`] reads all of them to the last byte. [`Message::encode`] writes one message per frame,
//! because y-websocket reads only the first.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;

const STEP_1: u64 = 0;
const STEP_2: u64 = 1;
const UPDATE: u64 = 2;

const PERMISSION_DENIED: u64 = 0;

/// The largest number on the wire: JavaScript's largest safe integer. lib0 refuses larger ones.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The awareness state of a client that is gone.
pub const GONE: &str = "null";

/// Whether a frame begins with an awareness message.
pub fn is_awareness(frame: &[u8]) -> bool {
    frame.first().copied().map(u64::from) == Some(AWARENESS)
}

/// One message. The content of updates and state vectors is not checked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// "This is what I have": a state vector. The answer is a step 2.
    SyncStep1(&'a [u8]),
    /// "This is what you lack": an update.
    SyncStep2(&'a [u8]),
    /// An edit.
    Update(&'a [u8]),
    /// States of clients: carets and names. See [`decode_awareness`].
    Awareness(&'a [u8]),
    /// "You may not", with the reason. Server to client.
    Denied(&'a str),
    /// "Who is there?" The answer is an awareness message with the states of all clients.
    QueryAwareness,
}

/// The awareness state of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientState {
    pub client: u64,
    /// Increases with every change of the state.
    pub clock: u64,
    /// JSON; [`GONE`] if the client left.
    pub state: String,
}

/// Why a frame cannot be read. The rest of the frame is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("the frame ends in the middle of a message")]
    Truncated,
    #[error("a number is above 2^53 - 1, or a clock above 2^32 - 1")]
    NumberTooLarge,
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("{what} of type {kind} is not known here")]
    UnknownType { what: &'static str, kind: u64 },
    #[error("bytes are left over at the end")]
    LeftOver,
}

impl<'a> Message<'a> {
    /// Encodes the message as a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = vec![];
        match self {
            Self::SyncStep1(bytes) => sync(&mut frame, STEP_1, bytes),
            Self::SyncStep2(bytes) => sync(&mut frame, STEP_2, bytes),
            Self::Update(bytes) => sync(&mut frame, UPDATE, bytes),
            Self::Awareness(bytes) => {
                write_number(&mut frame, AWARENESS);
                write_bytes(&mut frame, bytes);
            }
            Self::Denied(why) => {
                write_number(&mut frame, AUTH);
                write_number(&mut frame, PERMISSION_DENIED);
                write_bytes(&mut frame, why.as_bytes());
            }
            Self::QueryAwareness => write_number(&mut frame, QUERY_AWARENESS),
        }
        frame
    }

    fn read(input: &mut Input<'a>) -> Result<Self, ProtocolError> {
        match input.number()? {
            SYNC => match input.number()? {
                STEP_1 => input.bytes().map(Self::SyncStep1),
                STEP_2 => input.bytes().map(Self::SyncStep2),
                UPDATE => input.bytes().map(Self::Update),
                kind => Err(unknown("a sync message", kind)),
            },
            AWARENESS => input.bytes().map(Self::Awareness),
            AUTH => match input.number()? {
                PERMISSION_DENIED => input.text().map(Self::Denied),
                kind => Err(unknown("an auth message", kind)),
            },
            QUERY_AWARENESS => Ok(Self::QueryAwareness),
            kind => Err(unknown("a message", kind)),
        }
    }
}

/// Whether a frame begins with an update of the document.
pub fn is_update(frame: &[u8]) -> bool {
    let first = decode(frame).next();
    matches!(first, Some(Ok(Message::Update(_) | Message::SyncStep2(_))))
}

/// The messages of a frame in order. An error is the last item.
pub fn decode(frame: &[u8]) -> impl Iterator<Item = Result<Message<'_>, ProtocolError>> {
    let mut input = Some(Input(frame));
    std::iter::from_fn(move || {
        let rest = input.as_mut().filter(|input| !input.0.is_empty())?;
        let message = Message::read(rest);
        if message.is_err() {
            input = None;
        }
        Some(message)
    })
}

/// The states in an awareness message.
pub fn decode_awareness(bytes: &[u8]) -> Result<Vec<ClientState>, ProtocolError> {
    let mut input = Input(bytes);
    let count = input.number()?;
    // The count is not trusted: the list grows only with the states that are really there.
    let mut states = vec![];
    for _ in 0..count {
        states.push(ClientState {
            client: input.number()?,
            clock: input.number()?,
            state: input.text()?.to_owned(),
        });
    }
    input.end().map(|()| states)
}

/// The known clocks of each client: the content of a state vector.
pub type Clocks = HashMap<u64, u32>;

/// Encodes clocks as a state vector.
pub fn encode_state_vector(clocks: &Clocks) -> Vec<u8> {
    let mut bytes = vec![];
    write_number(&mut bytes, clocks.len() as u64);
    for (client, clock) in clocks {
        write_number(&mut bytes, *client);
        write_number(&mut bytes, (*clock).into());
    }
    bytes
}

/// Decodes the clocks of a state vector.
pub fn decode_state_vector(bytes: &[u8]) -> Result<Clocks, ProtocolError> {
    let mut input = Input(bytes);
    let count = input.number()?;
    // The count is not trusted: the map grows only with the clocks that are really there.
    let mut clocks = Clocks::new();
    for _ in 0..count {
        let client = input.number()?;
        let clock = u32::try_from(input.number()?).map_err(|_| ProtocolError::NumberTooLarge)?;
        clocks.insert(client, clock);
    }
    input.end().map(|()| clocks)
}

/// Encodes states as the content of an awareness message.
pub fn encode_awareness<'a>(states: impl ExactSizeIterator<Item = &'a ClientState>) -> Vec<u8> {
    let mut bytes = vec![];
    write_number(&mut bytes, states.len() as u64);
    for ClientState {
        client,
        clock,
        state,
    } in states
    {
        write_number(&mut bytes, *client);
        write_number(&mut bytes, *clock);
        write_bytes(&mut bytes, state.as_bytes());
    }
    bytes
}

/// The unread rest of the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, ProtocolError> {
        let (first, rest) = self.0.split_first().ok_or(ProtocolError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, ProtocolError> {
        let mut number = 0;
        // Eight bytes hold 56 bits, which is more than the allowed maximum.
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return match number {
                    0..=MAX_NUMBER => Ok(number),
                    _ => Err(ProtocolError::NumberTooLarge),
                };
            }
        }
        Err(ProtocolError::NumberTooLarge)
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], ProtocolError> {
        let length = usize::try_from(length).map_err(|_| ProtocolError::Truncated)?;
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ProtocolError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = self.number()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, ProtocolError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtocolError::NotUtf8)
    }

    pub(super) fn end(self) -> Result<(), ProtocolError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(ProtocolError::LeftOver),
        }
    }
}

fn unknown(what: &'static str, kind: u64) -> ProtocolError {
    ProtocolError::UnknownType { what, kind }
}

fn sync(frame: &mut Vec<u8>, kind: u64, bytes: &[u8]) {
    write_number(frame, SYNC);
    write_number(frame, kind);
    write_bytes(frame, bytes);
}

pub(super) fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn write_bytes(bytes: &mut Vec<u8>, what: &[u8]) {
    write_number(bytes, what.len() as u64);
    bytes.extend_from_slice(what);
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index, test_runner::TestCaseError};

    use super::*;
    use crate::collab::fuzzing;

    fn messages(frame: &[u8]) -> Result<Vec<Message<'_>>, ProtocolError> {
        decode(frame).collect()
    }

    #[test]
    fn messages_are_laid_out_as_y_websocket_lays_them_out() {
        for (message, frame) in [
            (Message::SyncStep1(&[0]), &[0, 0, 1, 0][..]),
            (Message::SyncStep2(&[0, 0]), &[0, 1, 2, 0, 0]),
            (Message::Update(&[7; 3]), &[0, 2, 3, 7, 7, 7]),
            (Message::Awareness(&[0]), &[1, 1, 0]),
            (Message::Denied("no"), &[2, 0, 2, b'n', b'o']),
            (Message::QueryAwareness, &[3]),
        ] {
            assert_eq!(message.encode(), frame, "{message:?}");
            assert_eq!(messages(frame), Ok(vec![message]));
        }
    }

    #[test]
    fn several_messages_of_a_frame_are_all_read() {
        let frame = [
            Message::SyncStep1(&[0]).encode(),
            Message::QueryAwareness.encode(),
            Message::Update(&[1, 2]).encode(),
        ]
        .concat();
        assert_eq!(messages(&frame).map(|all| all.len()), Ok(3));
    }

    #[test]
    fn a_frame_that_is_cut_anywhere_but_between_messages_is_refused() {
        let state = ClientState {
            client: 1 << 31,
            clock: 300,
            state: "{}".into(),
        };
        let awareness = encode_awareness([&state].into_iter());
        for message in [
            Message::SyncStep2(&[9; 200]),
            Message::Awareness(&awareness),
            Message::Denied("ä"),
        ] {
            let frame = message.encode();
            for cut in 1..frame.len() {
                assert_eq!(messages(&frame[..cut]), Err(ProtocolError::Truncated));
            }
        }
        for cut in 0..awareness.len() {
            assert_eq!(
                decode_awareness(&awareness[..cut]),
                Err(ProtocolError::Truncated)
            );
        }
        assert_eq!(
            decode_awareness(&[&awareness[..], &[0]].concat()),
            Err(ProtocolError::LeftOver)
        );
    }

    #[test]
    fn hostile_numbers_reserve_nothing_and_are_refused() {
        // A length of 2^53 - 1, and one above it.
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let frame = [&[0, 2][..], &largest].concat();
        assert_eq!(messages(&frame), Err(ProtocolError::Truncated));
        let above = [0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x10];
        assert_eq!(messages(&above), Err(ProtocolError::NumberTooLarge));
        assert_eq!(messages(&[0xff; 64]), Err(ProtocolError::NumberTooLarge));
        assert_eq!(decode_awareness(&largest), Err(ProtocolError::Truncated));
        assert_eq!(messages(&[9]), Err(unknown("a message", 9)));
        assert_eq!(messages(&[0, 3]), Err(unknown("a sync message", 3)));
        assert_eq!(messages(&[2, 1]), Err(unknown("an auth message", 1)));
        assert_eq!(messages(&[2, 0, 1, 0xff]), Err(ProtocolError::NotUtf8));
    }

    proptest! {
        #[test]
        fn awareness_survives_encoding_and_decoding(
            states in prop::collection::vec((0..=MAX_NUMBER, 0..=MAX_NUMBER, ".{0,40}"), 0..9)
        ) {
            let states = states
                .into_iter()
                .map(|(client, clock, state)| ClientState { client, clock, state })
                .collect::<Vec<_>>();
            prop_assert_eq!(decode_awareness(&encode_awareness(states.iter())), Ok(states));
        }
    }

    /// Decoding and encoding again restores the input, except for longer forms of the same numbers.
    fn is_read_to_its_end_or_refused(frame: &[u8]) -> Result<(), TestCaseError> {
        let Ok(all) = messages(frame) else {
            return Ok(());
        };
        let again = all.iter().flat_map(Message::encode).collect::<Vec<_>>();
        prop_assert!(again.len() <= frame.len());
        for message in &all {
            if let Message::Awareness(states) = message
                && let Ok(read) = decode_awareness(states)
            {
                prop_assert_eq!(decode_awareness(&encode_awareness(read.iter())), Ok(read));
            }
        }
        prop_assert_eq!(messages(&again), Ok(all));
        Ok(())
    }

    /// One frame of each kind, and one with all of them.
    fn real_frames() -> Vec<Vec<u8>> {
        let state = |client, clock, state: &str| ClientState {
            client,
            clock,
            state: state.to_owned(),
        };
        let states = [
            state(1 << 31, 300, r#"{"user":{"name":"Ada"}}"#),
            state(7, 1, GONE),
        ];
        let awareness = encode_awareness(states.iter());
        let mut frames: Vec<Vec<u8>> = [
            Message::SyncStep1(&[1, 7, 200, 1]),
            Message::SyncStep2(&[9; 200]),
            Message::Update(&[0, 0]),
            Message::Awareness(&awareness),
            Message::QueryAwareness,
            Message::Denied("ä"),
        ]
        .iter()
        .map(Message::encode)
        .collect();
        frames.push(frames.concat());
        frames
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(fuzzing::cases()))]

        #[test]
        fn any_bytes_are_read_to_their_end_or_refused(frame in prop::collection::vec(any::<u8>(), 0..64)) {
            is_read_to_its_end_or_refused(&frame)?;
            let _ = decode_awareness(&frame);
        }

        #[test]
        fn mutated_frames_are_read_to_their_end_or_refused(
            which in any::<Index>(),
            changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..5),
            cut in prop::option::of(any::<Index>()),
        ) {
            let frames = real_frames();
            let mut frame = frames[which.index(frames.len())].clone();
            for (place, byte) in changes {
                let place = place.index(frame.len());
                frame[place] = byte;
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len() + 1));
            }
            is_read_to_its_end_or_refused(&frame)?;
        }
    }
}
