//! The server half of jobs: routes that start them, cancel them, and serve their state and events.

mod cluster;
mod elsewhere;
pub mod form;
pub mod job;
mod rate;
pub mod runner;
pub mod settings;
pub mod state;
pub mod store;
pub mod tasks;
pub mod upload;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::request::Parts,
    response::Response,
    routing::{get, post},
};
use leptos::prelude::{provide_context, use_context};
use uuid::Uuid;

pub use self::state::{Progress, current};
use self::{
    form::{Start, StartForm},
    job::{Job, NewJob},
    runner::Jobs,
    tasks::race::{self, Race},
    upload::upload,
};
use super::message::{JOB_ROUTE, JOBS_ROUTE, JobEvents, JobKind, JobView, UPLOAD_ROUTE};
use crate::{
    routes::{Feature, Routes, Web},
    session::server::token::Session,
    ui::first_state::FirstState,
    web::{error::ApiError, server::answer::Path},
};
use realtime::{contract::StreamContract, server::StreamRequest};

pub fn routes(web: Web, progress: Progress) -> Routes {
    let (jobs_run, restored) = (progress.jobs.clone(), progress.jobs.clone());
    let (followed, ended) = (progress.jobs.clone(), progress.jobs.clone());
    let (first, called) = (progress.jobs.clone(), progress.clone());
    let state = web.with(progress);
    let live = Router::new()
        .route(JobEvents::ROUTE, get(events))
        .merge(race::routes::routes());
    let plain = Router::new()
        .route(JOBS_ROUTE, get(jobs))
        .route(JOB_ROUTE, get(job));
    // A file may be long and take long. Its own limit is a setting, which is checked while the body is read.
    let upload = post(upload).layer(DefaultBodyLimit::disable());
    let slow = Router::new().route(UPLOAD_ROUTE, upload);
    Routes::default()
        .live(live.with_state(state.clone()))
        .plain(plain.with_state(state.clone()))
        .slow(slow.with_state(state))
        .context(move || provide_context(called.clone()))
        .first_state(move |path| first_state(first.clone(), path.to_owned()))
        .before_start(async move { restored.restore().await })
        .background("jobs", move || jobs_run.clone().run())
        .background("jobs of other nodes", move || {
            followed.clone().follow_others()
        })
        .last_write(async move { ended.end_own().await })
}

/// Starts the job that a form requests.
pub async fn start(
    progress: &Progress,
    session: &Session,
    form: &StartForm,
) -> Result<Job, ApiError> {
    let new = |kind, total, unit| NewJob {
        id: Uuid::new_v4().into(),
        kind,
        owner: session.user.id,
        total: Some(total),
        unit,
    };
    let job = match form.parse()? {
        Start::Countdown(countdown) => {
            let new = new(JobKind::Countdown, countdown.steps, "steps");
            progress.jobs.start(new, countdown)?
        }
        Start::Race(spec) => {
            let race = Race {
                spec,
                channels: progress.channels.clone(),
                server: progress.server.reachable()?,
            };
            progress
                .jobs
                .start(new(JobKind::Race, spec.total(), "messages"), race)?
        }
    };
    progress.jobs.stored(&job).await?;
    Ok(job)
}

/// Finds a job for a change, which only its owner may make.
pub async fn own_job(progress: &Progress, session: &Session, id: &str) -> Result<Job, ApiError> {
    let id = id
        .trim()
        .parse()
        .map_err(|_| ApiError::field("id", "The id of a job is a UUID."))?;
    let job = progress.jobs.find(id).await?;
    if job.owner() == session.user.id {
        Ok(job)
    } else {
        Err(ApiError::new(403, "This is somebody else's job."))
    }
}

/// Waits for what a page shows, which another node may just have started. The returned function provides the first states.
async fn first_state(jobs: Jobs, path: String) -> impl Fn() + Send + Sync + 'static {
    let below = path.strip_prefix("/progress");
    if below.is_some() {
        jobs.catch_up().await;
    }
    let id = below.and_then(|below| below.strip_prefix('/'));
    if let Some(id) = id.and_then(|id| id.parse().ok()) {
        // Where it is not found, the page says so.
        let _ = jobs.find(id).await;
    }
    move || provide_first_state(&jobs)
}

/// Provides the first states of the progress pages: one job, and the user's own jobs.
fn provide_first_state(all: &Jobs) {
    let jobs = all.clone();
    FirstState::provide(move |id: Uuid| jobs.get(id).map(|job| job.view()));
    let (jobs, sessions) = (all.clone(), use_context::<Parts>());
    let owner = sessions.and_then(|parts| {
        parts
            .extensions
            .get::<Session>()
            .map(|session| session.user.id)
    });
    FirstState::provide(move |()| -> Vec<JobView> {
        owner.map(|owner| jobs.of(owner)).unwrap_or_default()
    });
}

async fn jobs(State(state): State<Feature<Progress>>, session: Session) -> Json<Vec<JobView>> {
    state.own.jobs.catch_up().await;
    Json(state.own.jobs.of(session.user.id))
}

async fn job(
    State(state): State<Feature<Progress>>,
    _session: Session,
    Path(id): Path<Uuid>,
) -> Result<Json<JobView>, ApiError> {
    Ok(Json(state.own.jobs.find(id).await?.view()))
}

async fn events(
    State(Feature { web, own: progress }): State<Feature<Progress>>,
    session: Session,
    Path(id): Path<Uuid>,
    stream: StreamRequest<JobEvents>,
) -> Result<Response, ApiError> {
    let job = progress.jobs.find_live(id, stream.after()).await?;
    let stream = stream.until(web.sessions.watch(&session).ended());
    Ok(stream.respond(job.topic(), |state| vec![state.snapshot()]))
}
