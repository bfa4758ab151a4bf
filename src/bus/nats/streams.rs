//! Makes the four streams, and recognises the history that they hold.
//!
//! The description of the log's stream holds the epoch: Debian's nats-server 2.9 knows no metadata of streams. A store
//! that was restored from an older copy has the epoch of that copy, although events of it were lost. So a node compares
//! the last message that it applied with the stream, at each connect, and renews the epoch if the message is not there.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{
        self, ErrorCode,
        consumer::{Consumer, DeliverPolicy, push},
        context::GetStreamErrorKind,
        response::Response,
        stream::{Config, Info, RawMessageErrorKind, RetentionPolicy, StorageType, Stream},
    },
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

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
/// Messages that are removed at the same time.
const REMOVALS: usize = 64;
/// How long a server may take to store what its cluster has agreed on, after it was elected to lead a stream.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(10);
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(250);
const DESCRIPTION: &str = "wirewise epoch ";

/// What the streams hold at one moment.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The sequence of the last message of the log, and of the latest values.
    pub log: u64,
    pub latest: u64,
}

/// Whether a stream still holds what a replica has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    Held,
    /// The stream ends before the last applied message.
    Short,
    /// The stream holds another message in the place of the last applied one.
    Other,
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

/// The epoch of the streams.
pub async fn epoch(jetstream: &jetstream::Context) -> Result<Epoch, OpenError> {
    epoch_of(&info(jetstream, LOG).await?)
}

/// The ends of the streams.
pub async fn ends(jetstream: &jetstream::Context) -> Result<Ends, OpenError> {
    let log = info(jetstream, LOG).await?;
    let latest = info(jetstream, LATEST).await?;
    Ok(Ends {
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

/// Begins to read a stream after the message with a sequence.
pub async fn read_after(
    client: &Client,
    jetstream: &jetstream::Context,
    name: &str,
    after: u64,
) -> Result<Consumer<push::OrderedConfig>, OpenError> {
    let config = push::OrderedConfig {
        deliver_subject: client.new_inbox(),
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: after + 1,
        },
        ..push::OrderedConfig::default()
    };
    let consumer = stream(jetstream, name).await?.create_consumer(config).await;
    consumer.map_err(|error| OpenError::Stream {
        name: name.into(),
        error: error.to_string(),
    })
}

/// Removes the messages of a subject before a sequence, one by one.
///
/// A purge would be one request, but nats-server 2.9.10 gets a purge of one subject wrong twice. A reader that is behind goes on
/// at the first message that this subject still has, past what it lacks of all other subjects. And a server of a cluster that
/// finds the purge in its log when it starts removes the messages of all subjects up to the end that the stream had then.
pub async fn remove_before(
    jetstream: &jetstream::Context,
    name: &str,
    subject: &str,
    before: u64,
) -> Result<(), OpenError> {
    let stream = stream(jetstream, name).await?;
    let mut removing = FuturesUnordered::new();
    let mut from = 1;
    while let Some(found) = first(&stream, subject, from).await?
        && found < before
    {
        removing.push(remove(jetstream, name, found));
        if removing.len() >= REMOVALS {
            removing.next().await.transpose()?;
        }
        from = found + 1;
    }
    while removing.next().await.transpose()?.is_some() {}
    Ok(())
}

/// Removes one message, if the stream has it. Its bytes are not overwritten, which would cost a write for each.
pub async fn remove(
    jetstream: &jetstream::Context,
    name: &str,
    sequence: u64,
) -> Result<(), OpenError> {
    let request = serde_json::json!({ "seq": sequence, "no_erase": true });
    let subject = format!("STREAM.MSG.DELETE.{name}");
    let answer: Result<Response<serde_json::Value>, _> = jetstream.request(subject, &request).await;
    let error = match answer {
        Ok(Response::Ok(_)) => return Ok(()),
        // Another node has removed it. One server and a cluster say so in different words.
        Ok(Response::Err { error }) if is_gone(error.error_code()) => return Ok(()),
        Ok(Response::Err { error }) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(OpenError::Stream {
        name: name.into(),
        error,
    })
}

fn is_gone(code: ErrorCode) -> bool {
    code == ErrorCode::SEQUENCE_NOT_FOUND || code == ErrorCode::STREAM_MESSAGE_DELETE_FAILED
}

/// The sequence of the first message of a subject, which may have wildcards, from a sequence on, if there is one.
pub async fn first(stream: &Stream<()>, subject: &str, from: u64) -> Result<Option<u64>, BusError> {
    match stream.get_first_raw_message_by_subject(subject, from).await {
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
    epoch(jetstream).await
}

/// Compares the last message that a replica applied with the stream.
pub async fn tail(
    jetstream: &jetstream::Context,
    name: &str,
    last: &StreamPlace,
) -> Result<Tail, OpenError> {
    if info(jetstream, name).await?.state.last_sequence < last.sequence {
        return Ok(Tail::Short);
    }
    let stream = stream(jetstream, name).await?;
    match stream.get_raw_message(last.sequence).await {
        Ok(found) => {
            let nanoseconds = found.time.unix_timestamp_nanos();
            let found = record::stream_place(found.sequence, Some(&found.headers), nanoseconds);
            Ok(if found == *last {
                Tail::Held
            } else {
                Tail::Other
            })
        }
        // It was removed after a snapshot, or replaced by a newer value of its key.
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(Tail::Held),
        Err(error) => Err(OpenError::Stream {
            name: name.into(),
            error: error.to_string(),
        }),
    }
}

/// Whether a stream has lost what a replica holds. `tail` compares the two.
///
/// Of a cluster the server that was just elected to lead a stream answers at once, and may have to store messages still that
/// the servers have agreed on. So a stream that is too short is asked again for a while.
pub async fn is_lost<F>(tail: impl Fn() -> F) -> Result<bool, OpenError>
where
    F: Future<Output = Result<Tail, OpenError>>,
{
    let since = Instant::now();
    loop {
        match tail().await? {
            Tail::Held => return Ok(false),
            Tail::Other => return Ok(true),
            Tail::Short if since.elapsed() >= CATCHES_UP_WITHIN => return Ok(true),
            Tail::Short => sleep(ASKED_AGAIN_AFTER).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_lost_if_it_stays_too_short_or_holds_another_message() {
        let left = Cell::new(3);
        let catches_up = is_lost(|| async {
            left.set(left.get() - 1);
            Ok(if left.get() == 0 {
                Tail::Held
            } else {
                Tail::Short
            })
        });
        assert!(!catches_up.await.unwrap());
        assert!(!is_lost(|| async { Ok(Tail::Held) }).await.unwrap());
        let since = Instant::now();
        assert!(is_lost(|| async { Ok(Tail::Other) }).await.unwrap());
        assert_eq!(since.elapsed(), Duration::ZERO);
        assert!(is_lost(|| async { Ok(Tail::Short) }).await.unwrap());
        assert!(since.elapsed() >= CATCHES_UP_WITHIN);
    }
}
