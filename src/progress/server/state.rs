//! The state of the feature: its jobs, and what they need.

use leptos::prelude::use_context;
use realtime::server::Drain;

use super::{
    runner::Jobs, settings::ProgressSettings, store::JobStore, tasks::race::channel::RaceChannels,
};
use crate::{background::Supervisor, bus::SharedBus, routes::OwnAddress, web::error::ApiError};

/// The jobs of a server, and what they need. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Progress {
    pub jobs: Jobs,
    pub lanes: RaceChannels,
    /// The longest file that may be uploaded, in bytes.
    pub max_upload: u64,
    /// Where a race reaches this very server.
    pub server: OwnAddress,
}

impl Progress {
    /// `history`: events that a job's topic holds for clients that come back.
    pub fn new(
        settings: &ProgressSettings,
        history: usize,
        bus: SharedBus,
        drain: Drain,
        background: Supervisor,
        server: OwnAddress,
    ) -> Self {
        let store = JobStore::new(bus);
        Self {
            jobs: Jobs::new(
                settings.max_jobs as usize,
                history,
                store,
                drain,
                background,
            ),
            lanes: RaceChannels::default(),
            max_upload: settings.max_upload,
            server,
        }
    }
}

/// The jobs behind a server function.
pub fn current() -> Result<Progress, ApiError> {
    let outside = || ApiError::new(500, "This server function was called outside a request.");
    use_context().ok_or_else(outside)
}
