//! The buttons that break the connection, and what came of the last press.

use gloo_net::http::Request;
use leptos::{prelude::*, task::spawn_local};

use super::{
    message::{FAULT_ROUTE, Fault},
    panel::Watched,
    trial::{Act, OFFLINE_MS, Trial},
};
use crate::{api::ApiError, realtime::contract::fill};

#[component]
pub(super) fn Faults(watched: Watched, acts: Vec<Act>) -> impl IntoView {
    let buttons = acts.into_iter().map(|act| {
        view! {
            <button type="button" class="small" title=act.explanation(watched.transport) on:click=move |_| press(watched, act) data-test=format!("fault-{}", act.name())>
                {act.label()}
            </button>
        }
    });
    let trial = watched.trial;
    let line = move |trial: Trial| {
        let state = match (&trial.refusal, trial.is_done()) {
            (Some(_), _) => "refused",
            (None, true) => "done",
            (None, false) => "under-way",
        };
        let (steps, outcome) = (trial.states.join(" → "), trial.outcome());
        view! {
            <div class="trial" data-test="trial" data-act=trial.act.name() data-state=state>
                <p class="trial-head"><strong>{trial.act.label()}</strong>" "{trial.act.explanation(watched.transport)}</p>
                {match trial.refusal {
                    Some(refusal) => view! { <p class="refusal" data-test="trial-refusal">{refusal}</p> }.into_any(),
                    None => view! {
                        <p class="trial-states" data-test="trial-states">{steps}</p>
                        <p class="trial-outcome" role="status" data-test="trial-outcome">{if outcome.is_empty() { String::new() } else { format!("✓ {outcome}") }}</p>
                    }.into_any(),
                }}
            </div>
        }
    };
    view! {
        <section class="faults" aria-labelledby="inspector-faults">
            <h3 id="inspector-faults">"Break it"</h3>
            <p class="fault-buttons">{buttons.collect_view()}</p>
            {move || match trial.get() {
                Some(trial) => line(trial).into_any(),
                None => view! { <p class="quiet">"Only this page's own connection is broken, and it mends itself. A restart is felt by everybody."</p> }.into_any(),
            }}
        </section>
    }
    .into_any()
}

/// Does it, and follows what comes of it.
fn press(watched: Watched, act: Act) {
    let begun = Trial::begin(
        act,
        &watched.connection.status.get_untracked(),
        js_sys::Date::now(),
    );
    watched.trial.set(Some(begun));
    match act {
        Act::GoOffline => watched.connection.go_offline(OFFLINE_MS),
        Act::Fault(fault) => spawn_local(async move {
            let Some(connection) = watched.connection.id.get_untracked() else {
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

fn refuse(watched: Watched, act: Act, refusal: String) {
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
    let refused = response.json::<ApiError>().await;
    Err(refused.map_or_else(
        |_| format!("The server answers {}.", response.status()),
        |refused| refused.error,
    ))
}
