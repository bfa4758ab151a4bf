//! Describes binary frames in words, for the inspector.

use crate::collab::protocol::{Message, decode, decode_awareness};

/// The messages of a frame, one per line.
pub(super) fn describe(frame: &[u8]) -> String {
    let lines = decode(frame).map(|message| match message {
        Ok(message) => in_words(&message),
        Err(error) => format!("not readable: {error}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn in_words(message: &Message) -> String {
    match message {
        Message::SyncStep1(bytes) => format!(
            "sync step 1: what I have, a state vector of {} bytes",
            bytes.len()
        ),
        Message::SyncStep2(bytes) => format!(
            "sync step 2: what you lack, an update of {} bytes",
            bytes.len()
        ),
        Message::Update(bytes) => format!("sync update: an edit of {} bytes", bytes.len()),
        Message::Awareness(bytes) => match decode_awareness(bytes) {
            Ok(states) => {
                let states = states.iter().map(|state| {
                    format!(
                        "\n  client {} at clock {}: {}",
                        state.client, state.clock, state.state
                    )
                });
                format!("awareness: who is there{}", states.collect::<String>())
            }
            Err(error) => format!("awareness that is not readable: {error}"),
        },
        Message::Denied(why) => format!("denied: {why}"),
        Message::QueryAwareness => "query awareness: who is there?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collab::protocol::{ClientState, encode_awareness};

    #[test]
    fn every_message_of_a_frame_is_described() {
        let frame = [
            Message::SyncStep1(&[0]).encode(),
            Message::Update(&[1, 2, 3]).encode(),
        ]
        .concat();
        assert_eq!(
            describe(&frame),
            "sync step 1: what I have, a state vector of 1 bytes\nsync update: an edit of 3 bytes"
        );
    }

    #[test]
    fn awareness_shows_its_states() {
        let ada = ClientState {
            client: 7,
            clock: 2,
            state: r#"{"user":{"name":"Ada"}}"#.into(),
        };
        let frame = Message::Awareness(&encode_awareness([&ada].into_iter())).encode();
        assert!(describe(&frame).contains(r#"client 7 at clock 2: {"user":{"name":"Ada"}}"#));
    }

    #[test]
    fn an_unreadable_frame_is_described_too() {
        assert!(describe(&[0, 2, 200]).starts_with("not readable: "));
    }
}
