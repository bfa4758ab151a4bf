//! Tests a node whose NATS server counts more pending messages than there are.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use super::*;

/// The beginning of the subject that a message of a stream is answered to. It ends with the number of pending messages.
const ANSWER_TO: &[u8] = b"$JS.ACK.";

/// Passes on what a server and its clients send, but says of the last message of a stream that one more is pending. Returns the
/// port.
async fn counting_too_many(server: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await;
            let (mut from_server, mut to_server) = server.unwrap().into_split();
            let (mut from_client, mut to_client) = client.into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
                    count_one_more(&mut bytes[..read]);
                    to_client.write_all(&bytes[..read]).await.unwrap();
                }
            });
        }
    });
    port
}

fn count_one_more(bytes: &mut [u8]) {
    let mut from = 0;
    let begins = |bytes: &[u8]| {
        bytes
            .windows(ANSWER_TO.len())
            .position(|part| part == ANSWER_TO)
    };
    while let Some(begin) = begins(&bytes[from..]) {
        from += begin + ANSWER_TO.len();
        let Some(end) = bytes[from..].iter().position(|byte| *byte == b' ') else {
            return;
        };
        if bytes[..from + end].ends_with(b".0") {
            bytes[from + end - 1] = b'1';
        }
    }
}

#[tokio::test]
async fn a_node_is_ready_although_messages_are_counted_that_do_not_exist() {
    let cluster = Cluster::start().await;
    let one = cluster.node("one").await;
    for number in 0..3 {
        append(&one, &number.to_string()).await;
    }
    let port = counting_too_many(cluster.server.port).await;
    let mut options = cluster.options();
    options.address.servers = format!("nats://127.0.0.1:{port}");
    let data_dir = cluster.data_dir("two");
    let opened = timeout(TEST_TIMEOUT, Nats::open(&data_dir, options)).await;
    let two: SharedBus = Arc::new(opened.expect("it opens").unwrap());
    becomes(&two, |health| *health == Health::Well).await;
    // Later messages are counted in the same way.
    let last = append(&one, "last").await.event.offset;
    reaches(&two, LOG, last).await;
    becomes(&two, |health| matches!(health, Health::Behind { .. })).await;
    becomes(&two, |health| *health == Health::Well).await;
}
