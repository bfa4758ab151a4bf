//! Tests of the halves of a socket over a pipe in memory, with tungstenite as the client.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message};
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex},
    time::timeout,
};
use tungstenite::Message as Sent;

use super::*;
use crate::server::{fan_out::WriteNow, queue::OutQueue};

/// Takes one slice a write, as a stream of HTTP/2 does.
struct Plain(DuplexStream);

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

type Client = WebSocketStream<DuplexStream>;

async fn client(pipe: DuplexStream) -> Client {
    WebSocketStream::from_raw_socket(pipe, Role::Client, None).await
}

/// A server and its client, between whom a pipe holds so many bytes.
async fn pair(
    bytes: usize,
) -> (
    MessageSink<DuplexStream>,
    MessageStream<DuplexStream>,
    Client,
) {
    let (ours, theirs) = duplex(bytes);
    let (sink, stream) = halves(ours, WebSocketConfig::default()).await;
    (sink, stream, client(theirs).await)
}

fn text(length: usize) -> String {
    (0..length)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect()
}

/// Lengths beside each at which the header changes, and one that no pipe of these tests holds.
const LENGTHS: [usize; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 300_000];

async fn all_arrive<T: Transport>(lengths: &[usize], transport: T, theirs: DuplexStream) {
    let (mut sink, _stream) = halves(transport, WebSocketConfig::default()).await;
    let mut client = client(theirs).await;
    let sending = async {
        for &length in lengths {
            sink.feed(Message::Text(text(length).into())).await.unwrap();
            sink.feed(Message::Binary(text(length).into()))
                .await
                .unwrap();
        }
        sink.flush().await.unwrap();
    };
    let receiving = async {
        for &length in lengths {
            assert_eq!(
                client.next().await.unwrap().unwrap(),
                Sent::text(text(length))
            );
            assert_eq!(
                client.next().await.unwrap().unwrap(),
                Sent::binary(text(length))
            );
        }
    };
    futures::join!(sending, receiving);
}

#[tokio::test]
async fn messages_of_every_length_arrive_whole_and_in_order() {
    // In pieces of a byte, long messages take minutes.
    for (room, lengths) in [(1, &LENGTHS[..5]), (1_000, &LENGTHS), (1_000_000, &LENGTHS)] {
        let (ours, theirs) = duplex(room);
        all_arrive(lengths, ours, theirs).await;
        let (ours, theirs) = duplex(room);
        all_arrive(lengths, Plain(ours), theirs).await;
    }
}

#[tokio::test]
async fn more_messages_than_are_copied_together_arrive_in_order() {
    let (mut sink, _stream, mut client) = pair(1_000_000).await;
    let numbered = |number: usize| format!("{number} {}", text(number));
    for number in 0..500 {
        let message = Message::Text(numbered(number).into());
        sink.feed(message).await.unwrap();
    }
    sink.flush().await.unwrap();
    for number in 0..500 {
        let sent = client.next().await.unwrap().unwrap();
        assert_eq!(sent, Sent::text(numbered(number)));
    }
    let shared = sink.0.lock();
    assert!(!shared.pending.spilled(), "the room is given back");
}

#[tokio::test]
async fn what_a_client_sends_is_read() {
    let (_sink, mut stream, mut client) = pair(1_000_000).await;
    for sent in [Sent::text("ä"), Sent::binary("b")] {
        client.send(sent).await.unwrap();
    }
    let read: Vec<Message> = (&mut stream).take(2).map(Result::unwrap).collect().await;
    assert_eq!(
        read,
        [Message::Text("ä".into()), Message::Binary("b".into())]
    );
}

#[tokio::test]
async fn a_ping_is_answered_between_two_frames_while_a_message_is_being_written() {
    let (mut sink, mut stream, mut client) = pair(100).await;
    let long = text(10_000);
    sink.feed(Message::Text(long.clone().into())).await.unwrap();
    assert!(sink.flush().now_or_never().is_none(), "the pipe is full");
    client.send(Sent::Ping("here".into())).await.unwrap();
    assert_eq!(
        stream.next().await.unwrap().unwrap(),
        Message::Ping("here".into())
    );
    assert!(
        stream.next().now_or_never().is_none(),
        "its answer is queued by the next read"
    );
    let receiving = async {
        assert_eq!(client.next().await.unwrap().unwrap(), Sent::text(long));
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Sent::Pong("here".into())
        );
    };
    futures::join!(async { sink.flush().await.unwrap() }, receiving);
}

