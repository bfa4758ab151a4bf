use serde_json::json;

use super::*;
use crate::contract::{Refusal, assert_names};

type Command = ChannelCommand<String>;
type Event = ChannelEvent<String>;

#[test]
fn the_names_of_the_ready_made_messages_equal_their_tags() {
    assert_names::<Command>();
    assert_names::<Event>();
}

#[test]
fn the_ready_made_messages_are_spelled_flat() {
    let id = "0192A5B4-9C1E-7DEF-8ABC-0123456789AB";
    let spelled: SpelledId = id.parse().unwrap();
    let epoch = Epoch::new("k3j9x0").unwrap();
    let channel = || "lobby".to_owned();
    let commands = [
        (
            Command::Join {
                channel: channel(),
                after: Some(Position::new(epoch.clone(), 7)),
            },
            json!({"type": "join", "channel": "lobby", "after": {"epoch": "k3j9x0", "offset": 7}}),
        ),
        (
            Command::Send {
                id: spelled.clone(),
                channel: channel(),
                message: "hello".into(),
            },
            json!({"type": "send", "id": id, "channel": "lobby", "message": "hello"}),
        ),
    ];
    for (command, json) in commands {
        assert_eq!(serde_json::to_value(&command).unwrap(), json);
        assert_eq!(serde_json::from_value::<Command>(json).unwrap(), command);
    }
    let events = [
        (
            Event::Joined {
                channel: channel(),
                joined: Joined {
                    epoch,
                    head: 8,
                    recovered: true,
                    replayed: 1,
                },
                members: vec!["Ada".into()],
            },
            json!({"type": "joined", "channel": "lobby", "epoch": "k3j9x0", "head": 8, "recovered": true, "replayed": 1,
                "members": ["Ada"]}),
        ),
        (
            Event::Message {
                channel: channel(),
                entry: Entry {
                    offset: 8,
                    id: spelled.clone(),
                    at: 5,
                    message: "hello".into(),
                },
            },
            json!({"type": "message", "channel": "lobby", "offset": 8, "id": id, "at": 5, "message": "hello"}),
        ),
        (
            Event::Ack {
                channel: channel(),
                ack: Ack {
                    id: spelled,
                    offset: 8,
                    at: 5,
                },
            },
            json!({"type": "ack", "channel": "lobby", "id": id, "offset": 8, "at": 5}),
        ),
    ];
    for (event, json) in events {
        assert_eq!(serde_json::to_value(&event).unwrap(), json);
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }
}

#[test]
fn a_send_before_the_join_stays_in_the_outbox() {
    assert_eq!(Refusal::of(&NOT_JOINED), Refusal::Keep);
    assert_eq!(Refusal::of(&TOO_MANY_CHANNELS), Refusal::Fail);
}
