//! Makes the four streams, and recognises the history that they hold.
//!
//! The description of the log's stream holds the epoch: Debian's nats-server 2.9 knows no metadata of streams. A store
//! that was restored from an older copy has the epoch of that copy, although events of it were lost. So a node compares
//! the last message that it applied with the stream, at each connect, and renews the epoch if the message is not there.

use std::time::Duration;

use async_nats::jetstream::{
    self, ErrorCode,
    context::GetStreamErrorKind,
    stream::{Config, Info, RawMessageErrorKind, RetentionPolicy, StorageType, Stream},
};

use super::{OpenError, record};
use crate::bus::{BusError, CLAIM_LIFETIME, embedded::stream_place::StreamPlace};
use realtime::position::Epoch;

/// The log of logs: one message an event.
pub const LOG: &str = "WIREWISE_LOG";
/// The latest values: one message a key.
pub const LATEST: &str = "WIREWISE_LATEST";
/// Claims: the first message of a subject wins.
pub const CLAIMS: &str = "WIREWISE_CLAIMS";
/// Leases: one message a key, which its owner renews.
pub const LEASES: &str = "WIREWISE_LEASES";

/// JetStream compares ids for this long. The replicas do so for ever; this only spares the stream most repetitions.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long the stream keeps a message of a lease. Its owner renews it more often.
pub const LEASE_LIFETIME: Duration = Duration::from_secs(8);
const DESCRIPTION: &str = "wirewise epoch ";

/// What the streams hold at one moment.
#[derive(Clone, Debug)]
pub struct Ends {
    pub epoch: Epoch,
    /// The sequence of the last message of the log, and of the latest values.
    pub log: u64,
    pub latest: u64,
}

/// Whether a stream still holds what a replica has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    Held,
    /// The stream ends before the last applied message, or holds another one in its place.
    Lost,
}

/// Makes the streams that do not exist yet.
pub async fn make(jetstream: &jetstream::Context, replicas: usize) -> Result<(), OpenError> {
    let epoch = Epoch::random();
    let log = Config {
        name: LOG.into(),
        subjects: vec![format!("{}>", record::LOG_PREFIX)],
        description: Some(description(&epoch)),
        duplicate_window: DUPLICATE_WINDOW,
        ..file_stream(replicas)
    };
    let latest = Config {
        name: LATEST.into(),
        subjects: vec![format!("{}>", record::LATEST_PREFIX)],
        max_messages_per_subject: 1,
        ..file_stream(replicas)
    };
    let claims = Config {
        name: CLAIMS.into(),
        subjects: vec![format!("{}>", record::CLAIM_PREFIX)],
        max_age: CLAIM_LIFETIME,
        duplicate_window: CLAIM_LIFETIME,
        ..file_stream(replicas)
    };
    let leases = Config {
        name: LEASES.into(),
        subjects: vec![format!("{}>", record::LEASE_PREFIX)],
        max_messages_per_subject: 1,
        max_age: LEASE_LIFETIME,
        duplicate_window: LEASE_LIFETIME,
        ..file_stream(replicas)
    };
    for config in [log, latest, claims, leases] {
        let name = config.name.clone();
        if exists(jetstream, &name).await? {
            continue;
        }
        match jetstream.create_stream(config).await {
            Ok(_) => tracing::info!(stream = %name, "a stream of NATS was made"),
            // Another node may have made it first, under an epoch of its own. Several errors say so: that the name is
            // taken, or, while it is being made, that its subjects are.
            Err(error) => {
                if !exists(jetstream, &name).await? {
                    return Err(OpenError::Stream {
                        name,
                        error: error.to_string(),
                    });
                }
            }
        }
    }
    Ok(())
}

fn file_stream(replicas: usize) -> Config {
    Config {
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        num_replicas: replicas,
        ..Config::default()
    }
}

async fn exists(jetstream: &jetstream::Context, name: &str) -> Result<bool, OpenError> {
    match jetstream.get_stream(name).await {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(false)
            }
            _ => Err(OpenError::Stream {
                name: name.into(),
                error: error.to_string(),
            }),
        },
    }
}

/// The epoch and the ends of the streams.
pub async fn ends(jetstream: &jetstream::Context) -> Result<Ends, OpenError> {
    let log = info(jetstream, LOG).await?;
    let latest = info(jetstream, LATEST).await?;
    Ok(Ends {
        epoch: epoch_of(&log)?,
        log: log.state.last_sequence,
        latest: latest.state.last_sequence,
    })
}

async fn info(jetstream: &jetstream::Context, name: &str) -> Result<Info, OpenError> {
    let stream = jetstream.get_stream(name).await;
    let stream = stream.map_err(|error| OpenError::Stream {
        name: name.into(),
        error: error.to_string(),
    })?;
    Ok(stream.cached_info().clone())
}

/// A stream, without asking for its state.
pub async fn stream(jetstream: &jetstream::Context, name: &str) -> Result<Stream<()>, OpenError> {
    let stream = jetstream.get_stream_no_info(name).await;
    stream.map_err(|error| OpenError::Stream {
        name: name.into(),
        error: error.to_string(),
    })
}

/// The sequence of the first message of a subject, if there is one.
pub async fn first(stream: &Stream<()>, subject: &str) -> Result<Option<u64>, BusError> {
    match stream.get_first_raw_message_by_subject(subject, 1).await {
        Ok(first) => Ok(Some(first.sequence)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(BusError::Unavailable(error.to_string())),
    }
}

fn description(epoch: &Epoch) -> String {
    format!("{DESCRIPTION}{}", epoch.as_str())
}

fn epoch_of(info: &Info) -> Result<Epoch, OpenError> {
    let description = info.config.description.as_deref().unwrap_or_default();
    let epoch = description.strip_prefix(DESCRIPTION);
    epoch
        .and_then(|epoch| Epoch::new(epoch).ok())
        .ok_or_else(|| OpenError::Foreign {
            name: info.config.name.clone(),
            description: description.to_owned(),
        })
}

/// Gives the history of the stream a new epoch, unless another node has done so already. Returns the epoch that counts.
pub async fn renew_epoch(jetstream: &jetstream::Context, old: &Epoch) -> Result<Epoch, OpenError> {
    let info = info(jetstream, LOG).await?;
    let found = epoch_of(&info)?;
    if found != *old {
        return Ok(found);
    }
    let config = Config {
        description: Some(description(&Epoch::random())),
        ..info.config
    };
    let updated = jetstream.update_stream(config).await;
    updated.map_err(|error| OpenError::Stream {
        name: LOG.into(),
        error: error.to_string(),
    })?;
    // Of two nodes that renew at once the later one wins. What stands there now is checked again every few seconds.
    epoch_of(&self::info(jetstream, LOG).await?)
}

/// Compares the last message that a replica applied with the stream, whose last sequence is `end`.
pub async fn tail(stream: &Stream<()>, end: u64, last: &StreamPlace) -> Result<Tail, OpenError> {
    if end < last.sequence {
        return Ok(Tail::Lost);
    }
    match stream.get_raw_message(last.sequence).await {
        Ok(found) => {
            let nanoseconds = found.time.unix_timestamp_nanos();
            let found = record::stream_place(found.sequence, Some(&found.headers), nanoseconds);
            Ok(if found == *last {
                Tail::Held
            } else {
                Tail::Lost
            })
        }
        // It was purged by a snapshot, or replaced by a newer value of its key.
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(Tail::Held),
        Err(error) => Err(OpenError::Stream {
            name: "of a replica".into(),
            error: error.to_string(),
        }),
    }
}
