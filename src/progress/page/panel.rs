//! Shows one job and its live progress.

use gloo_net::http::Request;
use leptos::{prelude::*, server_fn::ServerFn, task::spawn_local};
use serde_json::Value;
use uuid::Uuid;

use super::{
    list::MyJobs,
    results::{ResultView, counted, done_words},
};
use crate::{
    inspector::page::Inspector,
    progress::message::{JOB_ROUTE, JobEvent, JobEvents, JobKind, JobStatus, JobView, Progress},
    session::{current_user::CurrentUser, page::view::follow_sign_out},
    ui::{
        erase::Erase,
        first_state::{PageStatus, first_state},
        forms::Submission,
        numbers::{fixed, grouped},
        one_press::one_press,
    },
    web::error::{ApiError, answer_in},
};
use realtime::{
    client::{StatusLine, StreamEvent, StreamOptions, live_text, use_event_source_with_options},
    contract::{StreamContract, fill},
    transport::Transport,
};

/// Asks a job to stop; only its owner may do so.
#[server(prefix = "/api", endpoint = "jobs/cancel")]
pub async fn cancel_job(#[server(default)] id: String) -> Result<(), ApiError> {
    let session = crate::session::server::current().await?;
    let progress = crate::progress::server::current()?;
    let job = crate::progress::server::own_job(&progress, &session, &id).await?;
    progress.jobs.cancel(&job).await
}

#[component]
pub(super) fn UnknownJob() -> impl IntoView {
    PageStatus::set(404);
    view! { <p class="notice" data-test="unknown-job">"There is no job under this address. Finished ones are kept for a day; start another."</p> }
}

/// The shown state of a job.
#[derive(Clone, Copy)]
struct JobState {
    id: Uuid,
    progress: RwSignal<Option<Progress>>,
    /// Kind and owner. After a navigation within the app they are loaded a moment later.
    about: RwSignal<Option<(JobKind, Uuid)>>,
    result: RwSignal<Option<Value>>,
    error: RwSignal<Option<String>>,
}

impl JobState {
    fn new(id: Uuid, view: Option<JobView>) -> Self {
        let about = view.as_ref().map(|view| (view.kind, view.owner));
        let (progress, result, error) = view
            .map(|view| (Some(view.progress), view.result, view.error))
            .unwrap_or_default();
        Self {
            id,
            progress: RwSignal::new(progress),
            about: RwSignal::new(about),
            result: RwSignal::new(result),
            error: RwSignal::new(error),
        }
    }

    /// Loads kind and owner, which the stream does not carry.
    fn load_about(self) {
        spawn_local(async move {
            let route = fill(JOB_ROUTE, &[&self.id.to_string()]);
            let Ok(response) = Request::get(&route).send().await else {
                return;
            };
            if let Ok(view) = answer_in::<JobView>(response).await {
                let _ = self.about.try_set(Some((view.kind, view.owner)));
            }
        });
    }

    /// Applies a progress, unless a newer one is known already.
    fn advance(self, received: Progress) {
        let newer = self
            .progress
            .with_untracked(|known| received.after(known.as_ref()));
        if let Some(newer) = newer {
            self.progress.set(Some(newer));
        }
    }

    fn apply(self, event: JobEvent) {
        match event {
            JobEvent::State(progress) | JobEvent::Progress(progress) => self.advance(progress),
            JobEvent::Done { result } => {
                self.result.set(Some(result));
                self.end(JobStatus::Done);
            }
            JobEvent::Failed { error } => {
                self.error.set(Some(error));
                self.end(JobStatus::Failed);
            }
            JobEvent::Cancelled => self.end(JobStatus::Cancelled),
        }
    }

    fn end(self, status: JobStatus) {
        self.progress.update(|progress| {
            if let Some(progress) = progress {
                progress.status = status;
                progress.eta_ms = None;
            }
        });
    }

    fn status(self) -> JobStatus {
        self.progress.with(|progress| {
            progress
                .as_ref()
                .map_or(JobStatus::Queued, |progress| progress.status)
        })
    }

    fn kind(self) -> Option<JobKind> {
        self.about.get().map(|(kind, _)| kind)
    }

    /// One sentence about the end of the job, or about its wait; `None` while it runs.
    fn outcome(self) -> Option<String> {
        // Nothing is known of the job yet.
        if self.progress.with(Option::is_none) {
            return None;
        }
        match self.status() {
            JobStatus::Done => self
                .result
                .with(|result| Some(done_words(self.kind()?, result.as_ref()?))),
            JobStatus::Failed => self.error.get(),
            JobStatus::Cancelled => Some("Cancelled.".into()),
            JobStatus::Queued => Some("In line: it starts when another job has ended.".into()),
            JobStatus::Running => None,
        }
    }
}

