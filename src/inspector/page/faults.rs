//! The buttons that break the connection, and the outcome of the last press.

use gloo_net::http::Request;
use leptos::{ev::MouseEvent, prelude::*, task::spawn_local};

use super::{
    fault_run::{FaultAction, FaultRun, OFFLINE_MS},
    watched::Watched,
};
use crate::{
    inspector::message::{FAULT_ROUTE, Fault},
    ui::{erase::Erase, one_press::one_press},
    web::error::refused,
};
use realtime::{
    client::{live_text, text_content},
    contract::fill,
};

#[component]
pub(super) fn Faults(watched: Watched, actions: Vec<FaultAction>) -> impl IntoView {
    let buttons = actions.into_iter().map(|action| {
        let mut once = one_press(|| false);
        let press = move |event: MouseEvent| {
            once(event.clone());
            if !event.default_prevented() {
                press(watched, action);
            }
        };
        view! {
            <button type="button" class="small" title=action.explanation(watched.transport) on:click=press data-test=format!("fault-{}", action.name())>
                {action.label()}
            </button>
        }
    });
    let fault_run = watched.fault_run;
    let line = move |fault_run: FaultRun| {
        let state = match (&fault_run.refusal, fault_run.is_done()) {
            (Some(_), _) => "refused",
            (None, true) => "done",
            (None, false) => "under-way",
        };
        let steps = fault_run.states.join(" → ");
        let words = outcome_in_words(&fault_run);
        view! {
            <div class="trial" data-test="trial" data-act=fault_run.action.name() data-state=state>
                <p class="trial-head"><strong {..text_content(fault_run.action.label())}></strong>" "<span {..text_content(fault_run.action.explanation(watched.transport))}></span></p>
                <p {..text_content(steps)} class="trial-states" data-test="trial-states"></p>
                <p {..text_content(words)} class="trial-outcome" data-test="trial-outcome"></p>
            </div>
        }
    };
    view! {
        <section class="faults" aria-labelledby="inspector-faults">
            <h2 id="inspector-faults">"Break it"</h2>
            <p class="fault-buttons">{buttons.collect_view()}</p>
            // Always in the page, so that screen readers announce what is put into the live region later.
            <p {..live_text(move || fault_run.with(|fault_run| fault_run.as_ref().map(outcome_in_words)))} class="visually-hidden" role="status"></p>
            {move || match fault_run.get() {
                Some(fault_run) => line(fault_run).erase(),
                None => view! { <p class="quiet">"Only your own connection is broken, and it mends itself. A restart is felt by everybody."</p> }.erase(),
            }}
        </section>
    }
    .erase()
}

/// What happened, or why the action was refused; empty before.
fn outcome_in_words(fault_run: &FaultRun) -> String {
    match (&fault_run.refusal, fault_run.is_done()) {
        (Some(refusal), _) => refusal.clone(),
        (None, true) => format!("✓ {}", fault_run.outcome()),
        (None, false) => String::new(),
    }
}

/// Breaks the connection, and follows what happens.
fn press(watched: Watched, action: FaultAction) {
    let begun = FaultRun::begin(
        action,
        &watched.connection.status.get_untracked(),
        js_sys::Date::now(),
    );
    watched.fault_run.set(Some(begun));
    match action {
        FaultAction::GoOffline => watched.connection.faults().go_offline(OFFLINE_MS),
        FaultAction::Fault(fault) => spawn_local(async move {
            let Some(connection) = watched.connection.id.try_get_untracked().flatten() else {
                return refuse(
                    watched,
                    action,
                    "There is no connection to break yet.".into(),
                );
            };
            let mut outcome = request_fault(fault, &connection).await;
            // The history is read only when a client resumes, so the connection is dropped as well.
            if outcome.is_ok() && fault == Fault::ExpireHistory {
                outcome = request_fault(Fault::Drop, &connection).await;
            }
            if let Err(refusal) = outcome {
                refuse(watched, action, refusal);
            }
        }),
    }
}

fn refuse(watched: Watched, action: FaultAction, refusal: String) {
    let _ = watched.fault_run.try_update(|fault_run| {
        if let Some(fault_run) = fault_run
            .as_mut()
            .filter(|fault_run| fault_run.action == action)
        {
            fault_run.refusal = Some(refusal);
        }
    });
}

/// Requests a fault of one of the user's own connections from the server. The error is a sentence.
pub async fn request_fault(fault: Fault, connection: &str) -> Result<(), String> {
    const UNREACHABLE: &str = "The server cannot be reached.";
    let body = format!("connection={}", js_sys::encode_uri_component(connection));
    let request = Request::post(&fill(FAULT_ROUTE, &[fault.name()]))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .map_err(|error| error.to_string())?;
    let response = request.send().await.map_err(|_| UNREACHABLE.to_owned())?;
    if response.ok() {
        return Ok(());
    }
    Err(refused(response).await.error)
}
