//! The name form in the header. It is a plain form, so it works without JavaScript; with it, the page stays.

use gloo_net::http::Request;
use leptos::{ev::SubmitEvent, prelude::*, server_fn::error::ServerFnUrlError, task::spawn_local};
use leptos_router::hooks::use_query_map;
use wasm_bindgen::JsCast;

use super::{NAME_RULE, SIGN_IN_ROUTE, SignedIn, User, valid_name};
use crate::{
    api::ApiError,
    app::Visitor,
    icons::{Glyph, Icon},
    one_press::one_press,
    realtime::client::live_text,
};

/// Who one is, and how to be called something else.
#[component]
pub fn NameForm() -> impl IntoView {
    let visitor = expect_context::<Visitor>().0;
    let refusal = RwSignal::new(None::<String>);
    let query = use_query_map();
    // What the server put into the address when it refused a form that was posted without JavaScript.
    let refused_before = move || {
        let query = query.get();
        let here = query.get_str("__path") == Some(SIGN_IN_ROUTE);
        let error = query.get_str("__err").filter(|_| here)?;
        Some(ServerFnUrlError::<ApiError>::decode_err(error).error)
    };
    let shown = Memo::new(move |_| refusal.get().or_else(refused_before));
    let name = move || visitor.get().map(|user| user.name).unwrap_or_default();
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let form = event
            .target()
            .and_then(|target| target.dyn_into::<web_sys::HtmlFormElement>().ok());
        let field = form.and_then(|form| form.elements().named_item("name"));
        let Some(input) =
            field.and_then(|field| field.dyn_into::<web_sys::HtmlInputElement>().ok())
        else {
            return;
        };
        match valid_name(&input.value()) {
            None => refusal.set(Some(NAME_RULE.into())),
            Some(name) => {
                let name = name.to_owned();
                spawn_local(async move {
                    match sign_in(&name).await {
                        Ok(user) => {
                            refusal.set(None);
                            visitor.set(Some(user));
                            let _ = input.blur();
                        }
                        Err(error) => refusal.set(Some(error)),
                    }
                });
            }
        }
    };
    view! {
        <form class="name" method="post" action=SIGN_IN_ROUTE on:submit=submit data-test="name-form">
            <svg class="avatar" viewBox="0 0 16 16" aria-hidden="true">
                <circle cx="8" cy="8" r="8" fill=move || visitor.get().map(|user| user.color).unwrap_or_default()></circle>
            </svg>
            <label class="visually-hidden" for="name">"Your name"</label>
            // The server checks its length too; no `maxlength`, so that a long name is refused in words.
            <input id="name" name="name" dir="auto" autocomplete="nickname" required=true value=name prop:value=name
                aria-describedby="name-refusal" aria-invalid=move || shown.get().is_some().to_string() data-test="name"/>
            <button type="submit" class="bare" title="Rename" on:click=one_press(|| false)><Icon glyph=Glyph::Rename/><span class="visually-hidden">"Rename"</span></button>
            <output {..live_text(move || shown.get())} id="name-refusal" class="refusal" data-test="name-refusal"></output>
        </form>
    }
    .into_any()
}

async fn sign_in(name: &str) -> Result<User, String> {
    const UNREACHABLE: &str = "The server cannot be reached. The name was not changed.";
    let body = format!("name={}", js_sys::encode_uri_component(name));
    let request = Request::post(SIGN_IN_ROUTE)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let response = request
        .map_err(|error| error.to_string())?
        .send()
        .await
        .map_err(|_| UNREACHABLE.to_owned())?;
    if response.ok() {
        response
            .json::<SignedIn>()
            .await
            .map(|signed_in| signed_in.user)
            .map_err(|error| error.to_string())
    } else {
        Err(crate::api::refusal(response).await)
    }
}
