//! Tests the whole contract on one screen: one line for every message, so that it does not change by accident.

use std::fmt::Debug;

use realtime::{
    channel::{ChannelContract, NOT_JOINED},
    contract::{SocketContract, StreamContract, assert_names},
    message::{ErrorCode, Hello, Limits, SocketControl, SocketError, SocketRequest, StreamControl},
    position::{Epoch, Position},
    strum::VariantNames,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;
use wirewise::{
    chat::message::{
        ChatCommand, ChatEvent, ChatMessage, ChatSocket, ChatWelcome, Joined, ReadMark,
        TOO_MANY_ROOMS,
    },
    collab::message::{BoardCommand, BoardEvent, BoardSocket, BoardWelcome, Peer, READ_ONLY},
    inspector::counterpart::{
        CompareCommand, CompareEvent, CompareEvents, CompareNote, CompareSocket, CompareWelcome,
    },
    progress::message::{
        JobEvent, JobEvents, JobStatus, Progress, RaceCommand, RaceEvent, RaceEvents, RaceSocket,
    },
    session::User,
    ticker::message::{FeedStatus, Quote, TickerEvent, TickerEvents},
};

const ID: &str = "00000000-0000-0000-0000-000000000007";

fn id() -> Uuid {
    Uuid::from_u128(7)
}

fn epoch() -> Epoch {
    Epoch::new("k3j9x0").unwrap()
}

fn ada() -> User {
    User::new(id(), "Ada".into())
}

fn ada_json() -> Value {
    json!({ "id": ID, "name": "Ada", "color": ada().color })
}

/// Checks that a value encodes to exactly this JSON, and decodes back.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    lines: impl IntoIterator<Item = (T, Value)>,
) -> Vec<String> {
    let check = |(message, expected): (T, Value)| {
        assert_eq!(serde_json::to_value(&message).unwrap(), expected);
        assert_eq!(
            serde_json::from_value::<T>(expected.clone()).unwrap(),
            message
        );
        expected["type"].as_str().unwrap_or_default().to_owned()
    };
    lines.into_iter().map(check).collect()
}

#[test]
fn kit_of_streams() {
    let hello = Hello {
        connection: "c0ffee".into(),
        epoch: epoch(),
        offset: 17,
        recovered: true,
        replayed: 3,
        heartbeat_ms: 15_000,
        connections: 2,
    };
    golden([
        (
            StreamControl::Hello(hello),
            json!({"type":"hello","connection":"c0ffee","epoch":"k3j9x0","offset":17,"recovered":true,"replayed":3,"heartbeat_ms":15000,"connections":2}),
        ),
        (
            StreamControl::Heartbeat {
                at: 5,
                connections: 2,
            },
            json!({"type":"heartbeat","at":5,"connections":2}),
        ),
        (
            StreamControl::Drain { retry_ms: 1_234 },
            json!({"type":"drain","retry_ms":1234}),
        ),
    ]);
}

