//! What pages show.

use std::time::Duration;

use leptos::prelude::*;
use realtime::{
    close::{CloseCode, reason},
    message::{ErrorCode, SocketError},
    status::Answer,
    testing::test_page,
};

use super::{
    channel::{Post, Posts, Wall},
    handler::Measurements,
    socket::{Echo, EchoMessage, Echoes},
    weather::{
        Thermometer, Weather,
        WeatherEvent::{self, Measured},
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn measured(celsius: f64) -> WeatherEvent {
    Measured { celsius }
}

fn say(text: &str) -> EchoMessage {
    EchoMessage::Say { text: text.into() }
}

fn post(text: &str) -> Post {
    let author = "Ada".into();
    let text = text.into();
    Post { author, text }
}

#[test]
fn a_thermometer_keeps_its_value_while_the_connection_is_lost() {
    test_page(
        || view! { <Thermometer/> },
        |page, server| {
            assert_eq!(page.text(), "");
            let stream = server.accept_stream::<Weather>();
            assert_eq!(stream.resumes_after(), None);
            stream.hello();
            stream.state(&measured(7.0));
            assert_eq!(page.text(), "7");
            stream.cut();
            assert!(!stream.is_open());
            assert_eq!(page.text(), "7");
            server.advance(SECOND);
            assert_eq!(server.waiting().len(), 1);
        },
    );
}

#[test]
fn a_stream_that_resumes_shows_each_event_once() {
    test_page(
        || view! { <Measurements/> },
        |page, server| {
            let stream = server.accept_stream::<Weather>();
            stream.hello();
            let first = stream.event(&measured(6.0));
            let second = stream.event(&measured(7.0));
            stream.event_at(&first, &measured(6.0));
            assert!(page.text().contains("2 measurements"), "{}", page.text());
            stream.cut();
            assert_eq!(
                page.text(),
                "SSE Connection lost. Retrying in 1 s Retry now 2 measurements"
            );
            server.advance(SECOND);
            assert!(page.text().starts_with("SSE Connecting"));
            let again = server.accept_stream::<Weather>();
            assert_eq!(again.resumes_after(), Some(second));
            again.hello_resumed(&[measured(8.0), measured(9.0)]);
            assert_eq!(page.text(), "SSE Connected 1 connected 4 measurements");
        },
    );
}

#[test]
fn a_stream_that_cannot_resume_shows_the_state() {
    test_page(
        || view! { <Thermometer/> },
        |page, server| {
            let stream = server.accept_stream::<Weather>();
            stream.hello();
            stream.state(&measured(7.0));
            let position = stream.event(&measured(8.0));
            stream.cut();
            server.advance(SECOND);
            let again = server.accept_stream::<Weather>();
            assert_eq!(again.resumes_after(), Some(position.clone()));
            again.hello_unrecovered();
            again.state(&measured(9.0));
            assert_eq!(page.text(), "9");
            let next = again.event(&measured(10.0));
            assert_ne!(next.epoch, position.epoch);
            assert_eq!(page.text(), "10");
        },
    );
}

#[test]
fn a_refused_stream_shows_why() {
    for (status, shown) in [
        (403, "This is not open to you."),
        (404, "There is nothing under this address (any more)."),
    ] {
        test_page(
            || view! { <Measurements/> },
            |page, server| {
                server.accept_stream::<Weather>().refuse(status);
                assert!(page.text().contains(shown), "{}", page.text());
                server.advance(100 * SECOND);
                assert!(server.waiting().is_empty(), "it has stopped");
            },
        );
    }
}

#[test]
fn a_stream_waits_as_long_as_the_server_asks() {
    test_page(
        || view! { <Measurements/> },
        |page, server| {
            server.accept_stream::<Weather>().refuse_with(Answer {
                status: 429,
                retry_after_ms: Some(20_000),
                reason: None,
            });
            assert!(page.text().contains("in 20 s"), "{}", page.text());
            server.advance(19 * SECOND);
            assert!(server.waiting().is_empty());
            assert!(page.text().contains("in 1 s"), "{}", page.text());
            server.advance(SECOND);
            let stream = server.accept_stream::<Weather>();
            stream.hello();
            stream.drain(30 * SECOND);
            server.advance(29 * SECOND);
            assert!(server.waiting().is_empty());
            server.advance(SECOND);
            server.accept_stream::<Weather>().hello();
        },
    );
}

#[test]
fn a_stream_that_falls_silent_is_replaced_and_one_that_beats_is_not() {
    test_page(
        || view! { <Measurements/> },
        |page, server| {
            let stream = server.accept_stream::<Weather>();
            stream.hello();
            server.advance(120 * SECOND);
            assert!(stream.is_open());
            stream.stall();
            server.advance(40 * SECOND);
            assert!(!stream.is_open());
            let again = server.accept_stream::<Weather>();
            assert!(!page.text().contains("Connected"), "{}", page.text());
            again.hello();
            assert!(page.text().contains("Connected"));
        },
    );
}

#[test]
fn a_server_that_does_not_answer_is_asked_again() {
    test_page(
        || view! { <Echoes/> },
        |_, server| {
            let unanswered = server.accept_socket::<Echo>();
            server.advance(10 * SECOND);
            assert!(!unanswered.is_open());
            server.advance(SECOND);
            server.accept_socket::<Echo>().cut();
            server.advance(2 * SECOND);
            server.accept_socket::<Echo>().welcome(());
        },
    );
}

#[test]
fn a_socket_shows_its_answer_across_a_cut() {
    test_page(
        || view! { <Echoes/> },
        |page, server| {
            let socket = server.accept_socket::<Echo>();
            socket.welcome(());
            socket.event(&say("Hello"));
            assert_eq!(page.text(), "WebSocket Connected 1 connected Say hi Hello");
            socket.cut();
            let shown = page.text();
            assert!(shown.starts_with("WebSocket Connection lost."), "{shown}");
            assert!(shown.ends_with("Hello"), "{shown}");
            server.advance(SECOND);
            let again = server.accept_socket::<Echo>();
            again.welcome(());
            assert!(page.text().starts_with("WebSocket Connected"));
        },
    );
}

#[test]
fn a_refused_socket_shows_why() {
    test_page(
        || view! { <Echoes/> },
        |page, server| {
            let socket = server.accept_socket::<Echo>();
            socket.close(CloseCode::Session, reason::SIGNED_OUT);
            assert!(page.text().contains("You signed out."), "{}", page.text());
            server.advance(100 * SECOND);
            assert!(server.waiting().is_empty(), "it has stopped");
        },
    );
    test_page(
        || view! { <Echoes/> },
        |page, server| {
            let socket = server.accept_socket::<Echo>();
            socket.close(CloseCode::UnknownProtocol, "");
            assert_eq!(page.automatic_reloads(), 1);
        },
    );
}

#[test]
fn a_stalled_socket_is_noticed_by_its_ping() {
    test_page(
        || view! { <Echoes/> },
        |page, server| {
            let socket = server.accept_socket::<Echo>();
            socket.welcome(());
            server.advance(100 * SECOND);
            assert!(socket.is_open(), "its pings are answered");
            socket.stall();
            server.advance(40 * SECOND);
            assert!(!socket.is_open());
            server.accept_socket::<Echo>().welcome(());
            assert!(page.text().starts_with("WebSocket Connected"));
        },
    );
}

#[test]
fn a_channel_shows_what_it_missed_once_and_drops_what_is_gone() {
    test_page(
        || view! { <Posts/> },
        |page, server| {
            let socket = server.accept_socket::<Wall>();
            socket.welcome(());
            let lobby = socket.accept_join("lobby");
            assert_eq!(lobby.resumes_after(), None);
            lobby.joined(&[post("one")]);
            lobby.message(&post("two"));
            assert!(page.text().ends_with("Post one two"), "{}", page.text());
            socket.cut();

            server.advance(SECOND);
            let socket = server.accept_socket::<Wall>();
            socket.welcome(());
            let lobby = socket.accept_join("lobby");
            assert_eq!(lobby.resumes_after().unwrap().offset, 2);
            lobby.resumed(&[post("three")]);
            assert!(page.text().ends_with("Post one two three"));
            socket.cut();

            server.advance(2 * SECOND);
            let socket = server.accept_socket::<Wall>();
            socket.welcome(());
            let lobby = socket.accept_join("lobby");
            lobby.joined_unrecovered(&[post("anew")]);
            assert!(page.text().ends_with("Post anew"), "{}", page.text());
        },
    );
}

#[test]
fn a_refused_join_is_sent_again_when_it_may_succeed() {
    test_page(
        || view! { <Posts/> },
        |page, server| {
            let socket = server.accept_socket::<Wall>();
            socket.welcome(());
            let lobby = socket.accept_join("lobby");
            lobby.refuse_join(SocketError::new(ErrorCode::Unavailable, "Later."));
            assert_eq!(socket.received(), None);
            server.advance(SECOND);
            socket.accept_join("lobby").joined(&[post("one")]);
            assert!(page.text().ends_with("Post one"), "{}", page.text());
        },
    );
}

#[test]
fn a_page_without_a_network_tries_when_there_is_one() {
    test_page(
        || view! { <Measurements/> },
        |page, server| {
            let stream = server.accept_stream::<Weather>();
            stream.hello();
            page.go_offline();
            stream.cut();
            let shown = page.text();
            assert!(shown.contains("The browser reports no network."), "{shown}");
            server.advance(10 * SECOND);
            assert!(server.waiting().is_empty());
            page.go_online();
            server.accept_stream::<Weather>().hello();
            assert!(page.text().contains("Connected"));
        },
    );
}

#[test]
fn a_page_that_is_put_away_has_no_connection() {
    test_page(
        || view! { <Measurements/> },
        |page, server| {
            let stream = server.accept_stream::<Weather>();
            stream.hello();
            page.put_away();
            assert!(!stream.is_open());
            page.bring_back();
            let again = server.accept_stream::<Weather>();
            again.hello();
            page.hide();
            again.cut();
            page.show();
            assert_eq!(server.waiting().len(), 1, "a watched page tries at once");
        },
    );
}

#[test]
#[should_panic(expected = "the page waits for no Socket at /api/echo/socket")]
fn a_script_that_waits_for_what_the_page_does_not_open_panics() {
    test_page(
        || view! { <Measurements/> },
        |_, server| {
            server.accept_socket::<Echo>();
        },
    );
}
