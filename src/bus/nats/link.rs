//! The connection to NATS: opens it, says whether it stands, and opens it again with the kit's backoff.

use std::{path::PathBuf, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{self, context::ContextBuilder},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::OpenError;
use realtime::backoff::Backoff;

/// How long the first connection may take. A supervisor starts a server that gave up again.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// A connection whose other end is silent for two pings in a row counts as lost. The default of a minute would leave
/// writers waiting.
const PING_EVERY: Duration = Duration::from_secs(3);
/// How long the stream may take to acknowledge a message. Then its sender is told to try again.
pub const ACKNOWLEDGES_WITHIN: Duration = Duration::from_secs(5);
/// The largest event: a snapshot of the largest shared text, and its headers.
const LARGEST_EVENT: usize = 8 * 1024 * 1024 + 16 * 1024;
/// The reconnect backoff: the kit's, but short, because all clients of this node wait for it.
const BACKOFF: Backoff = Backoff {
    base_ms: 100,
    cap_ms: 2_000,
    watched_cap_ms: 2_000,
};

/// How a NATS server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Addresses as `nats://HOST:PORT` or `tls://HOST:PORT`, separated by commas.
    pub servers: String,
    /// The file with the credentials of a user (a JWT and its key), if the servers ask for one.
    pub credentials: Option<PathBuf>,
}

/// The connection. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    pub client: Client,
    pub jetstream: jetstream::Context,
    state: watch::Receiver<LinkState>,
}

/// Whether the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// How often the connection was opened.
    pub connects: u64,
    /// Since when there is none.
    pub away_since: Option<Instant>,
}

impl Link {
    pub async fn open(address: &Address) -> Result<Self, OpenError> {
        let (changes, state) = watch::channel(LinkState {
            connects: 0,
            away_since: Some(Instant::now()),
        });
        let mut options = ConnectOptions::new()
            .name("wirewise")
            .ping_interval(PING_EVERY)
            .connection_timeout(CONNECTS_WITHIN)
            .request_timeout(Some(ACKNOWLEDGES_WITHIN))
            .reconnect_delay_callback(|attempts| {
                let attempt = u32::try_from(attempts).unwrap_or(u32::MAX);
                let delay = BACKOFF.delay_ms(attempt.saturating_sub(1), false, rand::random());
                Duration::from_millis(delay)
            })
            .event_callback(move |event| {
                note(&changes, &event);
                std::future::ready(())
            });
        if let Some(file) = &address.credentials {
            options =
                options
                    .credentials_file(file)
                    .await
                    .map_err(|error| OpenError::Credentials {
                        path: file.clone(),
                        error,
                    })?;
        }
        let unreachable = |error: String| OpenError::Unreachable {
            servers: address.servers.clone(),
            error,
        };
        let servers: Vec<&str> = address.servers.split(',').map(str::trim).collect();
        let client = timeout(CONNECTS_WITHIN, options.connect(&servers[..]))
            .await
            .map_err(|_| unreachable("no answer".into()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let most = client.max_payload();
        if most < LARGEST_EVENT {
            return Err(OpenError::SmallPayload {
                most,
                needed: LARGEST_EVENT,
            });
        }
        let jetstream = ContextBuilder::new()
            .timeout(ACKNOWLEDGES_WITHIN)
            .ack_timeout(ACKNOWLEDGES_WITHIN)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            state,
        })
    }

    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    pub fn is_up(&self) -> bool {
        self.state.borrow().away_since.is_none()
    }
}

fn note(changes: &watch::Sender<LinkState>, event: &Event) {
    changes.send_if_modified(|state| match event {
        Event::Connected => {
            state.connects += 1;
            state.away_since = None;
            if state.connects > 1 {
                metrics::counter!("wirewise_bus_reconnects").increment(1);
                tracing::info!("connected to NATS again");
            }
            true
        }
        Event::Disconnected | Event::Closed if state.away_since.is_none() => {
            state.away_since = Some(Instant::now());
            tracing::warn!("the connection to NATS is lost; nothing is stored until it is back");
            true
        }
        _ => false,
    });
}
