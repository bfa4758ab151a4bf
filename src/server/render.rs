//! Renders the pages with their first states, and sets the headers of a page.

use std::sync::Arc;

use axum::{
    extract::{Query, Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures::future::join_all;
use leptos::{prelude::*, server_fn::error::ServerFnUrlError};
use leptos_axum::ResponseOptions;

use super::{
    security_headers::content_security_policy,
    shared_parts::{SharedParts, prefers_brotli},
    text_nodes::keep_text_nodes,
};
use crate::{
    app::shell,
    routes::{FirstState as ReadFirstState, Provide},
    session::{User, server::token::Session},
    ui::{
        about::Site,
        first_state::{FirstState, PageStatus},
        forms::RefusedForm,
        theme::{self, Theme},
    },
    web::{error::ApiError, server::caller::Caller},
};

/// What a page render needs.
#[derive(Clone)]
pub struct Pages {
    pub leptos: LeptosOptions,
    pub contexts: Arc<[Provide]>,
    pub first_states: Arc<[ReadFirstState]>,
}

/// Renders a page. For a path without a route it renders the page for unknown addresses.
pub async fn page(State(pages): State<Pages>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = ApiError::new(405, "Pages are only read: with GET or HEAD.");
        return ([(header::ALLOW, "GET, HEAD")], error).into_response();
    }
    let options = pages.leptos.clone();
    let path = request.uri().path();
    let first_states = join_all(pages.first_states.iter().map(|read| read(path))).await;
    let accepts_brotli = prefers_brotli(request.headers());
    let contexts = pages.contexts.clone();
    let parts = SharedParts::default();
    // A page with a query shows what this visitor has chosen, and one without a session is another one.
    let has_session = request.extensions().get::<Session>().is_some();
    let shared = (request.uri().query().is_none() && has_session).then(|| parts.clone());
    let context = move || {
        contexts
            .iter()
            .chain(&first_states)
            .for_each(|provide| provide());
        shared.iter().for_each(SharedParts::provide);
        provide_page();
    };
    let handler =
        leptos_axum::render_app_async_with_context(context, move || shell(options.clone()));
    let page = keep_text_nodes(handler(request).await.into_response());
    parts.compress(page, accepts_brotli).await
}

/// Provides what every page needs: its user, its theme, its site, its security policy, and a way to set its status.
fn provide_page() {
    let parts = use_context::<Parts>();
    if let Some(parts) = &parts {
        provide_request(parts);
    }
    let Some(response) = use_context::<ResponseOptions>() else {
        return;
    };
    if let Some(nonce) = leptos::nonce::use_nonce() {
        response.insert_header(
            header::CONTENT_SECURITY_POLICY,
            content_security_policy(&nonce, parts.as_ref()),
        );
    }
    PageStatus::provide(move |status| {
        if let Ok(status) = StatusCode::from_u16(status) {
            response.set_status(status);
        }
    });
}

/// Provides what the request carries: the user, the theme, and the address of the site as the client wrote it.
fn provide_request(parts: &Parts) {
    let refused = refused_form(parts);
    FirstState::<(), RefusedForm>::provide(move |()| refused.clone());
    let theme = theme::server::theme_of(&parts.headers);
    FirstState::<(), Theme>::provide(move |()| theme);
    if let Some(session) = parts.extensions.get::<Session>() {
        let user = session.user.clone();
        FirstState::<(), User>::provide(move |()| user.clone());
    }
    if let Some(caller) = parts.extensions.get::<Caller>() {
        provide_context(Site(caller.site()));
    }
}

/// The refusal in the address, to which a form was redirected that a browser posted without JavaScript.
fn refused_form(parts: &Parts) -> RefusedForm {
    #[derive(serde::Deserialize)]
    struct Address {
        #[serde(rename = "__err")]
        error: Option<String>,
    }
    let address = Query::<Address>::try_from_uri(&parts.uri).ok();
    let error = address.and_then(|address| address.0.error);
    RefusedForm(error.map(|error| ServerFnUrlError::decode_err(&error)))
}

/// Pages depend on the user, so no shared cache may keep them. Not `no-store`, which would keep them out of the
/// back-forward cache.
pub async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}
