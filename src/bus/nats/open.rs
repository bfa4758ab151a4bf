//! Opens the bus of a node, and compares its replica with the streams.

use std::{
    io,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::FutureExt;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Nats, Shared,
    feed::{Feed, Progress},
    link::{Address, Link},
    outcomes::Outcomes,
    presence::Presence,
    publisher::Publisher,
    record, removals, streams,
};
use crate::bus::{
    Bus, BusError, Health,
    embedded::{self, Embedded},
};
use realtime::position::Epoch;

/// Changes of latest values by which a reader may lag behind before it has to read all values again.
const CHANGES: usize = 1_024;
/// Departures of nodes by which a reader may lag behind.
const DEPARTURES: usize = 1_024;

/// How the bus is opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: Address,
    /// How many servers of a NATS cluster hold each stream. Counts when the streams are made.
    pub replicas: usize,
    /// The operator's word that the server syncs each write.
    pub synced: bool,
    pub storage: embedded::Options,
}

/// Why the bus cannot be opened, as one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "NATS cannot be reached at {servers}: {error}. Start it, or name another address with --bus."
    )]
    Unreachable { servers: String, error: String },
    #[error("The file {} of --bus-credentials cannot be used: {error}.", .path.display())]
    Credentials { path: PathBuf, error: io::Error },
    #[error(
        "NATS takes messages of at most {most} bytes, and a snapshot of a shared text can have {needed}. Set max_payload: 16MB in its configuration."
    )]
    SmallPayload { most: usize, needed: usize },
    #[error("The stream {name} of NATS cannot be used: {error}. Is JetStream enabled?")]
    Stream { name: String, error: String },
    #[error(
        "The stream {name} of NATS was not made by Wirewise (its description is \"{description}\")."
    )]
    Foreign { name: String, description: String },
    #[error("The replica did not read the whole stream: {0}.")]
    NotCaughtUp(String),
    #[error(transparent)]
    Replica(#[from] embedded::OpenError),
    #[error(transparent)]
    Read(#[from] BusError),
}

impl Nats {
    /// Connects, makes the streams that do not exist, and brings the replica in the data folder up to date.
    pub async fn open(data_dir: &Path, options: Options) -> Result<Self, OpenError> {
        if !options.synced && options.replicas < 3 {
            tracing::warn!(
                "NATS syncs its files every two minutes unless it is told otherwise: a power cut may lose acknowledged \
                 messages. Have it sync each write (deploy/nats.conf) and say so with --bus-synced, or run three servers \
                 and set --bus-replicas 3."
            );
        }
        let link = Link::open(&options.address).await?;
        streams::make(&link.jetstream, options.replicas).await?;
        let mut epoch = streams::epoch(&link.jetstream).await?;
        let mut replica = Embedded::replica(data_dir, &epoch, options.storage)?;
        let settled = settled_epoch(&link, &replica, &epoch).await?;
        if settled != epoch {
            epoch = settled;
            replica.close().await;
            drop(replica);
            replica = Embedded::replica(data_dir, &epoch, options.storage)?;
        }
        removals::catch_up(&link, &replica).await?;
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            presence: Mutex::new(Presence::new(Instant::now())),
            departures: broadcast::Sender::new(DEPARTURES),
            publisher: Publisher::start(link.clone()),
            health: watch::Sender::new(replica.health().borrow().clone()),
            replica,
            epoch,
            node: Uuid::new_v4(),
            replicas: options.replicas,
            closed: closed.clone(),
            link,
        });
        let (changes, _) = broadcast::channel(CHANGES);
        let log = Arc::<Outcomes>::default();
        let latest = Arc::<Outcomes>::default();
        let mut progress = vec![];
        for (name, outcomes) in [(streams::LOG, &log), (streams::LATEST, &latest)] {
            let last = shared.replica.last_applied(name).await?;
            outcomes.begin_after(last.sequence);
            let (sender, receiver) = watch::channel(Progress::default());
            progress.push(receiver);
            let feed = Feed {
                name,
                shared: shared.clone(),
                outcomes: outcomes.clone(),
                progress: sender,
                changes: changes.clone(),
            };
            let shared = shared.clone();
            tokio::spawn(async move {
                let feeding = shared.closed.run_until_cancelled(feed.run());
                if AssertUnwindSafe(feeding).catch_unwind().await.is_err() {
                    // The panic hook has logged it. Without the feed the replica stands still.
                    shared.health.send_replace(Health::Broken);
                }
            });
        }
        let bus = Self {
            shared: shared.clone(),
            log,
            latest,
            changes,
            _tasks: closed.clone().drop_guard(),
        };
        let subscription = format!("{}>", record::VOLATILE_PREFIX);
        let volatile = shared.link.client.subscribe(subscription).await;
        let volatile = volatile.map_err(|error| OpenError::NotCaughtUp(error.to_string()))?;
        for task in [
            shared.clone().deliver(volatile).boxed(),
            shared.clone().say_present().boxed(),
            shared.clone().compare_epochs().boxed(),
            shared.clone().watch_health(progress.clone()).boxed(),
            shared.clone().clear_removals().boxed(),
        ] {
            let closed = closed.clone();
            tokio::spawn(async move { closed.run_until_cancelled(task).await });
        }
        shared.catch_up(progress).await?;
        Ok(bus)
    }
}

/// The epoch of the streams. It is renewed first where they have lost what the replica of this epoch holds.
async fn settled_epoch(link: &Link, replica: &Embedded, epoch: &Epoch) -> Result<Epoch, OpenError> {
    let jetstream = &link.jetstream;
    let found = streams::epoch(jetstream).await?;
    if found != *epoch {
        return Ok(found);
    }
    for name in [streams::LOG, streams::LATEST] {
        let last = replica.last_applied(name).await?;
        if last.sequence == 0 {
            continue;
        }
        if streams::is_lost(|| streams::tail(jetstream, name, &last)).await? {
            tracing::error!(
                stream = name,
                "the stream has lost events that this node holds; its epoch is renewed"
            );
            return streams::renew_epoch(jetstream, epoch).await;
        }
    }
    Ok(found)
}

impl Shared {
    /// Compares the stream with the replica after a reconnect. Returns the epoch of the stream if the history is another
    /// one than the replica's.
    pub(super) async fn check_history(&self) -> Result<Option<Epoch>, OpenError> {
        // The store of NATS may have been removed.
        streams::make(&self.link.jetstream, self.replicas).await?;
        let epoch = settled_epoch(&self.link, &self.replica, &self.epoch).await?;
        Ok((epoch != self.epoch).then_some(epoch))
    }

    /// Waits until the replica has applied everything that the streams held at the start.
    async fn catch_up(&self, progress: Vec<watch::Receiver<Progress>>) -> Result<(), OpenError> {
        let mut health = self.health.subscribe();
        let caught_up = async {
            for mut progress in progress {
                // The sender ends with the feed, which ends when the history is another one.
                let _ = progress.wait_for(|progress| progress.has_caught_up).await;
            }
        };
        tokio::select! {
            () = caught_up => Ok(()),
            Ok(_) = health.wait_for(|health| *health == Health::Renewed) => {
                Err(OpenError::NotCaughtUp("its history became another one meanwhile".into()))
            }
            Ok(broken) = async { self.replica.health().wait_for(|health| *health != Health::Well).await.map(|health| health.clone()) } => {
                Err(OpenError::NotCaughtUp(format!("{broken:?}")))
            }
        }
    }
}
