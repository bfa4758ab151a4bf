//! The visitor's jobs, newest first, with what came of them.

use gloo_net::http::Request;
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use uuid::Uuid;

use super::results::outcome_words;
use crate::{
    progress::message::{JOBS_ROUTE, JobView, Progress},
    ui::first_state::first_state,
};

/// The jobs of this visitor: rendered by the server, then asked for again when one starts or ends.
#[derive(Clone, Copy)]
pub(super) struct MyJobs {
    jobs: RwSignal<Vec<JobView>>,
    /// How often the server was asked, and which of the questions was answered last: an answer that is late tells how it was.
    asked: StoredValue<u64>,
    answered: StoredValue<u64>,
}

impl MyJobs {
    pub(super) fn new() -> Self {
        let first = first_state::<(), Vec<JobView>>(());
        let known = first.is_some();
        let this = Self {
            jobs: RwSignal::new(first.unwrap_or_default()),
            asked: StoredValue::new(0),
            answered: StoredValue::new(0),
        };
        Effect::new(move |_| {
            if !known {
                this.refresh();
            }
        });
        this
    }

    /// Asks the server. What is shown stays when it cannot be reached.
    pub(super) fn refresh(self) {
        self.asked.update_value(|asked| *asked += 1);
        let question = self.asked.get_value();
        spawn_local(async move {
            let Some(jobs) = jobs_of_mine().await else {
                return;
            };
            let is_newest = self.answered.try_update_value(|answered| {
                let is_newest = question > *answered;
                *answered = question.max(*answered);
                is_newest
            });
            if is_newest == Some(true) {
                let _ = self.jobs.try_set(jobs);
            }
        });
    }

    /// The stream of a job says how it stands.
    pub(super) fn follow(self, id: Uuid, progress: &Progress) {
        let known = self.jobs.with_untracked(|jobs| {
            let known = jobs.iter().find(|job| job.id.value() == id)?;
            Some(known.progress.clone())
        });
        let news = known
            .filter(|known| known.status != progress.status)
            .and_then(|known| progress.clone().after(Some(&known)));
        if let Some(news) = news {
            self.jobs.update(|jobs| {
                let known = jobs.iter_mut().filter(|job| job.id.value() == id);
                known.for_each(|job| job.progress = news.clone());
            });
        }
    }

    /// Asks the server unless this job is in the list.
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
pub(super) async fn jobs_of_mine() -> Option<Vec<JobView>> {
    let response = Request::get(JOBS_ROUTE).send().await.ok()?;
    response.json().await.ok()
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
