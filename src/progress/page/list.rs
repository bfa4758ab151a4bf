//! The list of the user's jobs, newest first, with their outcomes.

use gloo_net::http::Request;
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use uuid::Uuid;

use super::results::outcome_words;
use crate::{
    progress::message::{JOBS_ROUTE, JobView, Progress},
    ui::first_state::first_state,
    web::error::answer_in,
};

/// The jobs of the current user: rendered by the server, then requested again when one starts or ends.
#[derive(Clone, Copy)]
pub(super) struct MyJobs {
    jobs: RwSignal<Vec<JobView>>,
    /// The number of requests so far, and the newest request that was answered. The answer to an older request is
    /// outdated and ignored.
    requested: StoredValue<u64>,
    answered: StoredValue<u64>,
}

impl MyJobs {
    pub(super) fn new() -> Self {
        let first = first_state::<(), Vec<JobView>>(());
        let known = first.is_some();
        let this = Self {
            jobs: RwSignal::new(first.unwrap_or_default()),
            requested: StoredValue::new(0),
            answered: StoredValue::new(0),
        };
        Effect::new(move |_| {
            if !known {
                this.refresh();
            }
        });
        this
    }

    /// Requests the list. If the server cannot be reached, the shown list stays.
    pub(super) fn refresh(self) {
        self.requested.update_value(|requested| *requested += 1);
        let request = self.requested.get_value();
        spawn_local(async move {
            let Some(jobs) = own_jobs().await else {
                return;
            };
            let is_newest = self.answered.try_update_value(|answered| {
                let is_newest = request > *answered;
                *answered = request.max(*answered);
                is_newest
            });
            if is_newest == Some(true) {
                let _ = self.jobs.try_set(jobs);
            }
        });
    }

    /// Applies the progress that the stream of a job carries.
    pub(super) fn follow(self, id: Uuid, progress: &Progress) {
        let known = self.jobs.with_untracked(|jobs| {
            let known = jobs.iter().find(|job| job.id.value() == id)?;
            Some(known.progress.clone())
        });
        let newer = known
            .filter(|known| known.status != progress.status)
            .and_then(|known| progress.clone().after(Some(&known)));
        if let Some(newer) = newer {
            self.jobs.update(|jobs| {
                let known = jobs.iter_mut().filter(|job| job.id.value() == id);
                known.for_each(|job| job.progress = newer.clone());
            });
        }
    }

    /// Requests the list unless this job is in it.
    pub(super) fn refresh_for(self, id: Uuid) {
        if self
            .jobs
            .with_untracked(|jobs| jobs.iter().all(|job| job.id.value() != id))
        {
            self.refresh();
        }
    }
}

/// `None` when the server cannot be reached.
pub(super) async fn own_jobs() -> Option<Vec<JobView>> {
    let response = Request::get(JOBS_ROUTE).send().await.ok()?;
    answer_in(response).await.ok()
}

#[component]
pub(super) fn JobList(mine: MyJobs) -> impl IntoView {
    let jobs = mine.jobs;
    view! {
        <section aria-labelledby="my-jobs">
            <h2 id="my-jobs">"Your jobs"</h2>
            <Show when=move || jobs.with(Vec::is_empty)>
                <p class="empty">"None yet. Finished ones are kept for a day."</p>
            </Show>
            <ul class="jobs">
                // What a row shows is part of its key, so that it is rebuilt when that changes: the stream says that a job is
                // done before the list brings its result.
                <For each=move || jobs.get() key=|job| (job.id.value(), job.progress.status.word(), outcome_words(job)) let:job><Row job/></For>
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
