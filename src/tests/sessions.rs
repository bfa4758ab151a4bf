//! Tests the four ways to authenticate, on a stream and on a socket, and names and signing out.

use serde_json::{Value, json};
use uuid::Uuid;
use wirewise::{
    progress::{
        message::JobKind,
        server::{job::NewJob, tasks::Countdown},
    },
    web::server::cookies::SESSION_COOKIE,
};

use crate::support::{Guest, Server};

const SOCKET: &str = "/api/chat/socket";

/// A stream that needs a session.
fn private_stream(server: &Server, guest: &Guest) -> String {
    let long = Countdown {
        steps: 1_000,
        step: std::time::Duration::from_secs(10),
    };
    let new = NewJob {
        id: Uuid::new_v4().into(),
        kind: JobKind::Countdown,
        owner: guest.id.parse().unwrap(),
        total: Some(long.steps),
        unit: "steps",
    };
    let job = server
        .state
        .features
        .progress
        .jobs
        .start(new, long)
        .unwrap();
    format!("/api/jobs/{}/events", job.id())
}

async fn ticket(server: &Server, guest: &Guest) -> String {
    let answer = server
        .post("/api/session/ticket", &[])
        .header("authorization", guest.bearer())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["ticket"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_stream_takes_cookie_bearer_and_ticket_and_refuses_none_with_401() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let path = private_stream(&server, &guest);
    server
        .stream(&path, &[("cookie", &guest.cookie())])
        .await
        .expect("hello")
        .await;
    server
        .stream(&path, &[("authorization", &guest.bearer())])
        .await
        .expect("hello")
        .await;
    let with_ticket = format!("{path}?ticket={}", ticket(&server, &guest).await);
    server.stream(&with_ticket, &[]).await.expect("hello").await;
    for (path, header) in [
        (&path, None),
        (&with_ticket, None),
        (&format!("{path}?ticket=made-up"), None),
        (
            &path,
            Some(("cookie", "wirewise_session=garbage".to_owned())),
        ),
        (
            &path,
            Some(("cookie", format!("{SESSION_COOKIE}={}x", guest.token))),
        ),
        (&path, Some(("authorization", "Bearer garbage".to_owned()))),
        (&path, Some(("authorization", "Basic eDp5".to_owned()))),
    ] {
        let mut request = server.get(path);
        if let Some((name, value)) = &header {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401, "{path} {header:?}");
        assert!(
            response.json::<Value>().await.unwrap()["error"]
                .as_str()
                .unwrap()
                .contains("/api/session/guest")
        );
    }
}

#[tokio::test]
async fn a_socket_takes_cookie_bearer_and_ticket_and_closes_none_with_4001() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let welcomed = async |path: &str, headers: &[(&str, &str)]| {
        let welcome = server.socket(path, headers).await.next_json().await;
        assert_eq!(
            (&welcome["type"], &welcome["user"]["id"]),
            (&"welcome".into(), &guest.id.clone().into())
        );
    };
    welcomed(SOCKET, &[("cookie", &guest.cookie())]).await;
    welcomed(SOCKET, &[("authorization", &guest.bearer())]).await;
    let with_ticket = format!("{SOCKET}?ticket={}", ticket(&server, &guest).await);
    welcomed(&with_ticket, &[]).await;
    let closed = async |path: &str, headers: &[(&str, &str)]| {
        server.socket(path, headers).await.closed().await
    };
    assert_eq!(closed(SOCKET, &[]).await, (4001, "none".into()));
    assert_eq!(
        closed(&with_ticket, &[]).await,
        (4001, "expired".into()),
        "a ticket works once"
    );
    assert_eq!(
        closed(SOCKET, &[("cookie", "wirewise_session=garbage")]).await,
        (4001, "expired".into())
    );
    assert_eq!(
        closed(
            "/api/collab/welcome",
            &[("sec-websocket-protocol", "wirewise.collab.v1")]
        )
        .await,
        (4001, "none".into())
    );
}

