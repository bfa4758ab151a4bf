//! The buttons that break the connection, and what came of the last press.

use gloo_net::http::Request;
use leptos::{ev::MouseEvent, prelude::*, task::spawn_local};

use super::{
    fault_run::{FaultAction, FaultRun, OFFLINE_MS},
    watched::Watched,
};
use crate::inspector::message::{FAULT_ROUTE, Fault};
use crate::{ui::one_press::one_press, web::error::refusal};
use realtime::{
    client::{live_text, text_content},
    contract::fill,
};

#[component]
pub(super) fn Faults(watched: Watched, acts: Vec<FaultAction>) -> impl IntoView {
    let buttons = acts.into_iter().map(|act| {
        let mut once = one_press(|| false);
        let press = move |event: MouseEvent| {
            once(event.clone());
            if !event.default_prevented() {
                press(watched, act);
            }
        };
        view! {
            <button type="button" class="small" title=act.explanation(watched.transport) on:click=press data-test=format!("fault-{}", act.name())>
                {act.label()}
            </button>
        }
    });
    let trial = watched.trial;
    let line = move |trial: FaultRun| {
        let state = match (&trial.refusal, trial.is_done()) {
            (Some(_), _) => "refused",
            (None, true) => "done",
            (None, false) => "under-way",
        };
        let steps = trial.states.join(" → ");
        let words = outcome_in_words(&trial);
        view! {
            <div class="trial" data-test="trial" data-act=trial.act.name() data-state=state>
                <p class="trial-head"><strong {..text_content(trial.act.label())}></strong>" "<span {..text_content(trial.act.explanation(watched.transport))}></span></p>
                <p {..text_content(steps)} class="trial-states" data-test="trial-states"></p>
                <p {..text_content(words)} class="trial-outcome" data-test="trial-outcome"></p>
            </div>
        }
    };
    view! {
        <section class="faults" aria-labelledby="inspector-faults">
            <h2 id="inspector-faults">"Break it"</h2>
            <p class="fault-buttons">{buttons.collect_view()}</p>
            // Always there: what is put into a live region later is heard.
            <p {..live_text(move || trial.with(|trial| trial.as_ref().map(outcome_in_words)))} class="visually-hidden" role="status"></p>
            {move || match trial.get() {
                Some(trial) => line(trial).into_any(),
                None => view! { <p class="quiet">"Only your own connection is broken, and it mends itself. A restart is felt by everybody."</p> }.into_any(),
            }}
        </section>
    }
    .into_any()
}

/// What happened, or why it could not be done; empty before.
fn outcome_in_words(trial: &FaultRun) -> String {
    match (&trial.refusal, trial.is_done()) {
        (Some(refusal), _) => refusal.clone(),
        (None, true) => format!("✓ {}", trial.outcome()),
        (None, false) => String::new(),
    }
}

/// Does it, and follows what comes of it.
fn press(watched: Watched, act: FaultAction) {
    let begun = FaultRun::begin(
        act,
        &watched.connection.status.get_untracked(),
        js_sys::Date::now(),
    );
    watched.trial.set(Some(begun));
    match act {
        FaultAction::GoOffline => watched.connection.go_offline(OFFLINE_MS),
        FaultAction::Fault(fault) => spawn_local(async move {
            let Some(connection) = watched.connection.id.try_get_untracked().flatten() else {
                return refuse(watched, act, "There is no connection to break yet.".into());
            };
            let mut asked = ask(fault, &connection).await;
            // A history is looked at when a client comes back; so it has to.
            if asked.is_ok() && fault == Fault::ExpireHistory {
                asked = ask(Fault::Drop, &connection).await;
            }
            if let Err(refusal) = asked {
                refuse(watched, act, refusal);
            }
        }),
    }
}

fn refuse(watched: Watched, act: FaultAction, refusal: String) {
    let _ = watched.trial.try_update(|trial| {
        if let Some(trial) = trial.as_mut().filter(|trial| trial.act == act) {
            trial.refusal = Some(refusal);
        }
    });
}

/// Asks the server for a fault of one of this visitor's connections; the error is a sentence.
pub async fn ask(fault: Fault, connection: &str) -> Result<(), String> {
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
    Err(refusal(response).await)
}
