//! What the panel of a job shows while its connection is lost, resumes, cannot resume, or is refused.

use std::time::Duration;

use leptos::prelude::*;
use uuid::Uuid;

use super::{JobPanel, MyJobs};
use crate::{
    progress::message::{JobEvent, JobEvents, JobKind, JobStatus, JobView, Progress},
    session::current_user::CurrentUser,
    ui::first_state::FirstState,
};
use realtime::{
    position::{Epoch, Position},
    testing::{Page, test_page},
};

const SECOND: Duration = Duration::from_secs(1);
const ID: Uuid = Uuid::from_u128(1);
const OWNER: Uuid = Uuid::from_u128(2);

fn at(done: u64) -> Progress {
    Progress {
        status: JobStatus::Running,
        done,
        total: Some(10),
        unit: "steps".into(),
        eta_ms: Some((10 - done) * 1_000),
        note: String::new(),
    }
}

/// The panel as the server renders it when the job has made one step.
fn panel() -> impl IntoView {
    provide_context(CurrentUser(RwSignal::new(None)));
    FirstState::provide(|id: Uuid| {
        Some(JobView {
            id: id.into(),
            kind: JobKind::Countdown,
            owner: OWNER,
            started_at: 0,
            progress: at(1),
            result: None,
            error: None,
            position: rendered_at(),
        })
    });
    FirstState::provide(|(): ()| Vec::<JobView>::new());
    view! { <JobPanel id=ID mine=MyJobs::new()/> }
}

fn rendered_at() -> Position {
    Position::new(Epoch::new("before").expect("an epoch"), 1)
}

/// What the panel shows, without the folded inspector below it.
fn shown(page: &Page) -> String {
    let text = page.text();
    let (panel, _) = text.split_once(" Inspector ").expect("an inspector");
    panel.to_owned()
}

const TWO_STEPS: &str = "Running 2 of 10 steps, 20 %, 1.0 steps a second, about 8 s left";

#[test]
fn a_job_keeps_its_progress_while_its_connection_is_lost_and_then_goes_on() {
    test_page(panel, |page, server| {
        let stream = server.accept_stream::<JobEvents>();
        assert_eq!(stream.resumes_after(), Some(rendered_at()));
        stream.hello_resumed(&[JobEvent::Progress(at(2))]);
        assert_eq!(
            shown(page),
            format!("Countdown SSE Connected 1 watching {TWO_STEPS}")
        );
        stream.cut();
        assert_eq!(
            shown(page),
            format!("Countdown SSE Connection lost. Retrying in 1 s Retry now {TWO_STEPS}")
        );
        server.advance(SECOND);
        let again = server.accept_stream::<JobEvents>();
        again.hello_resumed(&[JobEvent::Progress(at(3)), JobEvent::Progress(at(4))]);
        assert_eq!(
            shown(page),
            "Countdown SSE Connected 1 watching Running 4 of 10 steps, 40 %, 1.0 steps a second, about 6 s left"
        );
    });
}

/// A server that crashed knows less of the job than the page has seen.
#[test]
fn a_job_does_not_go_backwards_when_its_history_is_lost() {
    test_page(panel, |page, server| {
        let stream = server.accept_stream::<JobEvents>();
        stream.hello_resumed(&[JobEvent::Progress(at(7))]);
        stream.cut();
        server.advance(SECOND);
        let again = server.accept_stream::<JobEvents>();
        again.hello_unrecovered();
        again.state(&JobEvent::State(at(3)));
        assert!(shown(page).contains("7 of 10 steps"), "{}", page.text());
        again.event(&JobEvent::Progress(at(8)));
        assert!(shown(page).contains("8 of 10 steps"), "{}", page.text());
    });
}

#[test]
fn a_job_that_the_server_does_not_know_any_more_is_described_and_not_requested_again() {
    test_page(panel, |page, server| {
        server.accept_stream::<JobEvents>().refuse(404);
        let words = "SSE There is nothing under this address (any more). Retry now";
        assert!(shown(page).contains(words), "{}", page.text());
        server.advance(100 * SECOND);
        assert!(server.waiting().is_empty(), "it has stopped");
    });
}
