//! Reads a stream in order into the replica, again and again from where the replica stands.

use std::{pin::pin, sync::Arc, time::Duration};

use async_nats::jetstream::{Message, consumer::push};
use futures::{StreamExt, stream::FuturesOrdered};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep},
};

use super::{
    OpenError, Shared,
    link::{Link, LinkState},
    outcomes::Outcomes,
    record, removals, streams,
};
use crate::bus::{
    BusError, Health,
    embedded::{
        replica::{Applied, Change},
        stream_place::StreamPlace,
    },
};
use realtime::position::Epoch;

/// Messages and bytes that may wait to be applied at once: enough for large commits.
const WAITING: usize = 1_024;
const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Where NATS has counted messages that it does not send for so long, the stream is asked whether it has any.
const QUIET: Duration = Duration::from_secs(1);
/// How often the stream may answer that it has messages which are not sent. Then it is read anew. A message of 8 MiB may take so
/// long over a slow link.
const LOOKS: u32 = 60;
/// The pause after a failure that is not the connection's: a full disk, a stream without a leader.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// It has applied everything that the stream held when the feed began.
    pub has_caught_up: bool,
    /// The oldest moment at which the stream is known to have held more than the replica has applied by now, and the
    /// sequence of its end at that moment.
    pub behind: Option<(Instant, u64)>,
}

/// Reads one stream.
pub struct Feed {
    pub name: &'static str,
    pub shared: Arc<Shared>,
    pub outcomes: Arc<Outcomes>,
    pub progress: watch::Sender<Progress>,
    pub changes: broadcast::Sender<(String, bytes::Bytes)>,
}

/// Why a reader of the stream stopped.
enum Stop {
    /// The connection changed.
    Link,
    Failed(String),
    /// The history of the stream is another one: the server has to open its parts again.
    Renewed(Epoch),
    /// The replica was away for so long that it may lack removals (`removals.rs`). What was read from it is served still, so
    /// the server opens its parts again here too.
    Away,
}

fn failed(error: impl ToString) -> Stop {
    Stop::Failed(error.to_string())
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        failed(error)
    }
}

impl From<BusError> for Stop {
    fn from(error: BusError) -> Self {
        failed(error)
    }
}