#[test]
fn kit_of_sockets() {
    let limits = Limits {
        text_bytes: 65_536,
        binary_bytes: 0,
        messages_per_second: 20,
    };
    let welcome = |feature| SocketControl::Welcome {
        connection: "c0ffee".into(),
        heartbeat_ms: 30_000,
        connections: 2,
        limits: limits.clone(),
        feature,
    };
    let error = SocketError::new(ErrorCode::RateLimited, "Slowly.").about("x");
    let mut error = ChatSocket::in_channel(error, "lobby");
    assert_eq!(ChatSocket::channel_of(&error), Some("lobby"));
    error.retry_after_ms = Some(50);
    golden([
        (
            welcome(ChatWelcome { user: ada() }),
            json!({"type":"welcome","connection":"c0ffee","heartbeat_ms":30000,"connections":2,"limits":{"text_bytes":65536,"binary_bytes":0,"messages_per_second":20},"user":ada_json()}),
        ),
        (
            SocketControl::Pong {
                at: serde_json::Number::from_f64(1.5).unwrap(),
                server_at: 5,
                connections: 2,
            },
            json!({"type":"pong","at":1.5,"server_at":5,"connections":2}),
        ),
        (
            SocketControl::Error(error),
            json!({"type":"error","code":"rate_limited","message":"Slowly.","re":"x","room":"lobby","retry_after_ms":50}),
        ),
        (
            SocketControl::Error(SocketError::new(ErrorCode::Malformed, "No.")),
            json!({"type":"error","code":"malformed","message":"No."}),
        ),
        (
            SocketControl::Drain { retry_ms: 1_234 },
            json!({"type":"drain","retry_ms":1234}),
        ),
    ]);
    let peer = Peer {
        id: 3,
        user: ada(),
        x: Some(0.5),
        y: Some(0.25),
    };
    golden([(
        SocketControl::Welcome {
            connection: "c0ffee".into(),
            heartbeat_ms: 30_000,
            connections: 2,
            limits,
            feature: BoardWelcome {
                user: ada(),
                you: 4,
                peers: vec![peer],
                tick_ms: 33,
            },
        },
        json!({"type":"welcome","connection":"c0ffee","heartbeat_ms":30000,"connections":2,"limits":{"text_bytes":65536,"binary_bytes":0,"messages_per_second":20},"user":ada_json(),"you":4,"peers":[{"id":3,"user":ada_json(),"x":0.5,"y":0.25}],"tick_ms":33}),
    )]);
    golden([(
        SocketRequest::Ping {
            at: serde_json::Number::from_f64(1.5).unwrap(),
        },
        json!({"type":"ping","at":1.5}),
    )]);
    let codes = [
        ErrorCode::Malformed,
        ErrorCode::UnknownType,
        ErrorCode::InvalidField,
        NOT_JOINED,
        ErrorCode::RateLimited,
        TOO_MANY_ROOMS,
        ErrorCode::Unavailable,
        READ_ONLY,
    ];
    let words = json!([
        "malformed",
        "unknown_type",
        "invalid_field",
        "not_joined",
        "rate_limited",
        "too_many_rooms",
        "unavailable",
        "read_only"
    ]);
    assert_eq!(serde_json::to_value(&codes).unwrap(), words);
    assert_eq!(
        serde_json::from_value::<[ErrorCode; 8]>(words).unwrap(),
        codes
    );
}

#[test]
fn ticker() {
    let quote = Quote {
        symbol: "ACME".into(),
        price: 182.4,
        change: -1.5,
        change_percent: -0.82,
        volume: 1_250.0,
        at: 5,
    };
    let tags = golden([
        (
            TickerEvent::Snapshot {
                quotes: vec![quote.clone()],
            },
            json!({"type":"snapshot","quotes":[{"symbol":"ACME","price":182.4,"change":-1.5,"change_percent":-0.82,"volume":1250.0,"at":5}]}),
        ),
        (
            TickerEvent::Price(quote),
            json!({"type":"price","symbol":"ACME","price":182.4,"change":-1.5,"change_percent":-0.82,"volume":1250.0,"at":5}),
        ),
        (
            TickerEvent::Feed {
                status: FeedStatus::Stale,
                since: 5,
            },
            json!({"type":"feed","status":"stale","since":5}),
        ),
    ]);
    assert_eq!(tags, TickerEvent::VARIANTS);
    let some = TickerEvents {
        symbols: Some(vec!["ACME".into(), "INIT".into()]),
        added: vec!["INIT".into()],
    };
    assert_eq!(
        some.url(),
        "/api/ticker/events?symbols=ACME,INIT&added=INIT"
    );
    assert_eq!(TickerEvents::default().url(), TickerEvents::ROUTE);
}

#[test]
fn progress() {
    let progress = Progress {
        status: JobStatus::Running,
        done: 3,
        total: Some(10),
        unit: "steps".into(),
        eta_ms: None,
        note: "step 3".into(),
    };
    let tags = golden([
        (
            JobEvent::State(progress.clone()),
            json!({"type":"state","status":"running","done":3,"total":10,"unit":"steps","eta_ms":null,"note":"step 3"}),
        ),
        (
            JobEvent::Progress(progress),
            json!({"type":"progress","status":"running","done":3,"total":10,"unit":"steps","eta_ms":null,"note":"step 3"}),
        ),
        (
            JobEvent::Done {
                result: json!({"steps":10}),
            },
            json!({"type":"done","result":{"steps":10}}),
        ),
        (
            JobEvent::Failed {
                error: "No.".into(),
            },
            json!({"type":"failed","error":"No."}),
        ),
        (JobEvent::Cancelled, json!({"type":"cancelled"})),
    ]);
    assert_eq!(tags, JobEvent::VARIANTS);
    assert_eq!(
        JobEvents { id: id() }.url(),
        JobEvents::ROUTE.replace("{id}", ID)
    );
    let all = [
        JobStatus::Queued,
        JobStatus::Running,
        JobStatus::Done,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];
    assert_eq!(
        serde_json::to_value(all).unwrap(),
        json!(["queued", "running", "done", "failed", "cancelled"])
    );
}

