//! Tests of streams that are polled by other tasks than those of their connections, where something is published.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::HttpBody, response::IntoResponse};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use strum::VariantNames;
use tokio::task::Id;

use super::{direct_streams::*, over_tls::Files, *};
use crate::{
    contract::StreamContract,
    server::{
        ConnectionRegistry, RealtimeOptions, StreamRequest,
        topic::{Delivery, Pending, Reader, Selection, Topic},
    },
};

/// This event makes the body panic.
const PANIC: u64 = 13;

/// The body of a stream of numbers, which records the tasks that poll it.
struct Watched {
    reader: Reader<()>,
    polled_by: Arc<Mutex<Vec<Id>>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.reader.signal().register(context.waker());
        self.polled_by.lock().unwrap().push(tokio::task::id());
        match self.reader.take(1024) {
            Pending::Events(events) => {
                let is_panic = String::from_utf8_lossy(&events).contains(&data(PANIC));
                assert!(!is_panic, "on purpose");
                Poll::Ready(Some(Ok(Frame::data(events))))
            }
            Pending::Nothing => Poll::Pending,
            Pending::Ended | Pending::Lagged => Poll::Ready(None),
        }
    }
}

#[derive(Clone)]
struct Published {
    topic: Topic<()>,
    polled_by: Arc<Mutex<Vec<Id>>>,
}

impl Published {
    fn new(ring: usize) -> Self {
        Self {
            topic: Topic::new((), Delivery::EveryEvent, ring),
            polled_by: Arc::default(),
        }
    }

    fn app(&self) -> Router {
        let this = self.clone();
        app().route("/published", get(async move || this.stream()))
    }

    fn stream(&self) -> Response {
        let opened = self
            .topic
            .open(None, Selection::all(), |(), _| Vec::<u64>::new());
        let reading = Reading(opened.reader.signal().clone());
        let body = Body::new(Watched {
            reader: opened.reader,
            polled_by: self.polled_by.clone(),
        });
        (Extension(LiveBody), Extension(reading), body).into_response()
    }

    fn publish(&self, number: u64) {
        self.topic.publish(|()| number);
    }

    /// A client that reads the stream, over a pipe that holds so many bytes, and the task of its connection.
    async fn client(&self, bytes: usize) -> (DuplexStream, JoinHandle<()>) {
        let (mut client, server) = duplex(bytes);
        let drain = Drain::default();
        let wire = wire(server, PATIENCE, &drain);
        let served = tokio::spawn(connection(wire, self.app(), PATIENCE, drain));
        self.open(&mut client).await;
        (client, served)
    }

    async fn open(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        write(client, &get_line("/published")).await;
        read_until(client, "\r\n\r\n").await;
    }
}

fn data(number: u64) -> String {
    format!("data: {number}\n\n")
}

