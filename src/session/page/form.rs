//! The session in the header: the form for the name and the form for signing out.
//!
//! They are plain forms, so they work without JavaScript; with it, the page is not loaded again.

use leptos::{ev::SubmitEvent, prelude::*, task::spawn_local};
use wasm_bindgen::JsCast;
use web_sys::UrlSearchParams;

use super::tabs;
use crate::{
    session::{
        NAME_RULE, SIGN_IN_ROUTE, SIGN_OUT_ROUTE, SignedIn, User, current_user::CurrentUser,
        valid_name,
    },
    ui::{
        erase::Erase,
        forms::{fields_of, post, refused_before},
        icons::{Glyph, Icon},
        one_press::one_press,
    },
    web::error::{ApiError, answer_in, refused},
};
use realtime::client::live_text;

/// The user's name, the forms for renaming and signing out, and after signing out the button to continue.
#[component]
pub fn Person() -> impl IntoView {
    let current_user = expect_context::<CurrentUser>().0;
    tabs::listen(current_user);
    let refusal = RwSignal::new(None::<String>);
    let is_there = Memo::new(move |_| current_user.with(Option::is_some));
    view! {
        <Show when=move || is_there.get() fallback=SignedOut>
            <NameForm current_user refusal/>
            <SignOut current_user refusal/>
        </Show>
    }
    .erase()
}

#[component]
fn NameForm(
    current_user: RwSignal<Option<User>>,
    refusal: RwSignal<Option<String>>,
) -> impl IntoView {
    let before = [SIGN_IN_ROUTE, SIGN_OUT_ROUTE].map(refused_before);
    let refused_before = move || before.iter().find_map(|refused| refused.get());
    let shown = Memo::new(move |_| refusal.get().or_else(|| Some(refused_before()?.error)));
    let name = move || current_user.get().map(|user| user.name).unwrap_or_default();
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
        if valid_name(&input.value()).is_none() {
            refusal.set(Some(NAME_RULE.into()));
            return;
        }
        let Some(fields) = fields_of(&event) else {
            return;
        };
        spawn_local(async move {
            match sign_in(fields).await {
                Ok(user) => {
                    refusal.set(None);
                    tabs::broadcast_name(&user);
                    current_user.set(Some(user));
                    let _ = input.blur();
                }
                Err(refused) => refusal.set(Some(refused.error)),
            }
        });
    };
    view! {
        <form class="name" method="post" action=SIGN_IN_ROUTE on:submit=submit data-test="name-form">
            <svg class="avatar" viewBox="0 0 16 16" aria-hidden="true">
                <circle cx="8" cy="8" r="8" fill=move || current_user.get().map(|user| user.color).unwrap_or_default()></circle>
            </svg>
            <label class="visually-hidden" for="name">"Your name"</label>
            // No `maxlength`, so that a long name is refused with a sentence. The server checks the length too.
            <input id="name" name="name" dir="auto" autocomplete="nickname" required=true value=name prop:value=name
                aria-describedby="name-refusal" aria-invalid=move || shown.get().is_some().to_string() data-test="name"/>
            <button type="submit" class="bare" title="Rename" on:click=one_press(|| false)><Icon glyph=Glyph::Rename/><span class="visually-hidden">"Rename"</span></button>
            <output {..live_text(move || shown.get())} id="name-refusal" class="refusal" data-test="name-refusal"></output>
        </form>
    }
    .erase()
}

#[component]
fn SignOut(
    current_user: RwSignal<Option<User>>,
    refusal: RwSignal<Option<String>>,
) -> impl IntoView {
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let id = current_user.with_untracked(|user| user.as_ref().map(|user| user.id));
        let (Some(id), Some(fields)) = (id, fields_of(&event)) else {
            return;
        };
        spawn_local(async move {
            match sign_out(fields).await {
                Ok(()) => {
                    tabs::broadcast_sign_out(id);
                    current_user.set(None);
                }
                Err(refused) => refusal.set(Some(refused.error)),
            }
        });
    };
    view! {
        <form class="sign-out" method="post" action=SIGN_OUT_ROUTE on:submit=submit>
            <button type="submit" class="bare" title="Sign out" data-test="sign-out"><Icon glyph=Glyph::SignOut/><span class="visually-hidden">"Sign out"</span></button>
        </form>
    }
    .erase()
}

/// A page whose user has signed out requests no new session by itself: the next visitor may be another person.
#[component]
fn SignedOut() -> impl IntoView {
    // Loading the page again creates a guest.
    let go_on = move |_| drop(window().location().reload());
    view! {
        <p class="signed-out" role="status" data-test="signed-out">
            "You signed out. "
            <button type="button" class="small" on:click=go_on data-test="continue-as-guest">"Continue as a guest"</button>
        </p>
    }
    .erase()
}

async fn sign_in(fields: UrlSearchParams) -> Result<User, ApiError> {
    let response = post(SIGN_IN_ROUTE, fields).await?;
    if !response.ok() {
        return Err(refused(response).await);
    }
    answer_in::<SignedIn>(response)
        .await
        .map(|signed_in| signed_in.user)
}

async fn sign_out(fields: UrlSearchParams) -> Result<(), ApiError> {
    let response = post(SIGN_OUT_ROUTE, fields).await?;
    // 401: there is no session to end; it was ended before, in another tab.
    match response.ok() || response.status() == 401 {
        true => Ok(()),
        false => Err(refused(response).await),
    }
}
