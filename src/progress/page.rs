//! The start form, a visitor's jobs, and the bar of one.

use leptos::{prelude::*, server_fn::error::ServerFnUrlError};
use leptos_meta::Title;
use leptos_router::{
    LazyRoute,
    components::A,
    hooks::{use_params_map, use_query_map},
    lazy_route,
};
use uuid::Uuid;

use super::message::{JobEvent, JobEvents, JobStatus, JobView, Progress, Started};
use crate::{
    api::ApiError,
    app::Visitor,
    first_state::{PageStatus, first_state},
    realtime::client::{StatusLine, StreamEvent, use_event_source},
};

/// Starts a job; the fields come as text, so that an error can name its field and range.
#[server(prefix = "/api", endpoint = "jobs/start")]
pub async fn start_job(
    kind: String,
    #[server(default)] steps: String,
    #[server(default)] step_ms: String,
) -> Result<Started, ApiError> {
    let (state, session) = crate::session::server::current()?;
    let countdown = super::server::parse_countdown(&kind, &steps, &step_ms)?;
    let id = state.jobs.countdown(session.user.id, countdown)?.id();
    leptos_axum::redirect(&format!("/progress/{id}"));
    Ok(Started { id })
}

/// Asks a job to stop; only its owner may.
#[server(prefix = "/api", endpoint = "jobs/cancel")]
pub async fn cancel_job(#[server(default)] id: String) -> Result<(), ApiError> {
    let (state, session) = crate::session::server::current()?;
    super::server::own_job(&state, &session, &id)?.cancel();
    Ok(())
}

/// The route.
pub struct ProgressPage;

#[lazy_route]
impl LazyRoute for ProgressPage {
    fn data() -> Self {
        Self
    }

    fn view(_this: Self) -> AnyView {
        view! { <ProgressRoute/> }.into_any()
    }
}

#[component]
fn ProgressRoute() -> impl IntoView {
    let params = use_params_map();
    // `None`: no job in the address. `Some(None)`: one that cannot exist.
    let job = Memo::new(move |_| {
        params.with(|params| params.get_str("job").map(|job| job.parse::<Uuid>().ok()))
    });
    let mine = first_state::<(), Vec<JobView>>(()).unwrap_or_default();
    view! {
        <Title text="Progress"/>
        <div class="columns">
            <div>
                <h1>"Progress"</h1>
                <p class="lead">"A job on the server, and its bar in as many tabs as you like. Reload in the middle: the stream goes on where you were."</p>
                <StartForm/>
                <JobList mine/>
            </div>
            // Anew for another job: its first state, its position and its stream are its own.
            <div>{move || match job.get() {
                None => view! { <p class="empty">"No job is selected. Start one, or open one from your list."</p> }.into_any(),
                Some(None) => view! { <UnknownJob/> }.into_any(),
                Some(Some(id)) => view! { <JobPanel id/> }.into_any(),
            }}</div>
        </div>
    }
}

#[component]
fn StartForm() -> impl IntoView {
    let start = ServerAction::<StartJob>::new();
    let query = use_query_map();
    let refused_before = move || {
        let query = query.get();
        let here = query
            .get_str("__path")
            .is_some_and(|path| path == start_path());
        let error = query.get_str("__err").filter(|_| here)?;
        Some(ServerFnUrlError::<ApiError>::decode_err(error))
    };
    let refusal = Memo::new(move |_| match start.value().get() {
        Some(Err(error)) => Some(error),
        Some(Ok(_)) => None,
        None => refused_before(),
    });
    let refused = move |field: &'static str| {
        move || {
            refusal.with(|refusal| {
                refusal
                    .as_ref()
                    .is_some_and(|refusal| refusal.field.as_deref() == Some(field))
                    .to_string()
            })
        }
    };
    view! {
        <ActionForm action=start attr:class="stack" attr:data-test="start-form">
            <input type="hidden" name="kind" value="countdown"/>
            <label>"Steps"
                <input name="steps" inputmode="numeric" value="10" aria-invalid=refused("steps") aria-describedby="start-refusal" data-test="steps"/>
            </label>
            <label>"Milliseconds a step"
                <input name="step_ms" inputmode="numeric" value="1000" aria-invalid=refused("step_ms") aria-describedby="start-refusal" data-test="step-ms"/>
            </label>
            <button type="submit" data-test="start" disabled=move || start.pending().get()>"Start a countdown"</button>
            <output id="start-refusal" class="refusal" data-test="start-refusal">{move || refusal.get().map(|refusal| refusal.error)}</output>
        </ActionForm>
    }
}

fn start_path() -> &'static str {
    use leptos::server_fn::ServerFn;
    StartJob::PATH
}

#[component]
fn JobList(mine: Vec<JobView>) -> impl IntoView {
    let empty = mine.is_empty();
    let rows = mine.into_iter().map(|job| {
        let label = format!(
            "{} of {} {}",
            job.progress.done,
            job.progress.total.unwrap_or_default(),
            job.progress.unit
        );
        view! {
            <li data-test="my-job">
                <A href=format!("/progress/{}", job.id)>{job.kind}</A>
                " " <span class="quiet">{label}</span>
                " " <span class="badge plain">{job.progress.status.word()}</span>
            </li>
        }
    });
    view! {
        <Show when=move || !empty>
            <h2>"Your jobs"</h2>
        </Show>
        <ul class="jobs">{rows.collect_view()}</ul>
    }
}