/// The tasks that poll the body for an event; the first is the one that writes it.
async fn polled_for(
    published: &Published,
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Vec<Id> {
    published.polled_by.lock().unwrap().clear();
    published.publish(1);
    read_until(client, &format!("{}\r\n", data(1))).await;
    published.polled_by.lock().unwrap().clone()
}

#[tokio::test]
async fn without_tls_the_task_of_the_connection_is_not_woken_for_what_is_published() {
    let published = Published::new(10);
    let (mut client, served) = published.client(16 * 1024).await;
    for _ in 0..3 {
        let tasks = polled_for(&published, &mut client).await;
        assert!(!tasks.is_empty() && !tasks.contains(&served.id()));
    }

    let (files, drain) = (Files::new(), Drain::default());
    let (client, server) = duplex(16 * 1024);
    let wire = wire(server, PATIENCE, &drain);
    let served = tls_connection(wire, files.open(), published.app(), PATIENCE, drain);
    let served = tokio::spawn(served);
    let mut client = files.connect(client, &["http/1.1"]).await.unwrap();
    published.topic.begin_anew();
    published.open(&mut client).await;
    let tasks = polled_for(&published, &mut client).await;
    assert!(tasks.iter().all(|task| *task == served.id()), "{tasks:?}");
}

#[tokio::test]
async fn a_stream_that_ends_where_something_is_published_leaves_its_connection_to_the_next_request()
{
    let published = Published::new(10);
    let (mut client, _served) = published.client(16 * 1024).await;
    published.publish(1);
    published.topic.end();
    let events = read_until(&mut client, LAST_CHUNK).await;
    assert!(events.contains(&data(1)));
    ask(&mut client).await;
}

#[tokio::test]
async fn a_body_that_panics_where_something_is_published_ends_its_connection_alone() {
    let published = Published::new(10);
    let (mut client, served) = published.client(16 * 1024).await;
    published.publish(PANIC);
    timeout(TEST_TIMEOUT, served).await.unwrap().unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let (mut next, _served) = published.client(16 * 1024).await;
    published.publish(1);
    read_until(&mut next, &format!("{}\r\n", data(1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_that_several_tasks_publish_arrive_once_and_in_order() {
    const EVENTS: usize = 20_000;
    const PUBLISHERS: usize = 3;
    // The smaller pipe blocks nearly every write.
    for bytes in [100, 100_000] {
        // Each of them may publish one more.
        let published = Published::new(EVENTS + PUBLISHERS);
        let (mut client, _served) = published.client(bytes).await;
        let publishers = (0..PUBLISHERS).map(|_| {
            let published = published.clone();
            tokio::spawn(async move {
                while published.topic.head().offset < EVENTS as u64 {
                    published.publish(0);
                    tokio::task::yield_now().await;
                }
            })
        });
        let publishing = async {
            futures::future::try_join_all(publishers).await.unwrap();
            published.topic.end();
        };
        let reading = async {
            let mut events = vec![];
            while !events.ends_with(LAST_CHUNK.as_bytes()) {
                let read = timeout(TEST_TIMEOUT, client.read_buf(&mut events)).await;
                assert!(read.expect("nothing more arrives").unwrap() > 0);
            }
            String::from_utf8(events).unwrap()
        };
        let ((), events) = tokio::join!(publishing, reading);
        let offsets = events.lines().filter_map(|line| line.strip_prefix("id: "));
        let offsets = offsets.map(|id| id.rsplit_once('-').unwrap().1.parse::<u64>().unwrap());
        let expected = 1..=published.topic.head().offset;
        assert!(offsets.eq(expected), "each event came once");
    }
}

/// A stream of texts.
#[derive(Clone, PartialEq)]
struct Texts;

#[derive(Clone, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
enum Text {
    Said { text: String },
}

impl StreamContract for Texts {
    const NAME: &'static str = "texts";
    const ROUTE: &'static str = "/texts";
    type Event = Text;
}

/// A stream that begins with this text, over a pipe that holds less. The client reads nothing.
fn stalled_texts(topic: &Topic<Text>) -> (DuplexStream, JoinHandle<()>, Drain) {
    let drain = Drain::default();
    let realtime = Realtime::new(RealtimeOptions::default().drain(drain.clone()));
    let topic = topic.clone();
    let texts = async move |request: StreamRequest<Texts>| request.respond_latest(&topic);
    let app = Router::new()
        .route("/texts", get(texts))
        .with_state(realtime);
    let (client, server) = duplex(1024);
    let wire = wire(server, PATIENCE, &drain);
    let served = tokio::spawn(connection(wire, app, PATIENCE, drain.clone()));
    (client, served, drain)
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_notices_the_drain_after_heartbeats_and_events() {
    let text = |length| Text::Said {
        text: "x".repeat(length),
    };
    let topic = Topic::latest(text(64 * 1024));
    let (mut client, served, drain) = stalled_texts(&topic);
    write(&mut client, &get_line("/texts")).await;
    // Two heartbeats are due meanwhile.
    wait(35).await;
    topic.set(text(1));
    wait(1).await;
    drain.start();
    assert!(seconds_to_the_end(served).await <= 1);
}

#[test]
fn what_a_thread_without_a_runtime_publishes_arrives_and_the_limits_of_a_slow_peer_stay() {
    let text = |length| Text::Said {
        text: "x".repeat(length),
    };
    let topic = Topic::latest(text(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut client, served, drain) = runtime.block_on(async {
        let (mut client, served, drain) = stalled_texts(&topic);
        write(&mut client, &get_line("/texts")).await;
        read_until(&mut client, "\n\n\r\n").await;
        (client, served, drain)
    });
    topic.set(text(2));
    runtime.block_on(read_until(&mut client, "xx\"}\n\n\r\n"));
    // One without timers, whose task finds that the peer takes no more.
    let other = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let publish_much = || {
        other.block_on(async {
            topic.set(text(64 * 1024));
            tokio::task::yield_now().await;
        })
    };
    publish_much();
    let whole = "x".repeat(64 * 1024) + "\"}\n\n\r\n";
    runtime.block_on(read_until(&mut client, &whole));
    publish_much();
    drop(other);
    drain.start();
    let served = async { timeout(TEST_TIMEOUT, served).await };
    runtime.block_on(served).unwrap().unwrap();
}

#[tokio::test]
async fn any_task_may_write_to_a_socket_only_without_tls_http_2_and_faults() {
    let may_write = |breakable| {
        async move |Extension(handle): Extension<ConnectionHandle>| {
            let connection = ConnectionRegistry::new(breakable).open("", Some(handle));
            connection.may_write_directly().to_string()
        }
    };
    let routes = || {
        Router::new()
            .route("/", get(may_write(false)))
            .route("/breakable", get(may_write(true)))
    };
    let pipe = || {
        let (client, server) = duplex(16 * 1024);
        let drain = Drain::default();
        let wire = wire(server, PATIENCE, &drain);
        (client, wire, drain)
    };
    for (path, may) in [("/", "true"), ("/breakable", "false")] {
        let (mut client, wire, drain) = pipe();
        tokio::spawn(connection(wire, routes(), PATIENCE, drain));
        write(&mut client, &get_line(path)).await;
        read_until(&mut client, may).await;
    }
    let files = Files::new();
    let (client, wire, drain) = pipe();
    tokio::spawn(tls_connection(
        wire,
        files.open(),
        routes(),
        PATIENCE,
        drain,
    ));
    let mut client = files.connect(client, &["http/1.1"]).await.unwrap();
    write(&mut client, &get_line("/")).await;
    read_until(&mut client, "false").await;
    let (client, wire, drain) = pipe();
    tokio::spawn(connection(wire, routes(), PATIENCE, drain));
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(client))
        .await
        .unwrap();
    tokio::spawn(driver);
    let request = Request::get("http://x/").body(Body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "false");
}
