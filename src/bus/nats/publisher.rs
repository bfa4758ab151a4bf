//! Publishes in the order of the calls, and waits for the acknowledgements of the stream.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use async_nats::jetstream::{message::PublishMessage, publish::PublishAck};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{link::Link, record::Record};
use crate::bus::BusError;

/// Bytes that may wait for their acknowledgement. Beyond this the stream is too slow for the load, and further writes are
/// refused.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that a message costs beyond its payload.
const OVERHEAD: usize = 512;
/// Volatile messages that may wait to be sent. Further ones are dropped, as a slow listener would miss them.
const VOLATILE: usize = 1_024;

/// Publishes to the streams and to volatile subjects. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    link: Link,
    /// `None` once it is closed. A std mutex: it is held to send to a channel that never waits.
    jobs: Arc<Mutex<Option<mpsc::UnboundedSender<Job>>>>,
    volatile: mpsc::Sender<Volatile>,
    waiting: Arc<AtomicUsize>,
}

enum Volatile {
    Message(String, Bytes),
    /// Everything before it was sent.
    Flush(oneshot::Sender<()>),
}

struct Job {
    record: Record,
    bytes: usize,
    reply: oneshot::Sender<Result<PublishAck, BusError>>,
}

impl Publisher {
    /// Starts the tasks, which end with the publisher.
    pub fn start(link: Link) -> Self {
        let (jobs, queued) = mpsc::unbounded_channel();
        let (volatile, unsent) = mpsc::channel(VOLATILE);
        let waiting = Arc::<AtomicUsize>::default();
        tokio::spawn(publish(link.clone(), queued, waiting.clone()));
        tokio::spawn(send(link.clone(), unsent));
        Self {
            link,
            jobs: Arc::new(Mutex::new(Some(jobs))),
            volatile,
            waiting,
        }
    }

    /// Queues a message. The answer is the acknowledgement of the stream. Without a connection a message is refused at
    /// once: the caller keeps it, and sends it again when the connection is back.
    pub fn publish(
        &self,
        record: Record,
    ) -> Result<oneshot::Receiver<Result<PublishAck, BusError>>, BusError> {
        if !self.link.is_up() {
            return Err(BusError::Unavailable("NATS cannot be reached".into()));
        }
        let bytes = record.payload.len() + OVERHEAD;
        if self.waiting.load(Ordering::Relaxed) > WAITING_BYTES {
            return Err(BusError::Unavailable(
                "more waits to be acknowledged than may".into(),
            ));
        }
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or(BusError::Closed)?;
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let job = Job {
            record,
            bytes,
            reply,
        };
        jobs.send(job).map_err(|_| BusError::Closed)?;
        Ok(answer)
    }

    /// Sends a volatile message, if there is a connection.
    pub fn send(&self, subject: String, bytes: Bytes) {
        if self.link.is_up() {
            // A full queue: the message is lost, as volatile messages may be.
            let _ = self.volatile.try_send(Volatile::Message(subject, bytes));
        }
    }

    /// Resolves when the server has got every volatile message that was sent before.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.volatile.send(Volatile::Flush(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Accepts no more messages for the streams.
    pub fn close(&self) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.take();
    }
}

async fn publish(link: Link, mut queued: mpsc::UnboundedReceiver<Job>, waiting: Arc<AtomicUsize>) {
    while let Some(job) = queued.recv().await {
        let Job {
            record,
            bytes,
            reply,
        } = job;
        let began = Instant::now();
        let message = PublishMessage::build()
            .payload(record.payload)
            .headers(record.headers);
        // One after the other, so that they reach the stream in this order.
        let sent = link.jetstream.send_publish(record.subject, message).await;
        let waiting = waiting.clone();
        // The acknowledgements are awaited beside each other.
        tokio::spawn(async move {
            let acknowledged = match sent {
                Ok(acknowledgement) => acknowledgement.await,
                Err(error) => Err(error),
            };
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            if acknowledged.is_ok() {
                let seconds = began.elapsed().as_secs_f64();
                metrics::histogram!("wirewise_bus_publish_ack_seconds").record(seconds);
            }
            let acknowledged = acknowledged.map_err(|error| {
                tracing::warn!(%error, "the stream did not acknowledge a message");
                BusError::Unavailable(error.to_string())
            });
            // The caller may have dropped the answer; the message is stored all the same.
            let _ = reply.send(acknowledged);
        });
    }
}

async fn send(link: Link, mut unsent: mpsc::Receiver<Volatile>) {
    while let Some(message) = unsent.recv().await {
        // Both fail only when the client is closed.
        match message {
            Volatile::Message(subject, bytes) => drop(link.client.publish(subject, bytes).await),
            Volatile::Flush(done) => {
                let _ = link.client.flush().await;
                let _ = done.send(());
            }
        }
    }
}
