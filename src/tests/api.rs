//! Tests what all routes have in common: errors in JSON, origins, headers, files, and pages for errors.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, client::IntoClientRequest},
};

use crate::support::{PATIENCE, Server};

#[tokio::test]
async fn a_target_without_a_path_is_refused_with_a_sentence() {
    let server = Server::start().await;
    for (target, status) in [
        ("GET x", 400),
        ("GET x:80", 400),
        ("POST x:80", 400),
        ("CONNECT x:80", 400),
        ("GET http://x/healthz", 200),
        ("GET /healthz", 200),
    ] {
        let mut tcp = TcpStream::connect(server.addr).await.unwrap();
        let request = format!("{target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, tcp.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let line = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&line), "{target}: {answer}");
        if status == 400 {
            assert!(answer.contains("begins with a slash"), "{target}: {answer}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_of_the_api_are_404_in_json_and_others_a_page() {
    let server = Server::start().await;
    for path in [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/jobs/x/y/z",
        "/api/session",
    ] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert!(
            response.json::<Value>().await.unwrap()["error"]
                .as_str()
                .unwrap()
                .contains("docs/protocol.md")
        );
    }
    for path in [
        "/nothing",
        "/pkg/nothing.js",
        "/hash.txt",
        "/../Cargo.toml",
        "/%2e%2e/secret",
        "/chat/a/b",
    ] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert!(
            response
                .text()
                .await
                .unwrap()
                .contains("There is nothing here"),
            "{path}"
        );
    }
    for path in ["/chat/Not-A-Room", "/collab/Not-A-Document"] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn the_wrong_method_is_405_in_json() {
    let server = Server::start().await;
    for response in [
        server.get("/api/session/guest"),
        server.post("/api/ticker/events", &[]),
    ] {
        let response = response.send().await.unwrap();
        assert_eq!(response.status(), 405);
        assert!(response.json::<Value>().await.unwrap()["error"].is_string());
    }
}

#[tokio::test]
async fn a_plain_request_to_a_socket_route_is_answered_with_what_the_route_speaks() {
    let server = Server::start().await;
    for path in ["/api/chat/socket", "/api/collab/welcome"] {
        let response = server.get(path).send().await.unwrap();
        assert!(response.status().is_client_error());
        assert!(
            response.json::<Value>().await.unwrap()["error"]
                .as_str()
                .unwrap()
                .contains("WebSocket")
        );
    }
}

#[tokio::test]
async fn a_foreign_origin_may_not_act_with_credentials_or_open_a_socket() {
    let server =
        Server::with(|settings| settings.allowed_origins = vec!["https://app.example".into()])
            .await;
    let guest = server.guest().await;
    let own = format!("http://{}", server.addr);
    let with = |origin: &str| {
        server
            .get("/api/chat/rooms")
            .header("cookie", guest.cookie())
            .header("origin", origin)
            .send()
    };
    assert_eq!(with(&own).await.unwrap().status(), 200);
    let allowed = with("https://app.example").await.unwrap();
    assert_eq!(
        allowed.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(
        allowed.headers()["access-control-allow-credentials"],
        "true"
    );
    for origin in ["https://evil.example", "null", "http://127.0.0.1"] {
        let refused = with(origin).await.unwrap();
        assert_eq!(refused.status(), 403, "{origin}");
        assert!(
            !refused
                .headers()
                .contains_key("access-control-allow-origin")
        );
        let mut request = format!("ws://{}/api/chat/socket", server.addr)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        match connect_async(request).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 403, "{origin}"),
            other => panic!("{origin}: {other:?}"),
        }
    }
    let posted = server
        .post("/api/session/sign_in", &[("name", "Eve")])
        .header("origin", "https://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 403, "its answer would set a cookie");
    server
        .socket(
            "/api/chat/socket",
            &[
                ("origin", "https://app.example"),
                ("authorization", &guest.bearer()),
            ],
        )
        .await
        .next_of("welcome")
        .await;
    server
        .socket("/api/chat/socket", &[("authorization", &guest.bearer())])
        .await
        .next_of("welcome")
        .await;
}

#[tokio::test]
async fn the_ticker_is_open_to_all_origins_and_preflights_are_answered() {
    let server =
        Server::with(|settings| settings.allowed_origins = vec!["https://app.example".into()])
            .await;
    let foreign = server
        .get("/api/ticker/symbols")
        .header("origin", "https://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            foreign.status().as_u16(),
            &foreign.headers()["access-control-allow-origin"]
        ),
        (200, &"*".parse().unwrap())
    );
    let preflight = |path: &str, origin: &str| {
        let request = server
            .http
            .request(reqwest::Method::OPTIONS, server.url(path))
            .header("origin", origin);
        request
            .header("access-control-request-method", "POST")
            .send()
    };
    let allowed = preflight("/api/session/guest", "https://app.example")
        .await
        .unwrap();
    assert_eq!(
        allowed.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    assert!(
        allowed.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .contains("authorization")
    );
    let refused = preflight("/api/session/guest", "https://evil.example")
        .await
        .unwrap();
    assert!(
        !refused
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let public = preflight("/api/ticker/events", "https://evil.example")
        .await
        .unwrap();
    assert_eq!(public.headers()["access-control-allow-origin"], "*");
}

/// Headers that clients of event streams send if they use `fetch` or `XMLHttpRequest`, and headers that monitoring adds
/// to any request.
#[tokio::test]
async fn a_preflight_allows_the_headers_that_event_source_clients_send() {
    let server =
        Server::with(|settings| settings.allowed_origins = vec!["https://app.example".into()])
            .await;
    for (path, origin) in [
        ("/api/ticker/events", "https://evil.example"),
        ("/api/jobs/7/events", "https://app.example"),
        ("/api/session/guest", "https://app.example"),
    ] {
        for asked in [
            "cache-control",
            "cache-control,pragma",
            "accept, authorization, last-event-id",
            "content-type, x-requested-with",
            "Last-Event-ID",
            "traceparent, tracestate, baggage, sentry-trace",
        ] {
            let request = server
                .http
                .request(reqwest::Method::OPTIONS, server.url(path));
            let request = request.header("origin", origin);
            let request = request.header("access-control-request-method", "GET");
            let request = request.header("access-control-request-headers", asked);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 204);
            let allowed = answer.headers()["access-control-allow-headers"]
                .to_str()
                .unwrap()
                .to_ascii_lowercase();
            let allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
            for name in asked.to_ascii_lowercase().split(',').map(str::trim) {
                assert!(allowed.contains(&name), "{path}: {name} of {asked}");
            }
        }
    }
    // A script of another origin may read `Retry-After`.
    let request = server
        .get("/api/jobs")
        .header("origin", "https://app.example");
    let answer = request.send().await.unwrap();
    assert_eq!(
        answer.headers()["access-control-expose-headers"],
        "retry-after"
    );
}

#[tokio::test]
async fn pages_are_whole_without_a_script_and_guarded_by_a_policy() {
    let server = Server::start().await;
    server.step(1);
    for (path, needle) in [
        ("/", "Two ways to keep a page live"),
        ("/ticker", "Acme Instruments"),
        ("/progress", "Start a countdown"),
        ("/chat", "Nobody has said anything here yet."),
        ("/collab", "Board: welcome"),
    ] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(
            policy.contains("'strict-dynamic' 'nonce-") && policy.contains("style-src 'self'"),
            "{policy}"
        );
        assert_eq!(
            (header("referrer-policy"), header("x-content-type-options")),
            ("same-origin".into(), "nosniff".into())
        );
        assert_eq!(header("cache-control"), "private, no-cache");
        let text = response.text().await.unwrap();
        assert!(text.contains(needle), "{path}");
        assert!(
            !text.contains(" style="),
            "{path}: a strict policy would block it"
        );
    }
}

/// The `connect-src` sources of a page that is requested with these headers.
async fn connect_sources(server: &Server, headers: &[(&str, &str)]) -> String {
    let mut request = server.get("/chat");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    let directives: Vec<&str> = policy.split("; ").collect();
    let of = |name: &str| {
        directives
            .iter()
            .filter_map(|it| it.strip_prefix(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("script-src ").len(), 1, "{policy}");
    assert_eq!(directives.len(), 9, "{policy}");
    let sources = of("connect-src ");
    assert_eq!(sources.len(), 1, "{policy}");
    sources[0].to_owned()
}

#[tokio::test]
async fn a_page_may_open_sockets_of_its_own_host_by_name_and_a_strange_host_adds_nothing() {
    let server = Server::with(|settings| settings.trust_proxy = true).await;
    let own = format!("'self' ws://{0} wss://{0}", server.addr);
    assert_eq!(connect_sources(&server, &[]).await, own);
    let proxied = [
        ("x-forwarded-host", "Wire.example"),
        ("x-forwarded-proto", "https"),
    ];
    assert_eq!(
        connect_sources(&server, &proxied).await,
        "'self' wss://wire.example"
    );
    for host in [
        "a; script-src *",
        "a *",
        "*",
        "[::1]:3000",
        "a:1; default-src *",
    ] {
        let sources = connect_sources(&server, &[("x-forwarded-host", host)]).await;
        assert_eq!(sources, "'self'", "{host}");
    }
}

#[tokio::test]
async fn files_carry_an_etag_and_are_immutable_only_when_their_name_is_their_hash() {
    let server = Server::start().await;
    let pkg = server.folder.path().join("site/pkg");
    // The base64 MD5 of "hello".
    std::fs::write(pkg.join("app.XUFAKrxLKna5cZ2REBfFkg.js"), "hello").unwrap();
    std::fs::write(pkg.join("app.XUFAKrxLKna5cZ2REBfFkh.js"), "hello").unwrap();
    std::fs::write(pkg.join("app.XUFAKrxLKna5cZ2REBfFkg.js.br"), "compressed").unwrap();
    let right = server
        .get("/pkg/app.XUFAKrxLKna5cZ2REBfFkg.js")
        .send()
        .await
        .unwrap();
    assert!(
        right.headers()["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    assert!(
        right.headers()["content-type"]
            .to_str()
            .unwrap()
            .contains("javascript")
    );
    let etag = right.headers()["etag"].clone();
    assert_eq!(right.text().await.unwrap(), "hello");
    let wrong = server
        .get("/pkg/app.XUFAKrxLKna5cZ2REBfFkh.js")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.headers()["cache-control"], "public, no-cache");
    let again = server
        .get("/pkg/app.XUFAKrxLKna5cZ2REBfFkg.js")
        .header("if-none-match", etag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
    let brotli = server
        .get("/pkg/app.XUFAKrxLKna5cZ2REBfFkg.js")
        .header("accept-encoding", "br")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            &brotli.headers()["content-encoding"],
            brotli.headers()["vary"]
                .to_str()
                .unwrap()
                .contains("accept-encoding")
        ),
        (&"br".parse().unwrap(), true)
    );
    assert_eq!(brotli.text().await.unwrap(), "compressed");
}

#[tokio::test]
async fn metrics_are_on_their_own_listener_only_and_end_with_the_server() {
    let mut server = Server::start().await;
    let answer = server.get("/metrics").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(!answer.text().await.unwrap().contains("wirewise_log_lines"));
    let metrics = server.metrics_listener();
    let answer = metrics.get("/metrics").send().await.unwrap();
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert!(answer.text().await.unwrap().contains("wirewise_log_lines"));
    for path in ["/", "/healthz", "/api/ticker/symbols"] {
        assert_eq!(metrics.get(path).send().await.unwrap().status(), 404);
    }
    server.shut_down();
    timeout(PATIENCE, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(metrics.addr).await.is_err());
}

#[tokio::test]
async fn connections_to_the_metrics_are_few_and_take_nothing_from_those_of_clients() {
    let server = Server::with(|settings| settings.max_connections = 1).await;
    let metrics = server.metrics_listener();
    let mut open = vec![];
    for _ in 0..16 {
        open.push(TcpStream::connect(metrics.addr).await.unwrap());
    }
    let answer = metrics.get("/metrics").send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(server.text("/healthz").await, "alive\n");
}

#[tokio::test]
async fn metrics_count_open_connections() {
    let server = Server::start().await;
    let mut events = server.stream("/api/ticker/events", &[]).await;
    events.expect("hello").await;
    let text = server.metrics_listener().text("/metrics").await;
    assert!(
        text.lines()
            .any(|line| line.starts_with("wirewise_connections{")
                && line.contains("endpoint=\"ticker\"")),
        "{text}"
    );
}

#[tokio::test]
async fn a_file_is_public_and_a_page_is_private_to_its_user() {
    let server = Server::start().await;
    let file = server.folder.path().join("site/pkg/a.css");
    std::fs::write(file, "a{}").unwrap();
    let answer = server.get("/pkg/a.css").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("set-cookie"), None);
    assert!(header("cache-control").unwrap().starts_with("public"));
    let page = server.get("/ticker").send().await.unwrap();
    assert!(page.headers().contains_key("set-cookie"));
    assert!(
        page.headers()["cache-control"]
            .to_str()
            .unwrap()
            .starts_with("private")
    );
}

#[tokio::test]
async fn pages_are_only_read() {
    let server = Server::start().await;
    let answer = server.post("/ticker", &[]).send().await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD");
    let answer = server
        .http
        .head(server.url("/ticker"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_form_never_leads_to_another_site() {
    let server = Server::start().await;
    let guest = server.guest().await;
    for (route, form) in [
        (
            "/api/jobs/start",
            vec![("kind", "countdown"), ("steps", "0")],
        ),
        ("/api/session/sign_in", vec![("name", "")]),
        ("/api/session/sign_in", vec![("name", "Ada")]),
    ] {
        let answer = server
            .post(route, &form)
            .header("cookie", guest.cookie())
            .header("accept", "text/html")
            .header("referer", "http://evil.example/steal")
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_redirection(), "{route}");
        let target = answer.headers()["location"].to_str().unwrap();
        assert!(target.starts_with("/steal"), "{target}");
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_named() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let answer = server
        .get("/api/chat/rooms/lobby/messages?limit=many")
        .header("authorization", guest.bearer())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["field"], "limit");
    assert!(
        !answer["error"].as_str().unwrap().contains("deserialize"),
        "{answer}"
    );
}
