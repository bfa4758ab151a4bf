//! Receives what other nodes ask.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc;

use super::{Shared, record};
use crate::bus::Question;

/// Questions that may wait for this node. Further ones are dropped, and whoever asked gets no answer from here.
const WAITING: usize = 256;

/// Receives the questions under a subject until the receiver is dropped, or the bus is closed.
pub fn receive(shared: Arc<Shared>, subject: String) -> mpsc::Receiver<Question> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let closed = shared.closed.clone();
        tokio::select! {
            () = forward(shared, subject, &sender) => {}
            () = sender.closed() => {}
            () = closed.cancelled() => {}
        }
    });
    receiver
}

async fn forward(shared: Arc<Shared>, subject: String, sender: &mpsc::Sender<Question>) {
    // It fails only when the client is closed. After a reconnect the client subscribes again by itself.
    let Ok(mut messages) = shared.link.client.subscribe(subject).await else {
        return;
    };
    while let Some(message) = messages.next().await {
        let Some((node, bytes)) = record::read_signed(&message.payload) else {
            continue;
        };
        let Some(reply) = message.reply.filter(|_| node != shared.node) else {
            continue;
        };
        let publisher = shared.publisher.clone();
        let answer = Box::new(move |bytes| publisher.send(reply.to_string(), bytes));
        let _ = sender.try_send(Question { bytes, answer });
    }
}