async fn waiting_answers_are_written<T: Transport>(transport: T, theirs: DuplexStream) {
    let (_sink, mut stream) = halves(transport, WebSocketConfig::default()).await;
    let mut client = client(theirs).await;
    let ping = |name: &str| Sent::Ping(name.repeat(90).into());
    for name in ["1", "2", "3"] {
        client.send(ping(name)).await.unwrap();
        stream.next().await.unwrap().unwrap();
    }
    let reading = stream.next();
    let receiving = async {
        for name in ["1", "2", "3"] {
            let pong = Sent::Pong(name.repeat(90).into());
            assert_eq!(client.next().await.unwrap().unwrap(), pong);
        }
    };
    tokio::select! {
        _ = reading => panic!("nothing was sent"),
        received = timeout(Duration::from_secs(10), receiving) => received.unwrap(),
    }
}

#[tokio::test]
async fn an_answer_that_had_to_wait_is_written_by_the_half_that_reads_alone() {
    let (ours, theirs) = duplex(100);
    waiting_answers_are_written(ours, theirs).await;
    // A transport that takes bytes and keeps them until it is flushed, as TLS does.
    let (ours, theirs) = duplex(100);
    waiting_answers_are_written(BufWriter::new(ours), theirs).await;
}

async fn is_stopped(ping: &str) -> bool {
    let (_sink, mut stream, mut client) = pair(1_000).await;
    // The pipe holds some of them.
    let most = MOST_ANSWERS / ANSWER_OVERHEAD + 1_000;
    let mut read = 0;
    let flood = async {
        loop {
            // Without a read tungstenite never sees its pongs.
            client
                .send(Sent::Ping(ping.to_owned().into()))
                .await
                .unwrap();
        }
    };
    let reading = async {
        while read <= most {
            stream.next().await.unwrap().unwrap();
            read += 1;
        }
    };
    let pinging = futures::future::select(Box::pin(flood), Box::pin(reading));
    // The paused clock goes on when neither of the two does.
    let is_stopped = timeout(Duration::from_secs(60), pinging).await.is_err();
    assert!(read > 0);
    is_stopped
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_answers_is_not_read_for_ever() {
    assert!(is_stopped("").await);
    assert!(is_stopped(&text(100)).await);
}

#[tokio::test]
async fn the_close_of_a_client_is_answered() {
    let (_sink, mut stream, mut client) = pair(1_000).await;
    client.close(None).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), Message::Close(None));
    assert!(stream.next().await.is_none());
    assert_eq!(client.next().await.unwrap().unwrap(), Sent::Close(None));
}

/// All bytes that a client gets which closes while a long message is being written. `after` runs when the stream has ended.
async fn bytes_around_a_close(
    long: &str,
    after: impl AsyncFnOnce(&mut MessageSink<DuplexStream>),
) -> Vec<u8> {
    let (ours, mut theirs) = duplex(100);
    let (mut sink, mut stream) = halves(ours, WebSocketConfig::default()).await;
    sink.feed(Message::Text(long.into())).await.unwrap();
    assert!(sink.flush().now_or_never().is_none(), "the pipe is full");
    // A close without a code, masked with zeros.
    theirs.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), Message::Close(None));
    let ending = async {
        assert!(stream.next().await.is_none());
        after(&mut sink).await;
        drop((sink, stream));
    };
    let mut bytes = vec![];
    let ((), read) = futures::join!(ending, theirs.read_to_end(&mut bytes));
    read.unwrap();
    bytes
}

#[tokio::test]
async fn the_close_of_a_client_is_answered_behind_what_is_unsent_and_nothing_follows() {
    let long = text(10_000);
    let header = [0x81, 126, (10_000 >> 8) as u8, (10_000 & 0xff) as u8];
    let expected = [&header, long.as_bytes(), &[0x88, 0]].concat();
    assert!(bytes_around_a_close(&long, async |_| {}).await == expected);
    let sends = async |sink: &mut MessageSink<DuplexStream>| {
        sink.send(Message::Text("later".into())).await.unwrap();
        sink.send(Message::Close(None)).await.unwrap();
    };
    assert!(bytes_around_a_close(&long, sends).await == expected);
}

#[tokio::test]
async fn nothing_follows_a_close() {
    let (mut sink, mut stream, mut client) = pair(1_000).await;
    client.send(Sent::Ping("late".into())).await.unwrap();
    let close = CloseFrame {
        code: 4_001,
        reason: "the session ended".into(),
    };
    sink.send(Message::Close(Some(close))).await.unwrap();
    assert_eq!(
        stream.next().await.unwrap().unwrap(),
        Message::Ping("late".into())
    );
    assert!(
        stream.next().now_or_never().is_none(),
        "its answer would be queued now"
    );
    sink.send(Message::Text("later".into())).await.unwrap();
    let Sent::Close(Some(close)) = client.next().await.unwrap().unwrap() else {
        panic!("no close");
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (4_001, "the session ended")
    );
    drop((sink, stream));
    assert!(client.next().await.is_none_or(|read| read.is_err()));
}