#[test]
fn race() {
    let payload = RaceEvent::Payload {
        data: "0000000000000000".into(),
    };
    let tags = golden([(payload, json!({"type":"payload","data":"0000000000000000"}))]);
    assert_eq!(tags, <RaceEvents as StreamContract>::Event::VARIANTS);
    assert_eq!(tags, <RaceSocket as SocketContract>::Event::VARIANTS);
    assert!(RaceCommand::VARIANTS.is_empty());
    let lane = id();
    assert_eq!(
        RaceEvents { lane }.url(),
        RaceEvents::ROUTE.replace("{lane}", ID)
    );
    assert_eq!(
        RaceSocket { lane }.url(),
        RaceSocket::ROUTE.replace("{lane}", ID)
    );
}

#[test]
fn chat() {
    let room = || "lobby".to_owned();
    let after = Position::new(epoch(), 17);
    let commands = golden([
        (
            ChatCommand::Join {
                room: room(),
                after: Some(after),
            },
            json!({"type":"join","room":"lobby","after":{"epoch":"k3j9x0","offset":17}}),
        ),
        (
            ChatCommand::Leave { room: room() },
            json!({"type":"leave","room":"lobby"}),
        ),
        (
            ChatCommand::Send {
                id: id().into(),
                room: room(),
                text: "Hello".into(),
            },
            json!({"type":"send","id":ID,"room":"lobby","text":"Hello"}),
        ),
        (
            ChatCommand::Typing { room: room() },
            json!({"type":"typing","room":"lobby"}),
        ),
        (
            ChatCommand::Read {
                room: room(),
                offset: 17,
            },
            json!({"type":"read","room":"lobby","offset":17}),
        ),
        (
            ChatCommand::History {
                room: room(),
                before: 17,
                limit: 50,
            },
            json!({"type":"history","room":"lobby","before":17,"limit":50}),
        ),
    ]);
    assert_eq!(commands, ChatCommand::VARIANTS);
    golden([(
        ChatCommand::Join {
            room: room(),
            after: None,
        },
        json!({"type":"join","room":"lobby"}),
    )]);
    let message = ChatMessage {
        offset: 18,
        id: id().into(),
        from: ada(),
        text: "Hello".into(),
        at: 5,
    };
    let message_json = json!({"offset":18,"id":ID,"from":ada_json(),"text":"Hello","at":5});
    let joined = Joined {
        room: room(),
        epoch: epoch(),
        head: 18,
        recovered: true,
        replayed: 1,
        unread: 1,
        members: vec![ada()],
        read: vec![ReadMark {
            user_id: id(),
            offset: 17,
        }],
    };
    let events = golden([
        (
            ChatEvent::Joined(joined),
            json!({"type":"joined","room":"lobby","epoch":"k3j9x0","head":18,"recovered":true,"replayed":1,"unread":1,"members":[ada_json()],"read":[{"user_id":ID,"offset":17}]}),
        ),
        (
            ChatEvent::Message {
                room: room(),
                message: message.clone(),
            },
            json!({"type":"message","room":"lobby","offset":18,"id":ID,"from":ada_json(),"text":"Hello","at":5}),
        ),
        (
            ChatEvent::Ack {
                id: id().into(),
                room: room(),
                offset: 18,
                at: 5,
            },
            json!({"type":"ack","id":ID,"room":"lobby","offset":18,"at":5}),
        ),
        (
            ChatEvent::UserJoined {
                room: room(),
                user: ada(),
            },
            json!({"type":"user_joined","room":"lobby","user":ada_json()}),
        ),
        (
            ChatEvent::UserLeft {
                room: room(),
                user_id: id(),
            },
            json!({"type":"user_left","room":"lobby","user_id":ID}),
        ),
        (
            ChatEvent::Typing {
                room: room(),
                user_id: id(),
            },
            json!({"type":"typing","room":"lobby","user_id":ID}),
        ),
        (
            ChatEvent::Read {
                room: room(),
                user_id: id(),
                offset: 18,
            },
            json!({"type":"read","room":"lobby","user_id":ID,"offset":18}),
        ),
        (
            ChatEvent::History {
                room: room(),
                messages: vec![message],
                more: false,
            },
            json!({"type":"history","room":"lobby","messages":[message_json],"more":false}),
        ),
    ]);
    assert_eq!(events, ChatEvent::VARIANTS);
    assert_eq!(ChatSocket.url(), ChatSocket::ROUTE);
}

