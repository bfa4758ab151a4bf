//! Tests the shutdown: every client is notified, the listener closes at once, and the deadline holds whatever the
//! clients do.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{PATIENCE, Server};

#[tokio::test]
async fn a_hundred_streams_and_a_hundred_sockets_receive_drain_and_the_server_ends_in_time() {
    // Far longer than the test waits: the server ends in time only if it waits for no client.
    let mut server = Server::with(|settings| settings.drain_ms = 60_000).await;
    let guest = server.guest().await;
    let (mut streams, mut sockets) = (vec![], vec![]);
    for _ in 0..100 {
        let mut stream = server.stream("/api/ticker/events", &[]).await;
        stream.expect("hello").await;
        streams.push(stream);
        sockets.push(server.chat(&guest).await);
    }
    server.shut_down();
    for stream in streams {
        let events = stream.rest().await;
        let drain = events.last().unwrap();
        assert_eq!(drain.name, "drain");
        assert!((1_000..=5_000).contains(&drain.data["retry_ms"].as_u64().unwrap()));
        assert!(drain.id.is_some(), "it keeps the client's position");
    }
    for mut socket in sockets {
        let drain = socket.next_of("drain").await;
        assert!((1_000..=5_000).contains(&drain["retry_ms"].as_u64().unwrap()));
        assert_eq!(socket.closed().await.0, 1012);
    }
    assert!(
        TcpStream::connect(server.addr).await.is_err(),
        "the listener is closed"
    );
    tokio::time::timeout(PATIENCE, server.ended)
        .await
        .expect("the server ends")
        .unwrap();
}

#[tokio::test]
async fn clients_that_do_not_react_delay_the_shutdown_no_longer_than_the_deadline() {
    let mut server = Server::with(|settings| settings.drain_ms = 500).await;
    let guest = server.guest().await;
    // A socket whose client neither reads nor answers, an upload that never ends, and a connection that sends nothing.
    let _unresponsive = server.chat(&guest).await;
    let mut upload = TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "POST /api/jobs/upload HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: 1000\r\n\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhalf",
        guest.bearer()
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    let jobs = server
        .get("/api/jobs")
        .header("authorization", guest.bearer());
    while jobs
        .try_clone()
        .unwrap()
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
        == "[]"
    {
        tokio::task::yield_now().await;
    }
    let _silent = TcpStream::connect(server.addr).await.unwrap();
    server.get("/healthz").send().await.unwrap();
    server.shut_down();
    let since = Instant::now();
    tokio::time::timeout(PATIENCE, server.ended)
        .await
        .expect("the server ends")
        .unwrap();
    // Not a measurement: the bound is the drain time plus what a busy machine adds.
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test]
async fn readiness_ends_before_the_connections_do() {
    let mut server = Server::with(|settings| settings.drain_ms = 2_000).await;
    assert_eq!(server.get("/readyz").send().await.unwrap().status(), 200);
    assert_eq!(
        server
            .get("/healthz")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "alive\n"
    );
    let state = server.state.clone();
    server.shut_down();
    tokio::time::timeout(PATIENCE, state.realtime.drain().started())
        .await
        .unwrap();
    let router = wirewise::server::router(state);
    let request = axum::http::Request::get("/readyz")
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(
        tower::ServiceExt::oneshot(router, request)
            .await
            .unwrap()
            .status(),
        503
    );
}
