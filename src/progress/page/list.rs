//! The visitor's jobs, newest first, with what came of them.

use gloo_net::http::Request;
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use uuid::Uuid;

use super::results::outcome_words;
use crate::{
    first_state::first_state,
    progress::message::{JOBS_ROUTE, JobView, Progress},
};

/// The jobs of this visitor: rendered by the server, then asked for again when one starts or ends.
#[derive(Clone, Copy)]
pub(super) struct MyJobs(RwSignal<Vec<JobView>>);

impl MyJobs {
    pub(super) fn new() -> Self {
        let first = first_state::<(), Vec<JobView>>(());
        let known = first.is_some();
        let this = Self(RwSignal::new(first.unwrap_or_default()));
        Effect::new(move |_| {
            if !known {
                this.refresh();
            }
        });
        this
    }

    /// Asks the server. What is shown stays when it cannot be reached.
    pub(super) fn refresh(self) {
        spawn_local(async move {
            if let Some(jobs) = jobs_of_mine().await {
                let _ = self.0.try_set(jobs);
            }
        });
    }

    /// The stream of a job says how it stands.
    pub(super) fn follow(self, id: Uuid, progress: &Progress) {
        let other = |job: &JobView| job.id.value() == id && job.progress.status != progress.status;
        if self.0.with_untracked(|jobs| jobs.iter().any(other)) {
            self.0.update(|jobs| {
                let known = jobs.iter_mut().filter(|job| job.id.value() == id);
                known.for_each(|job| job.progress = progress.clone());
            });
        }
    }

    /// Asks the server unless this job is in the list.
    pub(super) fn refresh_for(self, id: Uuid) {
        if self
            .0
            .with_untracked(|jobs| jobs.iter().all(|job| job.id.value() != id))
        {
            self.refresh();
        }
    }
}

/// `None` when the server cannot be reached.
pub(super) async fn jobs_of_mine() -> Option<Vec<JobView>> {
    let response = Request::get(JOBS_ROUTE).send().await.ok()?;
    response.json().await.ok()
}

#[component]
pub(super) fn JobList(mine: MyJobs) -> impl IntoView {
    let jobs = mine.0;
    view! {
        <section aria-labelledby="my-jobs">
            <h2 id="my-jobs">"Your jobs"</h2>
            <Show when=move || jobs.with(Vec::is_empty)>
                <p class="empty">"None yet. Finished ones are kept for a day."</p>
            </Show>
            <ul class="jobs">
                // Its status is part of the key: a row is made anew when it changes.
                <For each=move || jobs.get() key=|job| (job.id.value(), job.progress.status.word().to_owned()) let:job><Row job/></For>
            </ul>
        </section>
    }
}

#[component]
fn Row(job: JobView) -> impl IntoView {
    let words = outcome_words(&job);
    view! {
        <li data-test="my-job">
            <A href=format!("/progress/{}", job.id.value())>{job.kind.word()}</A>
            <span class="badge plain" data-status=job.progress.status.word()>{job.progress.status.word()}</span>
            <span class="quiet">{words}</span>
        </li>
    }
}
