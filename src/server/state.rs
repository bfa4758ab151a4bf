//! Holds the parts of the server, and opens them from the settings.

use std::{io, path::PathBuf, sync::Arc};

use leptos::prelude::LeptosOptions;
use realtime::server::{
    Drain, Realtime,
    listen::{Tls, TlsError},
};

use super::{assets::Assets, features::Features, metrics};
use crate::{
    background::Supervisor,
    bus::{
        BusError, SharedBus,
        embedded::{self, Embedded, OpenError},
        nats::{self, Nats},
    },
    chat,
    guard::limits::Limits,
    inspector::server::Restart,
    routes::{OwnAddress, Web},
    session::server::token::{self, Sessions},
    settings::{BusKind, Settings, TlsSettings},
};

/// The parts of a server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct AppState {
    pub settings: Arc<Settings>,
    pub leptos: LeptosOptions,
    pub assets: Assets,
    pub realtime: Realtime,
    pub limits: Limits,
    pub bus: SharedBus,
    pub sessions: Sessions,
    /// Supervises the tasks that serve no connection.
    pub background: Supervisor,
    pub features: Features,
    pub address: OwnAddress,
    /// `None`: the server speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Makes [`run`](super::run) shut down and return [`ShutdownReason::Restart`](super::ShutdownReason::Restart).
    pub restart: Restart,
}

/// Why the server cannot start, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("The site root {} holds no pkg folder. Build the site (make build), or name it with --site-root.", .0.display())]
    NoSite(PathBuf),
    #[error("The data folder {} cannot be used: {error}. Name another with --data-dir.", .path.display())]
    NoData { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// The server does not start without this list, because users who signed out would be signed in again.
    #[error("Who signed out cannot be read from the data folder {}: {error}.", .path.display())]
    NoSignOuts { path: PathBuf, error: BusError },
    #[error(transparent)]
    Nats(#[from] nats::OpenError),
    #[error(
        "--bus nats needs --secret, the same for all servers: a session that one of them signs must be valid at the others."
    )]
    NoSharedSecret,
    #[error("{0}")]
    NoFeed(String),
    #[error("{given} needs {missing} beside it: TLS takes a certificate and its private key.")]
    HalfTls {
        given: &'static str,
        missing: &'static str,
    },
    #[error("The files of --tls-cert and --tls-key cannot be used: {0}.")]
    BadTls(#[from] TlsError),
}

impl AppState {
    /// Opens the parts that the settings name.
    pub async fn open(settings: Settings) -> Result<Self, StartError> {
        // Installed first, so that the counts include what happens while the parts are opened.
        let _ = metrics::prometheus();
        let site_root =
            std::path::absolute(&settings.site_root).unwrap_or_else(|_| settings.site_root.clone());
        if !site_root.join("pkg").is_dir() {
            return Err(StartError::NoSite(settings.site_root));
        }
        let path = || settings.data_dir.clone();
        let no_data = |error| StartError::NoData {
            path: path(),
            error,
        };
        let tls = open_tls(&settings.tls)?;
        if settings.tls.hsts && tls.is_none() && !settings.trust_proxy {
            tracing::warn!(
                "--hsts has no effect: the header is sent over https only, which needs --tls-cert and --tls-key here, or \
                 --trust-proxy behind a proxy."
            );
        }
        std::fs::create_dir_all(&settings.data_dir).map_err(no_data)?;
        // Opened first, because it locks the folder, and a second server must not touch what the first one keeps there.
        let bus = open_bus(&settings).await?;
        let sessions = Sessions::open(
            bus.clone(),
            &settings.data_dir,
            settings.secret.as_deref(),
            settings.session_lifetime,
        );
        let sessions = sessions.await.map_err(|error| match error {
            token::OpenError::Secret(error) => no_data(error),
            token::OpenError::SignedOut(error) => StartError::NoSignOuts {
                path: path(),
                error,
            },
        })?;
        let hash_file = site_root.join("hash.txt");
        let leptos = LeptosOptions::builder()
            .output_name("wirewise")
            .site_root(site_root.to_string_lossy())
            .site_pkg_dir("pkg")
            .site_addr(settings.addr)
            .hash_files(hash_file.is_file())
            // An absolute path: by default the file is searched beside the binary, which may have been moved.
            .hash_file(Arc::<str>::from(hash_file.to_string_lossy()))
            .build();
        let drain = Drain::default();
        let background = Supervisor::new(drain.clone());
        let address = OwnAddress::default();
        let features = Features::open(&settings, &bus, &drain, &background, address.clone())
            .map_err(StartError::NoFeed)?;
        Ok(Self {
            leptos,
            assets: Assets::new(site_root),
            realtime: Realtime::new(settings.realtime().drain(drain)),
            limits: Limits::new(&settings.limits),
            sessions,
            background,
            features,
            address,
            tls,
            restart: Restart::new(),
            bus,
            settings: settings.into(),
        })
    }

    /// The part of the state that every feature gets.
    pub fn web(&self) -> Web {
        Web {
            realtime: self.realtime.clone(),
            limits: self.limits.clone(),
            sessions: self.sessions.clone(),
        }
    }
}

async fn open_bus(settings: &Settings) -> Result<SharedBus, StartError> {
    let storage = embedded::Options {
        searchable: Some(chat::server::log::SEARCHABLE),
        ..embedded::Options::default()
    };
    let servers = match &settings.bus.bus {
        BusKind::Embedded => {
            return Ok(Arc::new(Embedded::with(&settings.data_dir, storage)?));
        }
        BusKind::Nats(servers) => servers.clone(),
    };
    if settings.secret.is_none() {
        return Err(StartError::NoSharedSecret);
    }
    let options = nats::Options {
        address: nats::Address {
            servers,
            credentials: settings.bus.credentials.clone(),
        },
        replicas: settings.bus.replicas,
        synced: settings.bus.synced,
        storage,
    };
    Ok(Arc::new(Nats::open(&settings.data_dir, options).await?))
}

fn open_tls(settings: &TlsSettings) -> Result<Option<Tls>, StartError> {
    let half = |given, missing| Err(StartError::HalfTls { given, missing });
    match (&settings.cert, &settings.key) {
        (Some(certificate), Some(key)) => Ok(Some(Tls::open(certificate, key)?)),
        (None, None) => Ok(None),
        (Some(_), None) => half("--tls-cert", "--tls-key"),
        (None, Some(_)) => half("--tls-key", "--tls-cert"),
    }
}