impl Feed {
    /// Runs until the bus is closed, or until the history of the stream is another one.
    pub async fn run(self) {
        let mut link = self.shared.link.state();
        let mut heard = Instant::now();
        loop {
            if link
                .wait_for(|state| state.away_since.is_none())
                .await
                .is_err()
            {
                return;
            }
            let state = *link.borrow_and_update();
            match self.read(&mut link, state, &mut heard).await {
                Stop::Link => {}
                Stop::Renewed(epoch) => {
                    self.shared.renewed(&epoch);
                    return;
                }
                Stop::Away => {
                    tracing::warn!(
                        "the stream was away for a day; the server opens its parts again"
                    );
                    self.shared.health.send_replace(Health::Renewed);
                    return;
                }
                Stop::Failed(error) => {
                    tracing::warn!(stream = self.name, error, "the stream is read again");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Reads until something stops it. `heard`: when the stream was last heard of.
    async fn read(
        &self,
        link: &mut watch::Receiver<LinkState>,
        state: LinkState,
        heard: &mut Instant,
    ) -> Stop {
        let (messages, last) = match self.begin(state, *heard).await {
            Ok(begun) => begun,
            Err(stop) => return stop,
        };
        let stop = self.follow(link, messages, last).await;
        *heard = Instant::now();
        match stop {
            Ok(stop) | Err(stop) => stop,
        }
    }

    /// Compares the replica with the stream, and asks for the messages after those that it has.
    async fn begin(
        &self,
        state: LinkState,
        heard: Instant,
    ) -> Result<(push::Ordered, StreamPlace), Stop> {
        let last = self.shared.replica.last_applied(self.name).await?;
        // The bus checked the first connection when it was opened.
        if state.connects > 1
            && let Some(epoch) = self.shared.check_history().await?
        {
            return Err(Stop::Renewed(epoch));
        }
        if self.name == streams::LATEST && heard.elapsed() >= removals::READ_AGAIN_AFTER {
            return Err(Stop::Away);
        }
        let Link {
            client, jetstream, ..
        } = &self.shared.link;
        let consumer = streams::read_after(client, jetstream, self.name, last.sequence).await?;
        if consumer.cached_info().num_pending == 0 {
            self.has_caught_up();
        }
        let messages = consumer.messages().await;
        Ok((messages.map_err(failed)?, last))
    }

    async fn follow(
        &self,
        link: &mut watch::Receiver<LinkState>,
        mut messages: push::Ordered,
        mut last: StreamPlace,
    ) -> Result<Stop, Stop> {
        let (mut waiting, mut waiting_bytes) = (FuturesOrdered::new(), 0);
        let stream = streams::stream(&self.shared.link.jetstream, self.name).await?;
        let mut quiet = pin!(sleep(QUIET));
        let mut looks = 0;
        loop {
            let has_room = waiting.len() < WAITING && waiting_bytes < WAITING_BYTES;
            tokio::select! {
                // First: after a reconnect the stream may be another one.
                biased;
                changed = link.changed() => {
                    let _ = changed;
                    return Ok(Stop::Link);
                }
                Some(answer) = waiting.next() => {
                    let (sequence, bytes, change, pending, applied): (_, usize, _, u64, _) = answer;
                    waiting_bytes -= bytes;
                    let behind = pending.saturating_add(waiting.len() as u64);
                    self.applied(sequence, change, behind, applied?);
                }
                message = messages.next(), if has_room => {
                    quiet.as_mut().reset(Instant::now() + QUIET);
                    looks = 0;
                    let message = message.ok_or_else(|| Stop::Failed("the consumer ended".into()))?;
                    let message = message.map_err(failed)?;
                    let info = message.info().map_err(failed)?;
                    let (sequence, pending) = (info.stream_sequence, info.pending);
                    let nanoseconds = info.published.unix_timestamp_nanos();
                    // The library begins at the first message when it has to make the consumer anew before any came.
                    if sequence <= last.sequence {
                        continue;
                    }
                    let place = record::stream_place(sequence, message.headers.as_ref(), nanoseconds);
                    let at = (nanoseconds / 1_000_000).max(0) as u64;
                    let Message { message, .. } = message;
                    let bytes = message.payload.len();
                    let change = record::read(&message.subject, message.headers.as_ref(), message.payload);
                    if change == Change::Unknown {
                        tracing::warn!(subject = %message.subject, sequence, "a message of the stream is not understood; a newer version may have written it");
                    }
                    let after = std::mem::replace(&mut last, place.clone()).sequence;
                    let news = match &change {
                        Change::Latest { key, value } => Some((key.clone(), value.clone())),
                        _ => None,
                    };
                    let applied = self.shared.replica.apply(self.name, after, place, at, change);
                    waiting_bytes += bytes;
                    waiting.push_back(async move { (sequence, bytes, news, pending, applied.await) });
                    if pending > 0 {
                        self.is_behind(sequence.saturating_add(pending));
                    }
                }
                // nats-server 2.9.10 may count too many for good once messages were removed.
                () = &mut quiet, if waiting.is_empty() && self.counts_more() => {
                    quiet.as_mut().reset(Instant::now() + QUIET);
                    match streams::first(&stream, ">", last.sequence + 1).await? {
                        None => self.has_caught_up(),
                        Some(next) if looks == LOOKS => {
                            return Err(failed(format!("message {next} is not sent")));
                        }
                        Some(_) => looks += 1,
                    }
                }
            }
        }
    }

    fn applied(
        &self,
        sequence: u64,
        change: Option<(String, bytes::Bytes)>,
        behind: u64,
        outcome: Applied,
    ) {
        self.outcomes.applied(sequence, outcome);
        if let Some(change) = change {
            // An error means that nobody listens.
            let _ = self.changes.send(change);
        }
        self.set_lag(behind);
        self.progress.send_if_modified(|progress| {
            let changed = progress.behind.is_some_and(|(_, end)| end <= sequence);
            if changed {
                progress.behind = None;
            }
            changed
        });
        if behind == 0 {
            self.has_caught_up();
        }
    }

    fn set_lag(&self, events: u64) {
        metrics::gauge!("wirewise_bus_replica_lag", "stream" => self.name).set(events as f64);
    }

    /// Whether the replica is not known to have everything.
    fn counts_more(&self) -> bool {
        let progress = self.progress.borrow();
        !progress.has_caught_up || progress.behind.is_some()
    }

    /// The stream ended at `end` just now.
    fn is_behind(&self, end: u64) {
        self.progress.send_if_modified(|progress| {
            let changed = progress.behind.is_none();
            if changed {
                progress.behind = Some((Instant::now(), end));
            }
            changed
        });
    }

    fn has_caught_up(&self) {
        self.set_lag(0);
        self.progress.send_if_modified(|progress| {
            let changed = !progress.has_caught_up || progress.behind.is_some();
            (progress.has_caught_up, progress.behind) = (true, None);
            changed
        });
    }
}
