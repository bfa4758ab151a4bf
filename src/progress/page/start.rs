//! The forms that start a job. They work without JavaScript; with it, the page is not left.

// On the module, because the code that `#[server]` generates does not inherit the attributes of its function.
#![allow(clippy::too_many_arguments, reason = "the fields of all start forms")]

use leptos::{ev::SubmitEvent, prelude::*, server_fn::ServerFn};
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde::{Deserialize, Serialize};

use super::upload::UploadForm;
use crate::{
    progress::message::Started,
    ui::{
        erase::Erase,
        forms::{Submission, refused_before},
        one_press::one_press,
    },
    web::error::ApiError,
};
use realtime::client::live_text;

/// Starts a job. The fields are received as text, so that an error can name its field and range.
#[server(prefix = "/api", endpoint = "jobs/start")]
pub async fn start_job(
    #[server(default)] kind: String,
    #[server(default)] steps: String,
    #[server(default)] step_ms: String,
    #[server(default)] messages: FieldOr<10_000>,
    #[server(default)] size: FieldOr<100>,
    #[server(default)] rounds: FieldOr<3>,
    #[server(default)] mode: String,
    #[server(default)] rate: FieldOr<5_000>,
) -> Result<Started, ApiError> {
    let session = crate::session::server::current().await?;
    let progress = crate::progress::server::current()?;
    let form = crate::progress::server::form::StartForm {
        kind,
        steps,
        step_ms,
        messages: messages.0,
        size: size.0,
        rounds: rounds.0,
        mode,
        rate: rate.0,
    };
    let id = crate::progress::server::start(&progress, &session, &form)
        .await?
        .id();
    leptos_axum::redirect(&format!("/progress/{id}"));
    Ok(Started { id: id.into() })
}

/// A number as text. A missing field is `NUMBER`; an empty field is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldOr<const NUMBER: u64>(pub String);

impl<const NUMBER: u64> Default for FieldOr<NUMBER> {
    fn default() -> Self {
        Self(NUMBER.to_string())
    }
}

/// The forms of the three kinds of job; one of them is unfolded at a time.
#[component]
pub(super) fn StartForms() -> impl IntoView {
    let fields = &["kind", "steps", "step_ms"];
    let countdown = Refusals::new("countdown-refusal", fields, true);
    let fields = &["messages", "size", "rounds", "mode", "rate"];
    let race = Refusals::new("race-refusal", fields, false);
    // Without JavaScript the page is rendered again, with the refused form unfolded.
    let race_first = race.before().is_some();
    view! {
        <div class="kinds">
            <details name="kind" open=!race_first>
                <summary>"Countdown"</summary>
                <CountdownForm refusals=countdown/>
            </details>
            <details name="kind" data-test="upload-kind">
                <summary>"Checksum of a file"</summary>
                <UploadForm/>
            </details>
            <details name="kind" open=race_first data-test="race-kind">
                <summary>"Race SSE against WebSocket"</summary>
                <RaceForm refusals=race/>
            </details>
        </div>
    }
}

#[component]
fn CountdownForm(refusals: Refusals) -> impl IntoView {
    let fields = view! {
        <input type="hidden" name="kind" value="countdown"/>
        <Number refusals name="steps" label="Steps" value="10" test="steps"/>
        <Number refusals name="step_ms" label="Milliseconds a step" value="1000" test="step-ms"/>
        <button type="submit" data-test="start" on:click=one_press(move || refusals.form.is_pending())>"Start a countdown"</button>
        <output {..live_text(move || refusals.words())} id=refusals.id class="refusal" data-test="start-refusal"></output>
    }
    .erase();
    view! {
        <form class="stack" method="post" action=StartJob::PATH on:submit=refusals.start() data-test="start-form">{fields}</form>
    }
}

#[component]
fn RaceForm(refusals: Refusals) -> impl IntoView {
    let fields = view! {
        <input type="hidden" name="kind" value="race"/>
        <div class="pair">
            <Number refusals name="messages" label="Messages a round" value="10000" test="messages"/>
            <Number refusals name="size" label="Bytes a message" value="100" test="size"/>
            <Number refusals name="rounds" label="Rounds" value="3" test="rounds"/>
            <Number refusals name="rate" label="Messages a second, when paced" value="5000" test="rate"/>
        </div>
        <fieldset class="choice">
            <legend>"Mode"</legend>
            <label><input type="radio" name="mode" value="burst" checked=true/> "Burst, as fast as it goes"</label>
            <label><input type="radio" name="mode" value="paced" data-test="paced"/> "Paced, at a rate"</label>
        </fieldset>
        <button type="submit" data-test="start-race" on:click=one_press(move || refusals.form.is_pending())>"Start the race"</button>
        <output {..live_text(move || refusals.words())} id=refusals.id class="refusal" data-test="race-refusal"></output>
    }
    .erase();
    view! {
        <p class="quiet">"The server connects to itself and sends the same messages over both transports, one after the other in random order."</p>
        <form class="stack" method="post" action=StartJob::PATH on:submit=refusals.start() data-test="race-form">{fields}</form>
    }
}

/// A field for a whole number. Only the server checks it, and reports what is wrong.
#[component]
fn Number(
    refusals: Refusals,
    name: &'static str,
    label: &'static str,
    value: &'static str,
    test: &'static str,
) -> impl IntoView {
    let refused = move || refusals.names(name).to_string();
    view! {
        <label>{label}
            <input name=name inputmode="numeric" value=value aria-invalid=refused aria-describedby=refusals.id data-test=test/>
        </label>
    }
}

/// Why a form was refused: just now, or, without JavaScript, before this page was rendered.
#[derive(Clone, Copy)]
struct Refusals {
    form: Submission,
    /// The id of the element with the refusal, to which the fields refer.
    id: &'static str,
    refusal: Memo<Option<ApiError>>,
    before: Memo<Option<ApiError>>,
}

impl Refusals {
    /// The refusals of the form with these fields. With `others` they include errors that name no field, which cannot
    /// be assigned to a form.
    fn new(id: &'static str, fields: &'static [&'static str], others: bool) -> Self {
        let form = Submission::new(StartJob::PATH);
        let refused = refused_before(StartJob::PATH);
        let ours = move |error: &ApiError| match &error.field {
            Some(field) => fields.contains(&field.as_str()),
            None => others,
        };
        let before = Memo::new(move |_| refused.get().filter(ours));
        let refusal = Memo::new(move |_| match form.answer() {
            None => before.get(),
            Some(answer) => answer.err(),
        });
        Self {
            form,
            id,
            refusal,
            before,
        }
    }

    /// The handler of `submit`, after which the page of the job opens.
    fn start(self) -> impl Fn(SubmitEvent) {
        let navigate = use_navigate();
        self.form.post(move |started: Started| {
            let job = format!("/progress/{}", started.id);
            navigate(&job, NavigateOptions::default());
        })
    }

    fn before(self) -> Option<ApiError> {
        self.before.get_untracked()
    }

    fn words(self) -> Option<String> {
        self.refusal.get().map(|refusal| refusal.error)
    }

    fn names(self, field: &str) -> bool {
        self.refusal.with(|refusal| {
            refusal
                .as_ref()
                .is_some_and(|refusal| refusal.field.as_deref() == Some(field))
        })
    }
}
