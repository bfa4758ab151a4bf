//! Tests sessions that expire while clients are connected, that are renewed for the same user, and that are renamed
//! under open sockets.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Guest, Remote, Server};

const RENEW: &str = "/api/session/renew";
/// Long enough to open a few connections, short enough to wait for the end.
const SHORT: Duration = Duration::from_secs(2);
const OURS: (&str, &str) = ("sec-websocket-protocol", "wirewise.collab.v1");

async fn short_sessions() -> Server {
    Server::with(|settings| settings.session_lifetime = SHORT).await
}

/// The answer of a POST: status, body, and the cookie.
async fn post(
    server: &Remote,
    path: &str,
    form: &[(&str, &str)],
    header: Option<(&str, String)>,
) -> (u16, Value, String) {
    let mut request = server.post(path, form);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    let cookie = answer.headers().get("set-cookie");
    let cookie = cookie.map(|cookie| cookie.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    (
        status,
        answer.json().await.unwrap(),
        cookie.unwrap_or_default(),
    )
}

fn guest_of(answer: &Value) -> Guest {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Guest {
        id: text(&answer["user"]["id"]),
        token: text(&answer["token"]),
    }
}

/// A guest whose session has expired.
async fn expired(server: &Server) -> Guest {
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    assert_eq!(socket.closed().await, (4001, "expired".into()));
    guest
}

#[tokio::test]
async fn sockets_and_private_streams_end_when_the_session_expires_and_public_ones_do_not() {
    let server = short_sessions().await;
    let guest = server.guest().await;
    let bearer = guest.bearer();
    let form = [
        ("kind", "countdown"),
        ("steps", "100"),
        ("step_ms", "10000"),
    ];
    let job = server.start_job(&guest, &form).await;
    let authorized = [("authorization", &*bearer)];
    let events = format!("/api/jobs/{job}/events");
    let private = server.stream(&events, &authorized).await;
    let mut public = server.stream("/api/ticker/events", &authorized).await;
    let mut chat = server.chat(&guest).await;
    let mut board = server
        .socket("/api/collab/welcome", &[OURS, authorized[0]])
        .await;
    assert_eq!(chat.closed().await, (4001, "expired".into()));
    assert_eq!(board.closed().await, (4001, "expired".into()));
    let names: Vec<_> = private.rest().await.into_iter().map(|it| it.name).collect();
    assert_eq!(names[..2], ["hello", "state"]);
    let again = server.get(&events).header("authorization", &bearer).send();
    let again = again.await.unwrap();
    assert_eq!(again.status(), 401);
    let refused: Value = again.json().await.unwrap();
    assert_eq!(refused["reason"], "expired");
    public.expect("hello").await;
    public.expect("snapshot").await;
    server.step(1);
    assert_eq!(public.next().await.unwrap().name, "price");
}

#[tokio::test]
async fn an_expired_session_is_renewed_for_the_same_user_by_cookie_bearer_and_ticket() {
    let server = short_sessions().await;
    let guest = server.guest().await;
    let ticket = post(
        &server,
        "/api/session/ticket",
        &[],
        Some(("cookie", guest.cookie())),
    )
    .await;
    let ticket = ticket.1["ticket"].as_str().unwrap().to_owned();
    let mut socket = server.chat(&guest).await;
    assert_eq!(socket.closed().await, (4001, "expired".into()));
    let with_ticket = format!("{RENEW}?ticket={ticket}");
    for (path, header) in [
        (RENEW, Some(("cookie", guest.cookie()))),
        (RENEW, Some(("authorization", guest.bearer()))),
        (&with_ticket, None),
        ("/api/session/guest", Some(("cookie", guest.cookie()))),
    ] {
        let (status, answer, cookie) = post(&server, path, &[], header).await;
        assert_eq!(
            (status, &answer["user"]["id"]),
            (200, &json!(guest.id)),
            "{path}"
        );
        // The cookie outlives the session by the thirty days in which it can be renewed.
        assert!(cookie.contains("Max-Age=2592002"), "{cookie}");
        // The renewed session opens a new connection.
        server.chat(&guest_of(&answer)).await;
    }
    let form = [("name", "Ada")];
    let cookie = Some(("cookie", guest.cookie()));
    let (status, answer, _) = post(&server, "/api/session/sign_in", &form, cookie).await;
    assert_eq!((status, &answer["user"]["id"]), (200, &json!(guest.id)));
}

#[tokio::test]
async fn a_session_is_renewed_only_where_there_is_one_to_renew() {
    let server = Server::start().await;
    let (live, gone) = (server.guest().await, server.guest().await);
    let header = Some(("cookie", live.cookie()));
    let (status, answer, _) = post(&server, RENEW, &[], header).await;
    assert_eq!((status, &answer["user"]["id"]), (200, &json!(live.id)));
    let header = Some(("cookie", gone.cookie()));
    post(&server, "/api/session/sign_out", &[], header).await;
    for (header, reason) in [
        (None, "none"),
        (
            Some(("cookie", "wirewise_session=garbage".into())),
            "expired",
        ),
        (Some(("cookie", gone.cookie())), "signed_out"),
        (Some(("authorization", gone.bearer())), "signed_out"),
    ] {
        for path in [RENEW, "/api/session/ticket", "/api/session/sign_out"] {
            let (status, answer, _) = post(&server, path, &[], header.clone()).await;
            assert_eq!((status, &answer["reason"]), (401, &json!(reason)), "{path}");
            assert!(
                answer["error"]
                    .as_str()
                    .unwrap()
                    .contains("/api/session/guest")
            );
        }
    }
}

#[tokio::test]
async fn an_expired_session_can_still_sign_out_and_is_not_renewed_then() {
    let server = short_sessions().await;
    let guest = expired(&server).await;
    let header = || Some(("cookie", guest.cookie()));
    let (status, _, cookie) = post(&server, "/api/session/sign_out", &[], header()).await;
    assert_eq!(status, 200);
    assert!(cookie.contains("Max-Age=0"), "{cookie}");
    let (status, answer, _) = post(&server, RENEW, &[], header()).await;
    assert_eq!((status, &answer["reason"]), (401, &json!("signed_out")));
}

#[tokio::test]
async fn a_page_opened_with_an_expired_session_keeps_its_user() {
    let server = short_sessions().await;
    let guest = expired(&server).await;
    let page = server.get("/chat").header("cookie", guest.cookie()).send();
    let page = page.await.unwrap();
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let token = cookie.strip_prefix("wirewise_session=").unwrap().to_owned();
    let renewed = Guest {
        id: guest.id.clone(),
        token,
    };
    let header = Some(("cookie", renewed.cookie()));
    let (_, answer, _) = post(&server, "/api/session/guest", &[], header).await;
    assert_eq!(answer["user"]["id"], guest.id);
    // After a sign-out a page gets a new guest.
    let header = Some(("cookie", guest.cookie()));
    post(&server, "/api/session/sign_out", &[], header).await;
    let page = server.get("/chat").header("cookie", guest.cookie()).send();
    let page = page.await.unwrap();
    assert!(page.headers().contains_key("set-cookie"));
    assert!(!page.text().await.unwrap().contains(&guest.id));
}

#[tokio::test]
async fn a_rename_closes_the_sockets_of_its_session_and_they_reconnect_under_the_new_name() {
    let server = Server::start().await;
    let (guest, stays) = (server.guest().await, server.guest().await);
    let bearer = guest.bearer();
    let mut chat = server.chat(&guest).await;
    let mut other = server.chat(&stays).await;
    let headers = [OURS, ("authorization", &*bearer)];
    let mut board = server.socket("/api/collab/welcome", &headers).await;
    let mut yjs = server.socket("/api/collab/welcome", &headers[1..]).await;
    let form = [("name", "Ada 🦀")];
    let header = || Some(("authorization", bearer.clone()));
    let (status, named, _) = post(&server, "/api/session/sign_in", &form, header()).await;
    assert_eq!(status, 200);
    assert_eq!(chat.closed().await, (4001, "expired".into()));
    assert_eq!(board.closed().await, (4001, "expired".into()));
    // They reconnect with whatever token they have, even with one that a tab sent before it received the new one.
    let (status, renewed, _) = post(&server, RENEW, &[], header()).await;
    assert_eq!(status, 200);
    assert_eq!(renewed["user"], named["user"]);
    for token in [&guest, &guest_of(&renewed)] {
        let headers = [("authorization", &*token.bearer())];
        let mut socket = server.socket("/api/chat/socket", &headers).await;
        assert_eq!(socket.next_json().await["user"], named["user"]);
        // The same name again changes nothing.
        let (status, ..) = post(&server, "/api/session/sign_in", &form, header()).await;
        assert_eq!(status, 200);
        socket.send(&json!({"type":"ping","at":1})).await;
        assert_eq!(socket.next_json().await["type"], "pong");
    }
    // Other users are not affected. A Yjs client is not closed either: it shows no name and would not reconnect.
    other.send(&json!({"type":"ping","at":1})).await;
    assert_eq!(other.next_json().await["type"], "pong");
    yjs.0.send(Message::Ping(Bytes::new())).await.unwrap();
    while !matches!(yjs.0.next().await, Some(Ok(Message::Pong(_)))) {}
    let server = server.restart().await;
    let headers = [("authorization", &*bearer)];
    let mut socket = server.socket("/api/chat/socket", &headers).await;
    assert_eq!(socket.next_json().await["user"]["name"], "Ada 🦀");
}