#[tokio::test]
async fn a_ping_is_sent() {
    let (mut sink, _stream, mut client) = pair(1_000).await;
    sink.send(Message::Ping("here?".into())).await.unwrap();
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Sent::Ping("here?".into())
    );
}

#[tokio::test]
async fn the_transport_ends_with_the_halves_although_a_write_was_waiting() {
    let (mut sink, mut stream, mut client) = pair(100).await;
    sink.feed(Message::Text(text(10_000).into())).await.unwrap();
    assert!(sink.flush().now_or_never().is_none(), "the pipe is full");
    assert!(stream.next().now_or_never().is_none());
    drop((sink, stream));
    let ended = timeout(Duration::from_secs(10), client.next())
        .await
        .unwrap();
    assert!(ended.is_none_or(|read| read.is_err()));
}

#[tokio::test]
async fn after_an_error_all_input_is_dropped_until_the_connection_ends() {
    let (ours, mut theirs) = duplex(1_000);
    let (mut sink, mut stream) = halves(ours, WebSocketConfig::default()).await;
    // A text that is not masked.
    theirs.write_all(&[0x81, 0]).await.unwrap();
    assert!(stream.next().await.unwrap().is_err());
    sink.send(Message::Close(None)).await.unwrap();
    let peer = async {
        theirs.write_all(&[0; 100_000]).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut bytes = vec![];
        let close = theirs.read_buf(&mut bytes).await.map(|_| bytes);
        assert_eq!(close.unwrap(), [0x88, 0]);
    };
    let both = futures::future::join(stream.next(), peer);
    let (ended, ()) = timeout(Duration::from_secs(10), both).await.unwrap();
    assert!(ended.is_none());
}

/// Writes what is taken out of a queue, as the task of a socket does.
async fn write_all(queue: OutQueue, mut sink: MessageSink<DuplexStream>) {
    loop {
        let batch = queue.take().await;
        for message in batch.messages {
            sink.feed(message).await.unwrap();
        }
        sink.flush().await.unwrap();
        if batch.close.is_some() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_that_several_tasks_write_arrive_once_and_in_order() {
    const MESSAGES: usize = 20_000;
    // The smaller pipe blocks nearly every write.
    for room in [100, 100_000] {
        let (sink, _stream, mut client) = pair(room).await;
        let queue = OutQueue::new(usize::MAX);
        queue.write_with(sink.direct());
        let task = tokio::spawn(write_all(queue.clone(), sink));
        // Each message is queued by one of them, in order, and written by any of them.
        let next = Arc::new(Mutex::new(0));
        let senders = (0..3).map(|_| {
            let (queue, next) = (queue.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    {
                        let mut next = next.lock().unwrap();
                        if *next == MESSAGES {
                            return;
                        }
                        let message = Message::Text(next.to_string().into());
                        *next += 1;
                        match *next % 7 {
                            0 => queue.push(message),
                            _ => queue.push_unnoticed(message),
                        }
                    }
                    queue.write_now();
                    tokio::task::yield_now().await;
                }
            })
        });
        let senders: Vec<_> = senders.collect();
        for number in 0..MESSAGES {
            let read = timeout(Duration::from_secs(30), client.next()).await;
            let read = read.expect("nothing more arrives").unwrap().unwrap();
            assert_eq!(read, Sent::text(number.to_string()));
        }
        futures::future::try_join_all(senders).await.unwrap();
        queue.close(1000_u16, "all is said");
        task.await.unwrap();
    }
}

#[tokio::test]
async fn what_a_direct_write_leaves_is_flushed_behind_it() {
    let (mut sink, _stream, mut client) = pair(100).await;
    let direct = sink.direct();
    let long = text(10_000);
    let message = |text: &str| Message::Text(text.into());
    let write = |text: &str| direct.upgrade().unwrap().write([message(text)].into());
    assert!(write("short"));
    assert!(!write(&long), "the pipe is full");
    let sending = async {
        sink.send(message("last")).await.unwrap();
    };
    let receiving = async {
        for expected in ["short", &long, "last"] {
            assert_eq!(client.next().await.unwrap().unwrap(), Sent::text(expected));
        }
    };
    futures::join!(sending, receiving);
    drop((sink, _stream));
    let ended = client.next().await;
    assert!(
        ended.is_none_or(|read| read.is_err()),
        "the halves are gone"
    );
}
