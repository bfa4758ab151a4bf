//! Tests of live streams, which are sent without hyper: what arrives, when they end, and what follows on their connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse;
use futures::channel::mpsc;

use super::*;

const PIECE: usize = 4 * 1024;
/// More than a pipe holds.
const LARGE: usize = 64 * 1024;
const CLOSE: &str = "GET /live HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Close\r\n\r\n";

static ASKED_FOR: AtomicUsize = AtomicUsize::new(0);
/// What sends the stream of `/live/held`, and that of `/live/held/long`. A stream ends when it is dropped.
static HELD: Events = Mutex::new(None);
static HELD_LONG: Events = Mutex::new(None);

type Events = Mutex<Option<mpsc::UnboundedSender<&'static str>>>;

pub fn routes() -> Router {
    let pieces = || get(async || live(stream::iter(["one", "", "three"])));
    Router::new()
        .route("/live", pieces())
        .route(
            "/hyper",
            pieces().layer(axum::middleware::map_response(without_mark)),
        )
        .route("/live/flood", get(async || live(stream::repeat(FLOOD))))
        .route("/live/quiet", get(async || live(stream::pending::<&str>())))
        .route("/live/counted", get(counted))
        .route("/live/broken", get(broken))
        .route("/live/held", get(async || held(&HELD)))
        .route("/live/held/long", get(async || held(&HELD_LONG)))
        .route("/live/known", get(async || (Extension(LiveBody), "known")))
        .route("/live/closing", get(closing))
        .route("/live/late", get(late))
        .route("/large", any(large))
}

const FLOOD: &str = match std::str::from_utf8(&[b'x'; PIECE]) {
    Ok(piece) => piece,
    Err(_) => panic!("it is ASCII"),
};

fn live(pieces: impl StreamExt<Item = &'static str> + Send + 'static) -> Response {
    let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
    (Extension(LiveBody), body).into_response()
}

async fn without_mark(mut response: Response) -> Response {
    response.extensions_mut().remove::<LiveBody>();
    response
}

/// Counts how many pieces are asked for.
async fn counted() -> Response {
    let count = |piece| {
        ASKED_FOR.fetch_add(1, Ordering::Relaxed);
        piece
    };
    live(stream::repeat(FLOOD).map(count))
}

async fn broken() -> Response {
    let pieces = stream::iter([Ok("one"), Err(io::Error::other("on purpose"))]);
    (Extension(LiveBody), Body::from_stream(pieces)).into_response()
}

/// Sends "begun", and ends when the test has dropped the sender.
fn held(events: &Events) -> Response {
    let (sender, pieces) = mpsc::unbounded();
    sender.unbounded_send("begun").unwrap();
    events.lock().unwrap().replace(sender);
    live(pieces)
}

async fn closing() -> Response {
    ([("connection", "close")], live(stream::iter(["one"]))).into_response()
}

async fn late() -> Response {
    sleep(Duration::from_millis(500)).await;
    live(stream::iter(["one"]))
}

/// Answers before the body of the request has come.
async fn large(request: Request<Body>) -> String {
    tokio::spawn(request.into_body().collect());
    "x".repeat(LARGE)
}