#[component]
pub(super) fn JobPanel(id: Uuid, mine: MyJobs) -> impl IntoView {
    let first = first_state::<Uuid, Option<JobView>>(id);
    if first == Some(None) {
        return view! { <UnknownJob/> }.erase();
    }
    let first = first.flatten();
    let position = first.as_ref().map(|job| job.position.clone());
    let ended = first
        .as_ref()
        .is_some_and(|job| job.progress.status.is_final());
    let known = first.is_some();
    let state = JobState::new(id, first);
    Effect::new(move |_| {
        if !known {
            state.load_about();
            mine.refresh_for(id);
        }
    });
    // A finished job needs no stream: the page shows its end already.
    let contract = move || (!ended).then_some(JobEvents { id });
    let handler = move |event| {
        if let StreamEvent::Event(event) = event {
            let last = JobEvents::is_last(&event);
            if let JobEvent::State(progress) | JobEvent::Progress(progress) = &event {
                mine.follow(id, progress);
            }
            state.apply(event);
            if last {
                mine.refresh();
            }
        }
    };
    let options = StreamOptions::default().after(position);
    let connection = use_event_source_with_options(contract, handler, options);
    let current_user = expect_context::<CurrentUser>().0;
    follow_sign_out(current_user, connection);
    let may_cancel = move || {
        let owner = state.about.get().map(|(_, owner)| owner);
        owner.is_some() && current_user.with(|user| user.as_ref().map(|user| user.id)) == owner
    };
    let progress = state.progress;
    let running = !ended;
    let name = move || state.kind().map_or("Job", JobKind::word);
    // A bar without a value moves to and fro, which is right only while the job runs.
    let value = move || {
        progress.with(|progress| {
            let progress = progress.as_ref()?;
            match (progress.total, progress.status.is_final()) {
                (Some(_), _) => Some(progress.done),
                (None, true) => Some(progress.done.max(1)),
                (None, false) => None,
            }
        })
    };
    let most = move || {
        progress.with(|progress| match progress {
            Some(Progress {
                total: Some(total), ..
            }) => (*total).max(1),
            Some(Progress {
                total: None,
                done,
                status,
                ..
            }) if status.is_final() => (*done).max(1),
            _ => 1,
        })
    };
    view! {
        <section class="job" data-test="job" data-status=move || state.status().word()>
            // Without JavaScript the page reloads itself while the job runs. The element is given as text, because a
            // browser with scripts parses the content of `noscript` as text, and hydration would fail on elements.
            {running.then(|| view! { <noscript inner_html="<meta http-equiv=\"refresh\" content=\"2\">"></noscript> })}
            <h2 {..live_text(name)} id="job-name"></h2>
            {running.then(|| view! { <StatusLine connection transport="SSE" counted="watching"/> })}
            <progress aria-labelledby="job-name" data-test="bar" max=move || most().to_string()
                value=move || value().map(|value| value.to_string())></progress>
            <p class="job-numbers"><strong {..live_text(move || state.status().word())} data-test="job-status"></strong> " "
                <span {..live_text(move || progress.with(|progress| progress.as_ref().map(numbers_of)))} data-test="job-numbers"></span></p>
            <p {..live_text(move || state.outcome())} class="job-outcome" role="status" data-test="job-outcome"></p>
            {move || state.kind().zip(state.result.get()).map(|(kind, result)| view! { <ResultView kind result/> })}
            <Show when=move || !state.status().is_final() && may_cancel()>
                <CancelForm id/>
            </Show>
        </section>
        {running.then(|| view! { <Inspector connection transport=Transport::Sse/> })}
    }
    .erase()
}

#[component]
fn CancelForm(id: Uuid) -> impl IntoView {
    let cancel = Submission::new(CancelJob::PATH);
    let refusal = move || Some(cancel.answer()?.err()?.error);
    let fields = view! {
        <input type="hidden" name="id" value=id.to_string()/>
        <button type="submit" class="small" data-test="cancel" on:click=one_press(move || cancel.is_pending())>"Cancel"</button>
        <output {..live_text(refusal)} class="refusal"></output>
    }
    .erase();
    view! {
        <form method="post" action=CancelJob::PATH on:submit=cancel.post(|()| ())>{fields}</form>
    }
}

/// The count, the percentage, the rate and the time left, in words.
fn numbers_of(progress: &Progress) -> String {
    let percent = progress.percent().map(|percent| format!(", {percent} %"));
    // The estimate is the remaining count divided by the smoothed rate, so the rate is the remaining count divided by
    // the estimate.
    let left = progress
        .total
        .map(|total| total.saturating_sub(progress.done));
    let rate = left.zip(progress.eta_ms).filter(|(_, eta)| *eta > 0);
    let rate = rate.map(|(left, eta)| {
        let rate = left as f64 * 1_000.0 / eta as f64;
        let rate = if rate < 10.0 {
            fixed(rate, 1)
        } else {
            grouped(rate.round() as u64)
        };
        format!(", {rate} {} a second", progress.unit)
    });
    let eta = progress
        .eta_ms
        .map(|eta| format!(", about {} left", duration(eta)));
    let note = Some(&progress.note)
        .filter(|note| !note.is_empty() && progress.status == JobStatus::Running);
    [
        Some(counted(progress)),
        percent,
        rate,
        eta,
        note.map(|note| format!(" ({note})")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn duration(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
#[path = "panel_tests.rs"]
mod tests;