#[component]
fn UnknownJob() -> impl IntoView {
    PageStatus::set(404);
    view! { <p class="notice" data-test="unknown-job">"There is no job under this address. Jobs are forgotten when the server restarts; start another."</p> }
}

/// One job, live.
#[component]
fn JobPanel(id: Uuid) -> impl IntoView {
    let first = first_state::<Uuid, Option<JobView>>(id);
    let unknown = first == Some(None);
    if unknown {
        return view! { <UnknownJob/> }.into_any();
    }
    let first = first.flatten();
    let position = first.as_ref().map(|job| job.position.clone());
    let owner = first.as_ref().map(|job| job.owner);
    let ended = first
        .as_ref()
        .is_some_and(|job| job.progress.status.is_final());
    let outcome = RwSignal::new(first.as_ref().and_then(outcome_of));
    let progress = RwSignal::new(first.map(|job| job.progress));
    let finish = move |status: JobStatus, words: String| {
        progress.update(|progress| {
            if let Some(progress) = progress {
                progress.status = status;
                progress.eta_ms = None;
            }
        });
        outcome.set(Some(words));
    };
    // A finished job has nothing to stream: the page shows its end already.
    let contract = move || (!ended).then_some(JobEvents { id });
    let connection = use_event_source(contract, position, move |event| match event {
        StreamEvent::Hello(_) | StreamEvent::Heartbeat { .. } => {}
        StreamEvent::Event(JobEvent::State(state) | JobEvent::Progress(state)) => {
            progress.set(Some(state))
        }
        StreamEvent::Event(JobEvent::Done { result }) => {
            finish(JobStatus::Done, result_words(&result))
        }
        StreamEvent::Event(JobEvent::Failed { error }) => finish(JobStatus::Failed, error),
        StreamEvent::Event(JobEvent::Cancelled) => {
            finish(JobStatus::Cancelled, "Cancelled.".into())
        }
    });
    let visitor = expect_context::<Visitor>().0;
    // After a visit by the router the owner is not known here; the server decides anyway.
    let may_cancel = move || {
        owner.is_none_or(|owner| {
            visitor.with(|user| user.as_ref().is_some_and(|user| user.id == owner))
        })
    };
    let status = move || {
        progress.with(|progress| {
            progress
                .as_ref()
                .map_or(JobStatus::Queued, |progress| progress.status)
        })
    };
    let numbers = move || progress.with(|progress| progress.as_ref().map(numbers_of));
    let running = !ended;
    view! {
        <section class="job" data-test="job" data-status=move || status().word()>
            // Without JavaScript the page asks again by itself while the job runs.
            // As text: a browser with scripts parses what is in `noscript` so, and hydration would stumble over elements.
            {running.then(|| view! { <noscript inner_html="<meta http-equiv=\"refresh\" content=\"2\">"></noscript> })}
            <h2 id="job-name">"Countdown"</h2>
            {running.then(|| view! { <StatusLine connection transport="SSE"/> })}
            <progress aria-labelledby="job-name" data-test="bar"
                max=move || progress.with(|progress| progress.as_ref().and_then(|progress| progress.total).unwrap_or(1).to_string())
                value=move || progress.with(|progress| progress.as_ref().map(|progress| progress.done.to_string()))></progress>
            <p class="job-numbers"><strong data-test="job-status">{move || status().word()}</strong> " " <span data-test="job-numbers">{numbers}</span></p>
            <p class="job-outcome" role="status" data-test="job-outcome">{outcome}</p>
            <Show when=move || !status().is_final() && may_cancel()>
                <CancelForm id/>
            </Show>
        </section>
    }
    .into_any()
}

#[component]
fn CancelForm(id: Uuid) -> impl IntoView {
    let cancel = ServerAction::<CancelJob>::new();
    let refusal = move || {
        cancel
            .value()
            .get()
            .and_then(Result::err)
            .map(|error| error.error)
    };
    view! {
        <ActionForm action=cancel>
            <input type="hidden" name="id" value=id.to_string()/>
            <button type="submit" class="small" data-test="cancel">"Cancel"</button>
            <output class="refusal">{refusal}</output>
        </ActionForm>
    }
}

fn outcome_of(job: &JobView) -> Option<String> {
    match job.progress.status {
        JobStatus::Done => job.result.as_ref().map(result_words),
        JobStatus::Failed => job.error.clone(),
        JobStatus::Cancelled => Some("Cancelled.".into()),
        JobStatus::Queued | JobStatus::Running => None,
    }
}

fn result_words(result: &serde_json::Value) -> String {
    let elapsed = result.get("elapsed_ms").and_then(serde_json::Value::as_u64);
    elapsed.map_or("Done.".into(), |elapsed| {
        format!("Done in {:.1} s.", elapsed as f64 / 1_000.0)
    })
}

fn numbers_of(progress: &Progress) -> String {
    let total = progress
        .total
        .map(|total| format!(" of {total}"))
        .unwrap_or_default();
    let percent = progress
        .percent()
        .map(|percent| format!(", {percent} %"))
        .unwrap_or_default();
    let eta = progress
        .eta_ms
        .map(|eta| format!(", about {} s left", eta.div_ceil(1_000)))
        .unwrap_or_default();
    format!("{}{total} {}{percent}{eta}", progress.done, progress.unit)
}
