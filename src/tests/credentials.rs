//! Tests that other parts of a request do not hide its session: foreign cookies, stale cookies of the same name,
//! several headers, and bytes beyond ASCII.

use reqwest::header::HeaderValue;
use serde_json::Value;

use crate::support::{Guest, Server};

const SOCKET: &str = "/api/chat/socket";
const OURS: (&str, &str) = ("sec-websocket-protocol", "wirewise.collab.v1");

/// A session cookie that is not valid.
const GARBAGE: &str = "wirewise_session=garbage";

/// The id of the user that the server identifies from these headers; `None` if it answers 401.
async fn seen(server: &Server, headers: &[(&str, &[u8])], query: &str) -> Option<String> {
    let mut request = server.get(&format!("/api/jobs{query}"));
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let status = request.send().await.unwrap().status();
    if status == 401 {
        return None;
    }
    assert_eq!(status, 200);
    // A request with a valid session gets the same user here.
    let mut request = server.post(&format!("/api/session/guest{query}"), &[]);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    Some(answer["user"]["id"].as_str().unwrap().to_owned())
}

async fn signed_out(server: &Server) -> Guest {
    let guest = server.guest().await;
    let request = server.post("/api/session/sign_out", &[]);
    let answer = request.header("cookie", guest.cookie()).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    guest
}

#[tokio::test]
async fn foreign_cookies_of_any_bytes_do_not_hide_the_session() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let live = guest.cookie().into_bytes();
    for neighbour in [
        "stadt=Köln".as_bytes(),
        b"stadt=K\xF6ln",
        b"stadt=K%C3%B6ln",
        b"stadt=%",
        b"stadt=\"K; quoted\"",
        b"stadt",
        b"=x",
        b"",
        b"a=b=c",
        "城=市".as_bytes(),
    ] {
        let before = [neighbour, b"; ", &live].concat();
        let behind = [&live, &b"; "[..], neighbour].concat();
        for cookies in [before, behind] {
            let words = String::from_utf8_lossy(&cookies).into_owned();
            let id = seen(&server, &[("cookie", &cookies)], "").await;
            assert_eq!(id.as_ref(), Some(&guest.id), "{words}");
        }
        // HTTP/2 may split the cookies over several headers.
        let id = seen(&server, &[("cookie", neighbour), ("cookie", &live)], "").await;
        assert_eq!(id.as_ref(), Some(&guest.id));
    }
}

#[tokio::test]
async fn of_several_cookies_of_our_name_the_first_that_counts_wins() {
    let server = Server::start().await;
    let (guest, other, gone) = (
        server.guest().await,
        server.guest().await,
        signed_out(&server).await,
    );
    for stale in [
        "wirewise_session=",
        GARBAGE,
        "wirewise_session=Köln",
        &gone.cookie(),
    ] {
        let cookies = format!("{stale}; {}; {}", guest.cookie(), other.cookie());
        let id = seen(&server, &[("cookie", cookies.as_bytes())], "").await;
        assert_eq!(id.as_ref(), Some(&guest.id), "{stale}");
    }
    let quoted = format!("wirewise_session=\"{}\"", guest.token);
    let id = seen(&server, &[("cookie", quoted.as_bytes())], "").await;
    assert_eq!(id.as_ref(), Some(&guest.id));
}

#[tokio::test]
async fn of_several_authorizations_and_tickets_the_first_that_counts_wins() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let bearer = guest.bearer();
    for foreign in [
        "Basic eDp5".as_bytes(),
        b"Bearer garbage",
        b"Bearer K\xF6ln",
        b"Bearer",
        b"",
    ] {
        let headers = [
            ("authorization", foreign),
            ("authorization", bearer.as_bytes()),
        ];
        let id = seen(&server, &headers, "").await;
        assert_eq!(id.as_ref(), Some(&guest.id), "{foreign:?}");
    }
    let ticket = async || {
        let request = server.post("/api/session/ticket", &[]);
        let answer = request.header("authorization", &bearer).send().await;
        let answer: Value = answer.unwrap().json().await.unwrap();
        answer["ticket"].as_str().unwrap().to_owned()
    };
    for path in ["?ticket=spent&ticket=", "?ticket=&x=%FF&ticket="] {
        let path = format!("{SOCKET}{path}{}", ticket().await);
        let welcome = server.socket(&path, &[]).await.next_json().await;
        assert_eq!(welcome["user"]["id"], guest.id, "{path}");
    }
}

#[tokio::test]
async fn sockets_and_pages_see_the_session_beside_foreign_cookies() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let cookies = format!("stadt=Köln; {GARBAGE}; {}", guest.cookie());
    let headers = [("cookie", &*cookies)];
    let welcome = server.socket(SOCKET, &headers).await.next_json().await;
    assert_eq!(welcome["user"]["id"], guest.id);
    let headers = [("cookie", &*cookies), OURS];
    let board = server.socket("/api/collab/welcome", &headers).await;
    assert_eq!({ board }.next_of("welcome").await["user"]["id"], guest.id);
    let cookies = format!("{cookies}; wirewise_theme=; wirewise_theme=dark");
    let page = server.get("/ticker");
    let page = page.header(
        "cookie",
        HeaderValue::from_bytes(cookies.as_bytes()).unwrap(),
    );
    let page = page.send().await.unwrap();
    assert!(
        !page.headers().contains_key("set-cookie"),
        "nobody else is made"
    );
    let page = page.text().await.unwrap();
    assert!(page.contains("data-theme=\"dark\""));
}

#[tokio::test]
async fn a_form_leads_back_from_a_referer_beyond_ascii_and_never_to_another_site() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let back = async |path: &str, form: &[(&str, &str)], referer: &str| {
        let request = server.post(path, form).header("cookie", guest.cookie());
        let referer = HeaderValue::from_bytes(referer.as_bytes()).unwrap();
        let request = request.header("referer", referer);
        let accept = HeaderValue::from_bytes("text/html;x=\"é\"".as_bytes()).unwrap();
        let answer = request.header("accept", accept).send().await.unwrap();
        assert!(answer.status().is_redirection(), "{path}");
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    let rename = ("/api/session/sign_in", &[("name", "Ada")][..]);
    let cancel = ("/api/jobs/cancel", &[("id", "x")][..]);
    for (path, form) in [rename, cancel] {
        let here = server.url("/chat/rust?x=Köln");
        let there = back(path, form, &here).await;
        assert!(there.starts_with("/chat/rust?x=K%C3%B6ln"), "{there}");
        let there = back(path, form, "https://evil.example/ü").await;
        assert!(there.starts_with("/%C3%BC"), "{there}");
    }
}

#[tokio::test]
async fn what_a_client_claims_does_not_hide_the_entry_of_the_proxy() {
    let server = Server::with(|settings| {
        settings.trust_proxy = true;
        settings.limits.requests_per_second = 1;
    })
    .await;
    let ask = async |forwarded: &str| {
        let forwarded = HeaderValue::from_bytes(forwarded.as_bytes()).unwrap();
        let request = server.get("/api/ticker/symbols");
        let request = request.header("x-forwarded-for", forwarded);
        request.send().await.unwrap().status().as_u16()
    };
    // Each of these addresses has a burst of two of its own.
    for _ in 0..2 {
        assert_eq!(ask("é, 192.0.2.1").await, 200);
        assert_eq!(ask("é, 192.0.2.2").await, 200);
    }
    assert_eq!(ask("192.0.2.1").await, 429);
}
