//! Serves jobs: starting them, their state, their events.

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::FutureExt;
use leptos::prelude::use_context;
use uuid::Uuid;

use super::{
    form::{Start, StartForm},
    job::{Job, NewJob},
    message::{JOB_ROUTE, JOBS_ROUTE, JobEvent, JobEvents, JobKind, JobView, UPLOAD_ROUTE},
    race::{Race, lane},
    upload::upload,
};
use crate::{
    api::{ApiError, answer::Path, origin::Caller},
    first_state::FirstState,
    realtime::{
        contract::StreamContract,
        server::{
            Line,
            sse::{EventStream, ResumeFrom, frame},
            topic::Opening,
        },
    },
    server::AppState,
    session::token::Session,
};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(JOBS_ROUTE, get(jobs))
        .route(JOB_ROUTE, get(job))
        .route(JobEvents::ROUTE, get(events))
        .merge(lane::routes())
}

/// What may take long, and be long: its own limit is a setting, and holds while the body is read.
pub fn upload_routes() -> Router<AppState> {
    Router::new().route(
        UPLOAD_ROUTE,
        post(upload).layer(DefaultBodyLimit::disable()),
    )
}

/// Starts what a form asks for.
pub fn start(state: &AppState, session: &Session, form: &StartForm) -> Result<Job, ApiError> {
    let new = |kind, total, unit| NewJob {
        id: Uuid::new_v4().into(),
        kind,
        owner: session.user.id,
        total: Some(total),
        unit,
    };
    match form.parse()? {
        Start::Countdown(countdown) => {
            let new = new(JobKind::Countdown, countdown.steps, "steps");
            state.jobs.start(new, countdown)
        }
        Start::Race(spec) => {
            let race = Race {
                spec,
                lanes: state.lanes.clone(),
                server: state.own_address()?,
            };
            state
                .jobs
                .start(new(JobKind::Race, spec.total(), "messages"), race)
        }
    }
}

/// Finds a job that its owner wants to change.
pub fn own_job(state: &AppState, session: &Session, id: &str) -> Result<Job, ApiError> {
    let id = id
        .trim()
        .parse()
        .map_err(|_| ApiError::field("id", "The id of a job is a UUID."))?;
    let job = state.jobs.get(id).ok_or_else(unknown_job)?;
    if job.owner() == session.user.id {
        Ok(job)
    } else {
        Err(ApiError::new(403, "This is somebody else's job."))
    }
}

/// What the progress pages are rendered from: one job, and the visitor's own.
pub fn provide_first_state(state: &AppState) {
    let jobs = state.jobs.clone();
    FirstState::provide(move |id: Uuid| jobs.get(id).map(|job| job.view()));
    let (jobs, sessions) = (state.jobs.clone(), use_context::<Parts>());
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

async fn jobs(State(state): State<AppState>, session: Session) -> Json<Vec<JobView>> {
    Json(state.jobs.of(session.user.id))
}

async fn job(
    State(state): State<AppState>,
    _session: Session,
    Path(id): Path<Uuid>,
) -> Result<Json<JobView>, ApiError> {
    state
        .jobs
        .get(id)
        .map(|job| Json(job.view()))
        .ok_or_else(unknown_job)
}

async fn events(
    State(state): State<AppState>,
    session: Session,
    Extension(caller): Extension<Caller>,
    line: Line,
    Path(id): Path<Uuid>,
    ResumeFrom(after): ResumeFrom,
) -> Result<Response, ApiError> {
    let job = state.jobs.get(id).ok_or_else(unknown_job)?;
    if job
        .topic()
        .end_position()
        .is_some_and(|end| after.as_ref().is_some_and(|after| *after >= end))
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = state.limits.place(caller.address)?;
    let after = after.filter(|_| !line.has_expired());
    let session_ended = state.sessions.watch(&session).ended();
    let (reader, recovered, opening) = match job.topic().resume(after.as_ref(), |()| true) {
        // No state: it would be newer than the steps that follow, and the bar would go back with them.
        Opening::Recovered { reader, replayed } => (reader, Some(replayed), vec![]),
        Opening::Fresh(filter) => {
            let (progress, position) = job.state_at();
            let state = frame(Some(&position), &JobEvent::State(progress));
            let reader = job.topic().read_from(position.offset, filter);
            (reader, None, vec![state])
        }
    };
    let stream = EventStream {
        reader,
        recovered,
        state: opening,
        session_ended: Some(session_ended.map(drop).boxed()),
        line,
    };
    Ok(stream.respond(job.topic(), &state.realtime, "job", place))
}

fn unknown_job() -> ApiError {
    let error = "There is no job under this id. Finished jobs are kept for a day.";
    ApiError::new(404, error)
}
