//! What pages send. Nothing can be clicked, so these components hand out what a button would use.

use std::{cell::RefCell, time::Duration};

use leptos::prelude::*;
use realtime::{
    message::{ErrorCode, SocketError},
    prelude::*,
    testing::test_page,
};

use super::{
    channel::{Post, Wall},
    socket::{Echo, EchoMessage},
};

const SECOND: Duration = Duration::from_secs(1);

/// The member of a channel under test, with a line for each message that is not acknowledged.
struct Member(RefCell<Option<ChannelHandle<Wall>>>);

impl Member {
    fn new() -> Self {
        Self(RefCell::new(None))
    }

    fn view(&self) -> impl IntoView + use<> {
        let options = SocketOptions::default().keep_outbox_as("wall-ada".to_owned());
        let wall = use_channel_with_options(|| Some(Wall), || "lobby".to_owned(), |_| {}, options);
        self.0.replace(Some(wall));
        move || {
            wall.socket
                .outbox
                .with(|outbox| format!("{} unsent", outbox.waiting()))
        }
    }

    fn send(&self, text: &str) {
        let wall = self.0.borrow().unwrap();
        wall.send(text.to_owned()).unwrap();
    }
}

fn post(text: &str) -> Post {
    let author = "Ada".into();
    let text = text.into();
    Post { author, text }
}

#[test]
fn a_message_is_kept_across_a_cut_and_stored_once() {
    let member = Member::new();
    test_page(
        || member.view(),
        |page, server| {
            page.act(|| member.send("early"));
            assert_eq!(page.text(), "1 unsent");
            let socket = server.accept_socket::<Wall>();
            socket.welcome(());
            let lobby = socket.accept_join("lobby");
            assert_eq!(socket.received(), None, "it waits for the answer");
            lobby.joined(&[]);
            let (id, text) = lobby.received().unwrap();
            assert_eq!(text, "early");
            // It is stored, but the acknowledgement is lost.
            let ack = lobby.store(id, &post("early"));
            socket.cut();
            assert_eq!(page.text(), "1 unsent");

            server.advance(SECOND);
            let socket = server.accept_socket::<Wall>();
            socket.welcome(());
            let lobby = socket.accept_join("lobby");
            lobby.resumed(&[]);
            assert_eq!(lobby.received().unwrap().0, id, "the same id");
            assert_eq!(lobby.received(), None);
            lobby.acknowledge(ack);
            assert_eq!(page.text(), "0 unsent");
            server.advance(60 * SECOND);
            assert_eq!(lobby.received(), None, "it is not sent again");
        },
    );
}

#[test]
fn a_message_survives_a_reload_and_a_refusal() {
    let member = Member::new();
    test_page(
        || member.view(),
        |page, server| {
            page.act(|| member.send("kept"));
            page.reload();
            assert_eq!(page.text(), "1 unsent");
            let socket = server.accept_socket::<Wall>();
            socket.welcome(());
            let lobby = socket.accept_join("lobby");
            lobby.joined(&[]);
            let (id, _) = lobby.received().unwrap();
            let mut later = SocketError::new(ErrorCode::RateLimited, "Slower.");
            later.retry_after_ms = Some(5_000);
            lobby.refuse(id, later);
            server.advance(4 * SECOND);
            assert_eq!(lobby.received(), None);
            server.advance(SECOND);
            assert_eq!(lobby.received().unwrap().0, id);
            lobby.accept(id, &post("kept"));
            assert_eq!(page.text(), "0 unsent");
        },
    );
}

#[test]
fn a_volatile_command_is_dropped_where_the_uplink_is_full() {
    let handle = RefCell::new(None);
    let component = || {
        let socket = use_socket(|| Some(Echo), |_| {});
        handle.replace(Some(socket));
        move || socket.connection.unsent.get()
    };
    test_page(component, |page, server| {
        let say = |text: &str| {
            let command = EchoMessage::Say { text: text.into() };
            let socket: Socket<Echo> = handle.borrow().unwrap();
            page.act(|| socket.send(&command))
        };
        let socket = server.accept_socket::<Echo>();
        assert!(!say("too early"));
        socket.welcome(());
        assert!(say("one"));
        socket.set_unsent_bytes(100_000);
        assert!(!say("two"));
        socket.set_unsent_bytes(0);
        assert!(say("three"));
        let texts: Vec<_> = std::iter::from_fn(|| socket.received())
            .map(|EchoMessage::Say { text }| text)
            .collect();
        assert_eq!(texts, ["one", "three"]);
        assert_eq!(page.text(), "1");
    });
}
