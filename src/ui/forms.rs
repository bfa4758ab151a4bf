//! Forms that work without JavaScript, and with it are posted without leaving the page.
//!
//! The route of a form answers a program with JSON. A browser that posts the form itself is redirected; if the form was
//! refused, back to its page, with the form's route and the refusal in the address (`back_to_form` in
//! `web/server/answer.rs`).

use gloo_net::http::{Request, Response};
use leptos::{ev::SubmitEvent, prelude::*, task::spawn_local};
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{FormData, HtmlFormElement, UrlSearchParams};

use super::first_state::first_state;
use crate::web::error::{ApiError, answer_in, refused};

/// A form, and how its post went.
#[derive(Clone, Copy)]
pub struct Submission {
    route: &'static str,
    pending: RwSignal<bool>,
    answer: RwSignal<Option<Result<(), ApiError>>>,
}

impl Submission {
    pub fn new(route: &'static str) -> Self {
        Self {
            route,
            pending: RwSignal::new(false),
            answer: RwSignal::new(None),
        }
    }

    /// Whether the server has not answered yet. It is not tracked.
    pub fn is_pending(self) -> bool {
        self.pending.try_get_untracked().unwrap_or_default()
    }

    /// How the last post was answered; `None` before the first answer.
    pub fn answer(self) -> Option<Result<(), ApiError>> {
        self.answer.get()
    }

    /// The handler of `submit`: posts the fields of the form, and calls `then` with the answer if it was accepted.
    pub fn post<T: DeserializeOwned + 'static>(
        self,
        then: impl Fn(T) + Clone + 'static,
    ) -> impl Fn(SubmitEvent) + 'static {
        move |event| {
            event.prevent_default();
            let Some(fields) = fields_of(&event) else {
                return;
            };
            let then = then.clone();
            self.pending.set(true);
            spawn_local(async move {
                let answer = send::<T>(self.route, fields).await;
                // The visitor may have left the page meanwhile.
                let _ = self.pending.try_set(false);
                match answer {
                    Ok(answer) => {
                        let stays = self.answer.try_set(Some(Ok(()))).is_none();
                        if stays {
                            then(answer);
                        }
                    }
                    Err(error) => drop(self.answer.try_set(Some(Err(error)))),
                }
            });
        }
    }
}

/// The fields of the form that is submitted, encoded as in an address.
pub fn fields_of(event: &SubmitEvent) -> Option<UrlSearchParams> {
    let form: HtmlFormElement = event.current_target()?.dyn_into().ok()?;
    let fields: JsValue = FormData::new_with_form(&form).ok()?.into();
    UrlSearchParams::new_with_str_sequence_sequence(&fields).ok()
}

async fn send<T: DeserializeOwned>(route: &str, fields: UrlSearchParams) -> Result<T, ApiError> {
    let response = post(route, fields).await?;
    if !response.ok() {
        return Err(refused(response).await);
    }
    answer_in(response).await
}

/// Posts the fields of a form. The answer is JSON, whatever its status. An error means that the server was not reached.
pub async fn post(route: &str, fields: UrlSearchParams) -> Result<Response, ApiError> {
    let request = Request::post(route)
        .header("accept", "application/json")
        .body(JsValue::from(fields));
    let unreachable = |_| ApiError::unreachable();
    request
        .map_err(unreachable)?
        .send()
        .await
        .map_err(unreachable)
}

/// Why the server refused a form that the browser posted by itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RefusedForm(pub Option<ApiError>);

impl RefusedForm {
    /// Provides it to all forms of the page.
    pub fn provide() {
        provide_context(first_state::<(), Self>(()).unwrap_or_default());
    }
}

/// Why the form with this route was refused before this page was loaded, for as long as the address says that it was.
pub fn refused_before(route: &'static str) -> Memo<Option<ApiError>> {
    let RefusedForm(refused) = use_context().unwrap_or_default();
    let query = use_query_map();
    Memo::new(move |_| {
        let here = query.with(|query| query.get_str("__path") == Some(route));
        refused.clone().filter(|_| here)
    })
}
