//! A room with two members at two nodes, in which one message is on its way at a time.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::{
    figures::Percentiles,
    load::{id, is_of_type, send},
    nodes::System,
    socket::{Socket, connect, guest},
};

const ROOM: &str = "quiet";
const ROUNDS: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

pub struct Quiet {
    /// From a message to its acknowledgement.
    pub acknowledged: Percentiles,
    /// From a message to the member at the other node.
    pub delivered: Percentiles,
    /// From that member's read mark to the sender of the message.
    pub marked: Percentiles,
}

/// With one node both members are there.
pub async fn measure(system: &System) -> Quiet {
    let mut writer = join(system, 0).await;
    let mut reader = join(system, 1).await;
    let (mut acknowledged, mut delivered, mut marked) = (vec![], vec![], vec![]);
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let sent = Instant::now();
        writer
            .send(send(id(0, began.elapsed()), ROOM))
            .await
            .unwrap();
        let (ack, message) = tokio::join!(
            next(&mut writer, "ack", sent),
            next(&mut reader, "message", sent)
        );
        acknowledged.push(ack.0);
        delivered.push(message.0);
        let read = json!({"type":"read","room":ROOM,"offset":message.1["offset"]});
        let sent = Instant::now();
        reader
            .send(Message::Text(read.to_string().into()))
            .await
            .unwrap();
        marked.push(next(&mut writer, "read", sent).await.0);
        sleep(PAUSE).await;
    }
    let of = |values| Percentiles::of(values).expect("there are rounds");
    Quiet {
        acknowledged: of(acknowledged),
        delivered: of(delivered),
        marked: of(marked),
    }
}

async fn join(system: &System, member: usize) -> Socket {
    let address = system.address_of(member);
    let token = guest(address).await;
    let mut socket = connect(address, &token).await.expect("it connects");
    let join = json!({"type":"join","room":ROOM,"after":null});
    socket
        .send(Message::Text(join.to_string().into()))
        .await
        .unwrap();
    next(&mut socket, "joined", Instant::now()).await;
    socket
}

/// The next event of a type, and how long it took.
async fn next(socket: &mut Socket, kind: &str, since: Instant) -> (Duration, Value) {
    loop {
        let frame = socket.next().await.expect("it is open").unwrap();
        let took = since.elapsed();
        assert!(!is_of_type(&frame, "error"), "{frame}");
        if is_of_type(&frame, kind) {
            let event = serde_json::from_str(frame.to_text().unwrap()).unwrap();
            return (took, event);
        }
    }
}
