//! Tests of decoding, and of a socket whose component is gone.

use std::cell::Cell;

use serde::Serialize;

use super::*;

#[derive(Clone, PartialEq)]
struct Echo;

/// The command is valid, but it was sent too early.
const NOT_READY: ErrorCode = ErrorCode::other("not_ready");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
enum Say {
    Say { text: String },
}

impl SocketContract for Echo {
    const NAME: &'static str = "echo";
    const ROUTE: &'static str = "/api/echo";
    const SUBPROTOCOL: &'static str = "echo.v1";
    type Welcome = ();
    type Command = Say;
    type Event = Say;

    fn after_refusal(code: &ErrorCode) -> Refusal {
        match *code == NOT_READY {
            true => Refusal::Keep,
            false => Refusal::of(code),
        }
    }
}

/// A socket that is never opened.
struct NoSocket;

impl Transport for NoSocket {
    fn open(&mut self, _driver: &Driver) {}

    fn abandon(&mut self) {}

    fn ping(&mut self, _now: f64) {}

    fn url(&self) -> String {
        Echo.url()
    }
}

/// Passes an inbound item to a socket. Returns the handler's event and the input of the state machine.
fn receive(inbound: Inbound) -> (SocketEvent<(), Say>, Result<Input, (String, String)>) {
    let owner = Owner::new();
    owner.with(|| {
        let policy = Policy {
            backoff: Backoff::DEFAULT,
            liveness: Liveness::Ping,
            max_attempts: None,
        };
        let driver = Signals::new().driver(policy, None, Box::new(NoSocket));
        let received = Rc::new(Cell::new(None));
        let event_cell = received.clone();
        let socket = use_socket(|| None::<Echo>, |_| {});
        let input = decoder(socket, move |event| event_cell.set(Some(event)))(&driver, inbound);
        (
            received.take().expect("the handler received an event"),
            input,
        )
    })
}

#[test]
fn a_page_receives_the_close_code_and_reason() {
    let (code, reason) = (1012, "restart".to_owned());
    let (event, input) = receive(Inbound::Closed {
        code,
        reason: reason.clone(),
    });
    let closed = Input::SocketClosed {
        code,
        reason: reason.clone(),
    };
    assert_eq!(event, SocketEvent::Closed { code, reason });
    assert_eq!(input, Ok(closed));
}

#[test]
fn a_page_receives_undecodable_messages_with_their_original_text() {
    for text in [
        r#"{"type":"dance"}"#,
        r#"{"type":"say"}"#,
        r#"{"type":"pong"}"#,
        "{",
        "",
    ] {
        let (event, input) = receive(Inbound::Text(text.into()));
        let text = text.to_owned();
        assert_eq!(event, SocketEvent::Undecoded { text });
        assert!(input.is_err());
    }
    let text = r#"{"type":"say","text":"Hello"}"#;
    let (event, _) = receive(Inbound::Text(text.into()));
    let said = Say::Say {
        text: "Hello".into(),
    };
    assert_eq!(event, SocketEvent::Event(said));
}

#[test]
fn a_socket_whose_component_is_gone_sends_nothing_and_does_not_panic() {
    let owner = Owner::new();
    let socket = owner.with(|| use_socket(|| Some(Echo), |_| {}));
    owner.cleanup();
    let (id, say) = (
        Uuid::from_u128(1),
        Say::Say {
            text: "Hello".into(),
        },
    );
    assert!(!socket.send(&say));
    assert!(!socket.send_binary(&[1]));
    assert!(!socket.send_unbounded(&say));
    assert!(!socket.send_binary_unbounded(&[1]));
    assert_eq!(socket.send_reliably(id, "lobby", say), Ok(()));
    socket.ready("lobby");
    socket.not_ready("lobby");
    assert!(socket.acknowledge(id).is_none());
    assert!(!socket.refused(&SocketError::new(ErrorCode::Unavailable, "Later.").about(id)));
    socket.flush();
}

#[test]
fn the_contract_decides_what_becomes_of_a_refused_command() {
    let id = Uuid::from_u128(1);
    let refused = |code| {
        let owner = Owner::new();
        owner.with(|| {
            let socket = use_socket(|| None::<Echo>, |_| {});
            let text = "Hello".into();
            // Not with `send_reliably`, which needs the clock of a browser.
            socket
                .outbox
                .update(|outbox| outbox.push(id, "lobby", Say::Say { text }).unwrap());
            let is_settled = socket.refused(&SocketError::new(code, "No.").about(id));
            let outbox = socket.outbox.get_untracked();
            let state = outbox.entries().next().map(|entry| entry.state.clone());
            (is_settled, state)
        })
    };
    let failed = || Some(EntryState::Failed("No.".into()));
    assert_eq!(refused(NOT_READY), (false, Some(EntryState::Waiting)));
    assert_eq!(refused(ErrorCode::other("too_late")), (false, failed()));
    assert_eq!(refused(ErrorCode::InvalidField), (false, failed()));
}

#[test]
fn a_connection_whose_component_is_gone_does_nothing() {
    let owner = Owner::new();
    let connection = owner.with(|| use_socket(|| Some(Echo), |_| {}).connection);
    owner.cleanup();
    connection.retry_now();
    connection.reconnect();
    connection.faults().cut();
    connection.close();
    connection.faults().go_offline(1);
    connection.observe(|_| {});
    assert_eq!(connection.url(), None);
}