#[test]
fn collab() {
    let commands = golden([
        (
            BoardCommand::Move { x: 0.5, y: 0.25 },
            json!({"type":"move","x":0.5,"y":0.25}),
        ),
        (BoardCommand::Hide, json!({"type":"hide"})),
    ]);
    assert_eq!(commands, BoardCommand::VARIANTS);
    let peer = Peer {
        id: 3,
        user: ada(),
        x: None,
        y: None,
    };
    let events = golden([
        (
            BoardEvent::Joined { peer },
            json!({"type":"joined","peer":{"id":3,"user":ada_json()}}),
        ),
        (
            BoardEvent::Moved {
                moves: vec![(3, 0.5, 0.25)],
            },
            json!({"type":"moved","moves":[[3,0.5,0.25]]}),
        ),
        (
            BoardEvent::Hidden { id: 3 },
            json!({"type":"hidden","id":3}),
        ),
        (BoardEvent::Left { id: 3 }, json!({"type":"left","id":3})),
        (
            BoardEvent::Saved {
                state_vector: "AQEB".into(),
                updates: 7,
            },
            json!({"type":"saved","state_vector":"AQEB","updates":7}),
        ),
    ]);
    assert_eq!(events, BoardEvent::VARIANTS);
    let mut welcome = BoardSocket {
        document: "welcome".into(),
        readonly: false,
    };
    let url = BoardSocket::ROUTE.replace("{doc}", "welcome");
    assert_eq!(welcome.url(), url);
    welcome.readonly = true;
    assert_eq!(welcome.url(), format!("{url}?readonly=1"));
}

#[test]
fn compare() {
    let pulse = CompareEvent::Pulse {
        sequence: 18,
        sent_us: 1_700_000_000_000_001,
    };
    let events = golden([(
        pulse,
        json!({"type":"pulse","sequence":18,"sent_us":1_700_000_000_000_001_u64}),
    )]);
    assert_eq!(events, <CompareEvents as StreamContract>::Event::VARIANTS);
    assert_eq!(events, <CompareSocket as SocketContract>::Event::VARIANTS);
    assert!(CompareCommand::VARIANTS.is_empty());
    golden([(CompareWelcome {}, json!({}))]);
    let note = CompareNote::Note { text: "x".into() };
    assert_eq!(
        golden([(note, json!({"type":"note","text":"x"}))]),
        ["note"]
    );
    assert_eq!(CompareEvents.url(), CompareEvents::ROUTE);
    assert_eq!(CompareSocket.url(), CompareSocket::ROUTE);
}

#[test]
fn the_names_of_all_messages_are_their_serde_tags() {
    assert_names::<TickerEvent>();
    assert_names::<JobEvent>();
    assert_names::<RaceCommand>();
    assert_names::<RaceEvent>();
    assert_names::<ChatCommand>();
    assert_names::<ChatEvent>();
    assert_names::<BoardCommand>();
    assert_names::<BoardEvent>();
    assert_names::<CompareCommand>();
    assert_names::<CompareEvent>();
}

#[test]
fn states_are_the_documented_ones() {
    let feed = TickerEvent::Feed {
        status: FeedStatus::Live,
        since: 5,
    };
    let snapshot = TickerEvent::Snapshot { quotes: vec![] };
    let quote =
        json!({"symbol":"ACME","price":1.0,"change":0.0,"change_percent":0.0,"volume":0.0,"at":5});
    let price = TickerEvent::Price(serde_json::from_value(quote).unwrap());
    assert_eq!(
        [snapshot, feed, price].map(|event| TickerEvents::is_state(&event)),
        [true, true, false]
    );
    let progress = Progress {
        status: JobStatus::Running,
        done: 3,
        total: None,
        unit: "steps".into(),
        eta_ms: None,
        note: String::new(),
    };
    let (state, step) = (
        JobEvent::State(progress.clone()),
        JobEvent::Progress(progress),
    );
    assert_eq!(
        [state, step, JobEvent::Cancelled].map(|event| JobEvents::is_state(&event)),
        [true, false, false]
    );
}

#[test]
fn no_event_of_a_stream_collides_with_event_source_itself() {
    let streams = [
        TickerEvent::VARIANTS,
        JobEvent::VARIANTS,
        CompareEvent::VARIANTS,
    ];
    for name in streams.concat() {
        assert!(
            !["error", "open", "message", "hello", "heartbeat", "drain"].contains(&name),
            "{name}"
        );
    }
}
