//! Serves jobs: their state, their events, and what the start form's fields may hold.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use leptos::prelude::use_context;
use uuid::Uuid;

use super::{
    job::Job,
    message::{JOB_ROUTE, JobEvent, JobEvents, JobView},
    runner::Countdown,
};
use crate::{
    api::{ApiError, answer::Path, origin::Caller},
    first_state::FirstState,
    realtime::{
        contract::StreamContract,
        server::{
            sse::{EventStream, ResumeFrom, frame},
            topic::Opening,
        },
    },
    server::AppState,
    session::token::Session,
};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(JOB_ROUTE, get(job))
        .route(JobEvents::ROUTE, get(events))
}

/// Reads the fields of the start form. They come as text: only here can an error name its field and range.
pub fn parse_countdown(kind: &str, steps: &str, step_ms: &str) -> Result<Countdown, ApiError> {
    if kind != "countdown" {
        return Err(ApiError::field(
            "kind",
            format!("\"{kind}\" is no kind of job. There is: countdown."),
        ));
    }
    let steps = number("steps", "The number of steps", steps, 1..=1_000)?;
    let step_ms = number(
        "step_ms",
        "The length of a step in milliseconds",
        step_ms,
        10..=10_000,
    )?;
    Ok(Countdown {
        steps,
        step: Duration::from_millis(step_ms),
    })
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
        owner
            .map(|owner| jobs.of(owner).iter().map(Job::view).collect())
            .unwrap_or_default()
    });
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
    let session_ended = Some(state.sessions.end_of(&session));
    // Before the state, or a step between the two would be lost.
    let opening = job.topic().resume(after.as_ref(), |()| true);
    let (progress, position) = job.state_at();
    let stream = match opening {
        Opening::Recovered { reader, replayed } => {
            // At the client's own position: what it missed still follows.
            let state = frame(Some(&reader.written()), &JobEvent::State(progress));
            EventStream {
                reader,
                recovered: Some(replayed),
                state: vec![state],
                session_ended,
            }
        }
        Opening::Fresh(filter) => {
            let state = frame(Some(&position), &JobEvent::State(progress));
            let reader = job.topic().read_from(position.offset, filter);
            EventStream {
                reader,
                recovered: None,
                state: vec![state],
                session_ended,
            }
        }
    };
    Ok(stream.respond(job.topic(), &state.realtime, "job", place))
}

fn number(
    field: &str,
    what: &str,
    text: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ApiError> {
    let parsed = text
        .trim()
        .parse()
        .ok()
        .filter(|number| range.contains(number));
    parsed.ok_or_else(|| {
        ApiError::field(
            field,
            format!(
                "{what} is a whole number from {} to {}.",
                range.start(),
                range.end()
            ),
        )
    })
}

fn unknown_job() -> ApiError {
    ApiError::new(
        404,
        "There is no job under this id. Jobs are forgotten when the server restarts.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_is_named_with_its_range() {
        for (kind, steps, step_ms, field, needle) in [
            ("magic", "1", "10", "kind", "countdown"),
            ("countdown", "", "10", "steps", "1 to 1000"),
            ("countdown", "0", "10", "steps", "1 to 1000"),
            ("countdown", "1001", "10", "steps", "1 to 1000"),
            ("countdown", "ten", "10", "steps", "1 to 1000"),
            ("countdown", "1", "9", "step_ms", "10 to 10000"),
            ("countdown", "1", "-1", "step_ms", "10 to 10000"),
            (
                "countdown",
                "1",
                "99999999999999999999",
                "step_ms",
                "10 to 10000",
            ),
        ] {
            let error = parse_countdown(kind, steps, step_ms).unwrap_err();
            assert_eq!(
                (error.status, error.field.as_deref()),
                (Some(422), Some(field))
            );
            assert!(error.error.contains(needle), "{}", error.error);
        }
        let countdown = parse_countdown("countdown", " 10 ", "1000").unwrap();
        assert_eq!(
            countdown,
            Countdown {
                steps: 10,
                step: Duration::from_secs(1)
            }
        );
    }
}
