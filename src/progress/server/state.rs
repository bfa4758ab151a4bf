//! The state of the progress feature: its jobs, and what they need.

use leptos::prelude::use_context;
use realtime::server::Drain;

use super::{
    runner::Jobs, settings::ProgressSettings, store::JobStore, tasks::race::channel::RaceChannels,
};
use crate::{background::Supervisor, bus::SharedBus, routes::OwnAddress, web::error::ApiError};

/// The jobs of a server, and what they need. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Progress {
    pub jobs: Jobs,
    pub channels: RaceChannels,
    /// The longest file that may be uploaded, in bytes.
    pub max_upload: u64,
    /// The address at which a race connects to this server.
    pub server: OwnAddress,
}

impl Progress {
    /// `history`: the events that a job's topic holds for clients that resume.
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
            channels: RaceChannels::default(),
            max_upload: settings.max_upload,
            server,
        }
    }
}

/// The state, for a server function.
pub fn current() -> Result<Progress, ApiError> {
    let outside = || ApiError::new(500, "This server function was called outside a request.");
    use_context().ok_or_else(outside)
}