pub fn get_line(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// Everything until the bytes end with `end`.
pub async fn read_until(client: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut read = vec![];
    while !read.ends_with(end.as_bytes()) {
        let count = timeout(TEST_TIMEOUT, client.read_buf(&mut read)).await;
        let so_far = String::from_utf8_lossy(&read);
        let Ok(Ok(1..)) = count else {
            panic!("the end comes after {so_far}");
        };
    }
    String::from_utf8(read).unwrap()
}

/// The lines of a head, sorted, and what is behind it.
fn parts_of(answer: &str) -> (Vec<&str>, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines.sort_unstable();
    (lines, body)
}

pub const LAST_CHUNK: &str = "0\r\n\r\n";

#[tokio::test]
async fn a_live_stream_reads_as_from_hyper_and_another_request_may_follow() {
    let (mut client, _served, _drain) = client();
    write(&mut client, &get_line("/hyper")).await;
    let by_hyper = read_until(&mut client, LAST_CHUNK).await;
    for _ in 0..2 {
        write(&mut client, &get_line("/live")).await;
        let answer = read_until(&mut client, LAST_CHUNK).await;
        assert_eq!(parts_of(&answer).1, "3\r\none\r\n5\r\nthree\r\n0\r\n\r\n");
        let without_date = |answer: &str| {
            let lines = parts_of(answer).0.into_iter();
            let lines = lines.filter(|line| !line.starts_with("date: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without_date(&answer), without_date(&by_hyper));
        assert_eq!(parts_of(&answer).0.len(), parts_of(&by_hyper).0.len());
        ask(&mut client).await;
    }
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_one_after_the_other() {
    let (mut client, _served, _drain) = client();
    let requests = [
        &get_line("/live"),
        &get_line("/large"),
        &get_line("/live"),
        GET,
    ]
    .concat();
    write(&mut client, &requests).await;
    let answers = read_until(&mut client, "\r\n\r\nok").await;
    assert_eq!(answers.matches(LAST_CHUNK).count(), 2);
    assert_eq!(answers.matches("x".repeat(LARGE).as_str()).count(), 1);
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 4);
    let order = ["three", "xxx", "three", "ok"];
    let mut rest = &answers[..];
    for text in order {
        rest = rest.split_once(text).expect(text).1;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_its_reader_comes_before_the_stream() {
    let (mut client, _served, _drain) = client();
    // The pipe holds a quarter of the answer, and the next head is there already.
    let large = "POST /large HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
    write(&mut client, &format!("{large}{}", get_line("/live"))).await;
    wait(1).await;
    let answers = read_until(&mut client, LAST_CHUNK).await;
    assert_eq!(answers.matches("x".repeat(LARGE).as_str()).count(), 1);
}

#[tokio::test]
async fn the_connection_is_closed_after_the_stream_where_the_client_says_so() {
    let (mut client, served, _drain) = client();
    write(&mut client, CLOSE).await;
    let answer = read_until(&mut client, LAST_CHUNK).await;
    assert!(parts_of(&answer).0.contains(&"connection: close"));
    timeout(TEST_TIMEOUT, served).await.unwrap().unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_server_closes_the_connection_after_the_stream_the_head_says_so() {
    for path in ["/live/closing", "/live/late"] {
        let (mut client, served, drain) = client();
        write(&mut client, &get_line(path)).await;
        wait(0).await;
        if path == "/live/late" {
            sleep(Duration::from_millis(100)).await;
            drain.start();
        }
        let answer = read_until(&mut client, LAST_CHUNK).await;
        let lines = parts_of(&answer).0.into_iter();
        let closes = lines.filter(|line| line.starts_with("connection:"));
        assert_eq!(closes.collect::<Vec<_>>(), ["connection: close"], "{path}");
        served.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_sent_during_a_stream_is_answered_after_it_and_half_a_head_has_ten_seconds() {
    let (mut client, served, _drain) = client();
    write(&mut client, &get_line("/live/held")).await;
    read_until(&mut client, "begun\r\n").await;
    write(&mut client, &format!("{GET}GET / HT")).await;
    wait(60).await;
    HELD.lock().unwrap().take();
    let answers = read_until(&mut client, "\r\n\r\nok").await;
    assert!(answers.starts_with(LAST_CHUNK), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1").count(), 1);
    assert_eq!(seconds_to_the_end(served).await, 10);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sends_during_its_stream_is_not_read_without_bound() {
    let (mut client, _served, _drain) = client();
    write(&mut client, &get_line("/live/held/long")).await;
    read_until(&mut client, "begun\r\n").await;
    let events = HELD_LONG.lock().unwrap().take().unwrap();
    let mut is_full = false;
    for _ in 0..LARGE / 1024 {
        events.unbounded_send("event").unwrap();
        let taken = timeout(Duration::from_secs(1), client.write_all(&[b'x'; 1024])).await;
        is_full |= taken.is_err();
    }
    assert!(is_full, "the pipe is not emptied");
}

#[tokio::test]
async fn what_cannot_be_sent_in_chunks_is_left_to_hyper() {
    let (mut known, _served, _drain) = client();
    write(&mut known, &get_line("/live/known")).await;
    let answer = read_until(&mut known, "known").await;
    let (head, _) = parts_of(&answer);
    assert!(head.contains(&"content-length: 5"), "{head:?}");
    assert!(!head.contains(&"transfer-encoding: chunked"), "{head:?}");

    let (mut old, served, _drain) = client();
    write(&mut old, "GET /live HTTP/1.0\r\n\r\n").await;
    timeout(TEST_TIMEOUT, served).await.unwrap().unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.unwrap();
    let (head, body) = parts_of(&answer);
    assert_eq!(body, "onethree");
    assert!(!head.contains(&"transfer-encoding: chunked"), "{head:?}");

    let (mut head_only, _served, _drain) = client();
    write(&mut head_only, "HEAD /live HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let head = read_until(&mut head_only, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    ask(&mut head_only).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_its_stream_whatever_it_sent_meanwhile() {
    for sent in ["", "x", GET] {
        let (mut client, served, _drain) = client();
        write(&mut client, &get_line("/live/quiet")).await;
        // The head comes at once, although the body has nothing yet.
        read_until(&mut client, "\r\n\r\n").await;
        write(&mut client, sent).await;
        wait(1_000).await;
        assert!(!served.is_finished(), "a running request is not idle");
        drop(client);
        served.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn after_its_stream_a_connection_is_idle_and_half_a_head_has_ten_seconds() {
    for (behind, seconds) in [("", 75), ("GET", 10)] {
        let (mut client, served, _drain) = client();
        write(&mut client, &get_line("/live")).await;
        read_until(&mut client, LAST_CHUNK).await;
        write(&mut client, behind).await;
        assert_eq!(seconds_to_the_end(served).await, seconds, "{behind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_nothing_is_disconnected_after_a_minute_and_while_draining_at_once() {
    let (mut slow, served, _drain) = client();
    write(&mut slow, &get_line("/live/flood")).await;
    for _ in 0..5 {
        wait(59).await;
        slow.read_exact(&mut [0; 8 * 1024]).await.unwrap();
    }
    assert_eq!(seconds_to_the_end(served).await, 60);

    let (mut stalled, served, drain) = client();
    write(&mut stalled, &get_line("/live/flood")).await;
    wait(1).await;
    drain.start();
    assert!(seconds_to_the_end(served).await <= 1);
}

#[tokio::test(start_paused = true)]
async fn the_body_is_asked_for_more_only_when_the_peer_has_taken_what_was_sent() {
    let (mut client, server) = duplex(1024);
    let _served = serve_over(server, PATIENCE, &Drain::default());
    write(&mut client, &get_line("/live/counted")).await;
    for taken in 0..3 {
        wait(1).await;
        let asked = ASKED_FOR.load(Ordering::Relaxed);
        assert_eq!(asked, taken + 1, "the pipe holds a part of a piece");
        client.read_exact(&mut [0; PIECE + 8]).await.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_ended_as_if_it_were_complete() {
    let (mut client, served, _drain) = client();
    write(&mut client, &get_line("/live/broken")).await;
    timeout(TEST_TIMEOUT, served).await.unwrap().unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(parts_of(&answer).1, "3\r\none\r\n");
}
