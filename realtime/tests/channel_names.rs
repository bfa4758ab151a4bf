//! A contract with names of its own, as a chat has them: its rooms are channels.

#![cfg(feature = "ssr")]
#![allow(
    clippy::unwrap_used,
    reason = "in a test an unwrap is an assertion, in its helpers too"
)]

use std::sync::Arc;

use realtime::{
    channel::{Ack, ChannelContract, Entry, Meaning},
    id::SpelledId,
    message::SocketError,
    prelude::*,
    server::channel::{
        Channel, Entered, MemoryLog, Seat, Start,
        joined::{ChannelHandler, ChannelOf, JoinedChannels},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(crate = "realtime::strum", serialize_all = "snake_case")]
enum Command {
    Join {
        room: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Position>,
    },
    Leave {
        room: String,
    },
    Send {
        id: SpelledId,
        room: String,
        text: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(crate = "realtime::strum", serialize_all = "snake_case")]
enum Event {
    Joined {
        room: String,
        #[serde(flatten)]
        joined: realtime::channel::Joined,
        unread: usize,
    },
    Message {
        room: String,
        offset: u64,
        id: SpelledId,
        text: String,
    },
    Ack {
        id: SpelledId,
        room: String,
        offset: u64,
        at: u64,
    },
}

#[derive(Clone, PartialEq)]
struct Chat;

impl SocketContract for Chat {
    const NAME: &'static str = "chat";
    const ROUTE: &'static str = "/api/chat/socket";
    const SUBPROTOCOL: &'static str = "chat.v1";
    type Welcome = ();
    type Command = Command;
    type Event = Event;
}

impl ChannelContract for Chat {
    const CHANNEL: &'static str = "room";

    type Draft = String;
    type Message = String;

    fn join(room: &str, after: Option<Position>) -> Command {
        let room = room.to_owned();
        Command::Join { room, after }
    }

    fn leave(room: &str) -> Command {
        let room = room.to_owned();
        Command::Leave { room }
    }

    fn send(room: &str, id: Uuid, text: String) -> Command {
        let (id, room) = (id.into(), room.to_owned());
        Command::Send { id, room, text }
    }

    fn message(room: &str, entry: &Entry<String>) -> Event {
        Event::Message {
            room: room.to_owned(),
            offset: entry.offset,
            id: entry.id.clone(),
            text: entry.message.clone(),
        }
    }

    fn ack(room: &str, ack: Ack) -> Event {
        let Ack { id, offset, at } = ack;
        let room = room.to_owned();
        Event::Ack {
            id,
            room,
            offset,
            at,
        }
    }

    fn meaning(event: &Event) -> Option<(&str, Meaning)> {
        Some(match event {
            Event::Joined { room, joined, .. } => (room, Meaning::Joined(joined.clone())),
            Event::Message { room, offset, .. } => {
                let offset = *offset;
                (room, Meaning::Message { offset })
            }
            Event::Ack {
                room, id, offset, ..
            } => {
                let (id, offset) = (id.value(), *offset);
                (room, Meaning::Ack { id, offset })
            }
        })
    }
}

type Room = Channel<Chat, MemoryLog<String>>;

struct Member(Arc<Room>);

impl ChannelHandler for Member {
    type Contract = Chat;
    type Log = MemoryLog<String>;
    type State = ();

    async fn open(&self, _name: &str) -> Result<Arc<ChannelOf<Self>>, SocketError> {
        Ok(self.0.clone())
    }

    async fn enter(
        &self,
        room: &Arc<ChannelOf<Self>>,
        seat: Seat<'_>,
        start: &Start,
    ) -> Result<Entered, SocketError> {
        Ok(room.enter(seat, start, |(), _, joined| {
            vec![Event::Joined {
                room: room.name().to_owned(),
                joined,
                unread: 7,
            }]
        }))
    }
}

async fn texts(queue: &OutQueue) -> Vec<Value> {
    let messages = queue.take().await.messages;
    let texts = messages.iter().map(|message| message.to_text().unwrap());
    texts
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

#[tokio::test]
async fn the_names_of_the_messages_are_those_of_the_contract() {
    let room = Room::open("lobby", MemoryLog::new(10), ()).await.unwrap();
    tokio::spawn(room.follow());
    let queue = OutQueue::default();
    let mut joined = JoinedChannels::new(Member(room.clone()), queue.clone());
    let id: SpelledId = "0192A5B4-9C1E-7DEF-8ABC-0123456789AB".parse().unwrap();
    let early = joined.send("lobby", &id, || Ok("early".into())).await;
    let early = early.unwrap_err();
    assert_eq!(early.context["room"], "lobby");
    assert_eq!(Chat::channel_of(&early), Some("lobby"));
    joined.join("lobby", None).await.unwrap();
    let epoch = room.start(None, 1).await.unwrap().joined.epoch;
    assert_eq!(
        texts(&queue).await,
        [
            json!({"type": "joined", "room": "lobby", "epoch": epoch.as_str(), "head": 0, "recovered": false, "replayed": 0,
                "unread": 7})
        ]
    );
    joined
        .send("lobby", &id, || Ok("hello".into()))
        .await
        .unwrap();
    let [message, ack] = &*texts(&queue).await else {
        panic!("a message and its acknowledgement");
    };
    let spelled = id.to_string();
    assert_eq!(
        *message,
        json!({"type": "message", "room": "lobby", "offset": 1, "id": spelled, "text": "hello"})
    );
    let at = &ack["at"];
    assert_eq!(
        *ack,
        json!({"type": "ack", "id": spelled, "room": "lobby", "offset": 1, "at": at})
    );
}
