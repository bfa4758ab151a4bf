//! Pages: rendered by the app, with what each shows first, and the headers that go with a page.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures::future::join_all;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;

use super::text_nodes::keep_text_nodes;
use crate::{
    app::shell,
    routes::{FirstState as ReadFirstState, Provide},
    session::{User, server::token::Session},
    ui::{
        about::Site,
        first_state::{FirstState, PageStatus},
        theme::{self, Theme},
    },
    web::{error::ApiError, server::caller::Caller},
};

/// What pages are rendered with.
#[derive(Clone)]
pub struct Pages {
    pub leptos: LeptosOptions,
    pub contexts: Arc<[Provide]>,
    pub first_states: Arc<[ReadFirstState]>,
}

/// Renders a page; for a path that no route has, the page that says so.
pub async fn page(State(pages): State<Pages>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = ApiError::new(405, "Pages are only read: with GET or HEAD.");
        return ([(header::ALLOW, "GET, HEAD")], error).into_response();
    }
    let options = pages.leptos.clone();
    let path = request.uri().path();
    let first_states = join_all(pages.first_states.iter().map(|read| read(path))).await;
    let contexts = pages.contexts.clone();
    let context = move || {
        contexts
            .iter()
            .chain(&first_states)
            .for_each(|provide| provide());
        provide_page();
    };
    let handler =
        leptos_axum::render_app_async_with_context(context, move || shell(options.clone()));
    keep_text_nodes(handler(request).await.into_response())
}

/// What the page itself asks for, whichever it is: who asks, and how it sets its status.
fn provide_page() {
    let parts = use_context::<Parts>();
    if let Some(parts) = &parts {
        provide_visitor(parts);
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

/// What the request itself says: who asks, in which theme, and what they call us.
fn provide_visitor(parts: &Parts) {
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

/// Pages are a visitor's own. Not `no-store`: that would keep them out of the back-forward cache.
pub async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

/// Scripts only with this page's nonce, styles only from files. The host's sockets are named, since in Safari before 15.4
/// `'self'` covers none. In `cargo leptos watch` the reload socket is another port.
fn content_security_policy(nonce: &str, request: Option<&Parts>) -> HeaderValue {
    let caller = request.and_then(|parts| parts.extensions.get::<Caller>());
    let sockets = caller.map(Caller::socket_sources).unwrap_or_default();
    let reload = if std::env::var_os("LEPTOS_WATCH").is_some() {
        " ws://127.0.0.1:* ws://localhost:*"
    } else {
        ""
    };
    let policy = format!(
        "default-src 'self'; script-src 'strict-dynamic' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:; connect-src 'self'{sockets}{reload}; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'self'"))
}