#[tokio::test]
async fn signing_out_ends_sockets_streams_and_the_token() {
    let server = Server::start().await;
    let (gone, stays) = (server.guest().await, server.guest().await);
    let mut socket = server.chat(&gone).await;
    let mut other = server.chat(&stays).await;
    let mut stream = server
        .stream(
            &private_stream(&server, &gone),
            &[("cookie", &gone.cookie())],
        )
        .await;
    stream.expect("hello").await;
    let answer = server
        .post("/api/session/sign_out", &[])
        .header("cookie", gone.cookie())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(
        answer.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(socket.closed().await, (4001, "signed_out".into()));
    while stream.next().await.is_some() {}
    let again = server
        .socket(SOCKET, &[("cookie", &gone.cookie())])
        .await
        .closed()
        .await;
    assert_eq!(again, (4001, "signed_out".into()));
    other.send(&json!({"type":"ping","at":1})).await;
    assert_eq!(
        other.next_json().await["type"],
        "pong",
        "nobody else is touched"
    );
    assert_eq!(
        server
            .post("/api/session/sign_out", &[])
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
}

#[tokio::test]
async fn signing_in_keeps_the_user_and_checks_the_name() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let sign_in = |name: &str| {
        server
            .post("/api/session/sign_in", &[("name", name)])
            .header("cookie", guest.cookie())
            .send()
    };
    let answer = sign_in("  Ada 🦀 ").await.unwrap();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"),
        "{cookie}"
    );
    let signed_in: Value = answer.json().await.unwrap();
    assert_eq!(
        (&signed_in["user"]["id"], &signed_in["user"]["name"]),
        (&guest.id.clone().into(), &"Ada 🦀".into())
    );
    for name in ["", "   ", "a\u{0}b", "x\ny", &"x".repeat(33)] {
        let response = sign_in(name).await.unwrap();
        assert_eq!(response.status(), 422, "{name:?}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(
            (
                &answer["field"],
                answer["error"].as_str().unwrap().contains("1 to 32")
            ),
            (&"name".into(), true)
        );
    }
    let missing = server
        .post("/api/session/sign_in", &[])
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status(), 422);
    let anonymous: Value = server
        .post("/api/session/sign_in", &[("name", "Bob")])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_ne!(anonymous["user"]["id"], guest.id);
}

#[tokio::test]
async fn a_name_form_without_javascript_returns_to_its_page_with_or_without_an_error() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let post = |name: &str, referer: String| {
        let request = server
            .post("/api/session/sign_in", &[("name", name)])
            .header("cookie", guest.cookie());
        request
            .header("accept", "text/html")
            .header("referer", referer)
            .send()
    };
    let location =
        |response: &reqwest::Response| response.headers()["location"].to_str().unwrap().to_owned();
    let renamed = post("Ada", server.url("/chat/rust?x=1")).await.unwrap();
    assert_eq!(
        (renamed.status().as_u16(), location(&renamed)),
        (303, "/chat/rust?x=1".into())
    );
    let cookie = renamed.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let page = server
        .get("/chat/rust")
        .header("cookie", cookie)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(page.contains("value=\"Ada\""));

    let refused = post("", server.url("/chat")).await.unwrap();
    let back = location(&refused);
    assert!(back.starts_with("/chat?"), "{back}");
    let page = server
        .get(&back)
        .header("cookie", guest.cookie())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(page.contains("A name has 1 to 32 characters"), "{back}");
    // Only the path of a referer is used for the redirect.
    let elsewhere = post("Ada", "https://evil.example//evil.example/x".into())
        .await
        .unwrap();
    assert_eq!(location(&elsewhere), "/");
    let elsewhere = post("Ada", "https://evil.example/chat".into())
        .await
        .unwrap();
    assert_eq!(location(&elsewhere), "/chat");
}

#[tokio::test]
async fn pages_give_a_guest_session_and_keep_one_that_is_there() {
    let server = Server::start().await;
    let first = server.get("/chat").send().await.unwrap();
    let cookie = first.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    server
        .chat(&Guest {
            id: String::new(),
            token: cookie.split_once('=').unwrap().1.into(),
        })
        .await;
    let second = server
        .get("/ticker")
        .header("cookie", cookie)
        .send()
        .await
        .unwrap();
    assert!(!second.headers().contains_key("set-cookie"));
    let garbage = server
        .get("/ticker")
        .header("cookie", "wirewise_session=garbage; ;; x")
        .send()
        .await
        .unwrap();
    assert_eq!(garbage.status(), 200);
    assert!(
        garbage.headers().contains_key("set-cookie"),
        "a cookie that counts for nothing is replaced"
    );
}

#[tokio::test]
async fn a_guest_who_asks_for_a_session_again_stays_the_same_user() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let again: Value = server
        .post("/api/session/guest", &[])
        .header("cookie", guest.cookie())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(again["user"]["id"], guest.id);
    let garbage: Value = server
        .post("/api/session/guest", &[])
        .header("cookie", "wirewise_session=x")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(garbage["token"].as_str().unwrap().len() > 40);
}
