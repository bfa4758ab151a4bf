//! The routes of the session, and how handlers learn who asks: cookie, `Bearer`, ticket, none.

use std::time::Duration;

use axum::{
    Form, Json, Router,
    extract::{FromRequestParts, Request, State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::post,
};
use leptos::prelude::use_context;
use serde::Deserialize;
use serde_json::json;

use super::{
    GUEST_ROUTE, NAME_RULE, RENEW_ROUTE, SIGN_IN_ROUTE, SIGN_OUT_ROUTE, SignedIn, TICKET_ROUTE,
    User,
    credentials::set_cookie,
    token::{NoSession, Session},
    valid_name,
};
use crate::{
    api::{
        ApiError,
        answer::{back_to_form, wants_page},
        origin::Caller,
    },
    realtime::server::Line,
    server::AppState,
};

/// The session of an API request, or 401.
impl FromRequestParts<AppState> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authenticate(parts, state).map_err(no_session)
    }
}

fn no_session(why: NoSession) -> ApiError {
    ApiError::unauthorized(why.close_reason())
}

/// Who asks. On a connection with a name, it is theirs from here on.
fn authenticate(parts: &Parts, state: &AppState) -> Result<Session, NoSession> {
    let session = state.sessions.authenticate(&parts.headers, &parts.uri);
    if let (Ok(session), Some(line)) = (&session, parts.extensions.get::<Line>()) {
        line.belongs_to(session.user.id);
    }
    session
}

/// The state and the session behind a server function, or 401.
pub fn current() -> Result<(AppState, Session), ApiError> {
    let (state, parts) = (use_context::<AppState>(), use_context::<Parts>());
    let (Some(state), Some(parts)) = (state, parts) else {
        return Err(ApiError::new(
            500,
            "This server function was called outside a request.",
        ));
    };
    let session = state
        .sessions
        .authenticate(&parts.headers, &parts.uri)
        .map_err(no_session)?;
    Ok((state, session))
}

/// The session of a socket, or why there is none: a socket is accepted first and then closed with the reason.
pub struct SocketSession(pub Result<Session, NoSession>);

impl FromRequestParts<AppState> for SocketSession {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &AppState,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self(authenticate(parts, state)))
    }
}

/// Gives every visitor of a page a session: the one that the cookie holds, renewed in the second half of its lifetime and
/// as long as it can be after its expiry, else a guest's. It is in the request's extensions.
pub async fn for_pages(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let sessions = &state.sessions;
    let found = sessions.of_cookies(request.headers());
    let keep = found.as_ref().is_ok_and(|found| sessions.is_fresh(found));
    let session = match found {
        Ok(session) if keep => session,
        Ok(session) => sessions.prolonged(session),
        Err(_) => sessions.guest(),
    };
    let secure = request
        .extensions()
        .get::<Caller>()
        .is_some_and(|caller| caller.secure);
    let cookie = (!keep).then(|| state.sessions.cookie(&session, secure));
    request.extensions_mut().insert(session);
    let mut response = next.run(request).await;
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The routes of the session.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route(GUEST_ROUTE, post(guest))
        .route(RENEW_ROUTE, post(renew))
        .route(SIGN_IN_ROUTE, post(sign_in))
        .route(SIGN_OUT_ROUTE, post(sign_out))
        .route(TICKET_ROUTE, post(ticket))
}

/// A caller who has a session, or can renew one, stays the same user.
async fn guest(
    State(state): State<AppState>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let sessions = &state.sessions;
    let session = match sessions.renewable(&headers, &uri) {
        Ok(session) => sessions.prolonged(session),
        Err(_) => sessions.guest(),
    };
    signed_in(&state, session, caller.secure)
}

/// As `guest`, but never a new user.
async fn renew(
    State(state): State<AppState>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let session = state.sessions.renewable(&headers, &uri);
    let session = state.sessions.prolonged(session.map_err(no_session)?);
    Ok(signed_in(&state, session, caller.secure))
}

#[derive(Deserialize)]
struct SignIn {
    #[serde(default)]
    name: String,
}

async fn sign_in(
    State(state): State<AppState>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
    form: Result<Form<SignIn>, FormRejection>,
) -> Response {
    let named = named(&state, &headers, &uri, form).await;
    match (named, wants_page(&headers)) {
        (Ok(session), false) => signed_in(&state, session, caller.secure),
        (Ok(session), true) => {
            let mut response = back_to_form(&headers, SIGN_IN_ROUTE, None);
            response.headers_mut().append(
                header::SET_COOKIE,
                state.sessions.cookie(&session, caller.secure),
            );
            response
        }
        (Err(error), false) => error.into_response(),
        (Err(error), true) => back_to_form(&headers, SIGN_IN_ROUTE, Some(error)),
    }
}

/// The session that `sign_in` gives: the caller's own under another name, or a new one.
async fn named(
    state: &AppState,
    headers: &HeaderMap,
    uri: &Uri,
    form: Result<Form<SignIn>, FormRejection>,
) -> Result<Session, ApiError> {
    let form = form
        .map_err(|rejection| ApiError::new(rejection.status().as_u16(), rejection.body_text()))?;
    let name = valid_name(&form.name).ok_or_else(|| ApiError::field("name", NAME_RULE))?;
    let Ok(session) = state.sessions.renewable(headers, uri) else {
        let guest = state.sessions.guest();
        let user = User {
            name: name.to_owned(),
            ..guest.user
        };
        return Ok(Session { user, ..guest });
    };
    let session = state.sessions.prolonged(session);
    if session.user.name == name {
        return Ok(session);
    }
    let renamed = state.sessions.rename(session, name).await;
    renamed.map_err(|error| {
        tracing::error!(%error, "a name could not be written");
        let error = "The new name could not be recorded. You keep the old one; try again.";
        ApiError::new(503, error)
    })
}

/// Ends the caller's session, also one that has expired and could be renewed.
async fn sign_out(
    State(state): State<AppState>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed_out = match state.sessions.renewable(&headers, &uri) {
        Ok(session) => state.sessions.sign_out(&session).await.map_err(|error| {
            tracing::error!(%error, "a sign-out could not be written");
            let error = "Signing out could not be recorded. You are still signed in; try again.";
            ApiError::new(503, error)
        }),
        // In another tab it was done before: the person who asks for it here sees what they wanted.
        Err(_) if wants_page(&headers) => Ok(()),
        Err(why) => Err(no_session(why)),
    };
    let mut response = match (signed_out, wants_page(&headers)) {
        (Ok(()), true) => back_to_form(&headers, SIGN_OUT_ROUTE, None),
        (Ok(()), false) => Json(json!({})).into_response(),
        (Err(error), true) => return back_to_form(&headers, SIGN_OUT_ROUTE, Some(error)),
        (Err(error), false) => return error.into_response(),
    };
    let cleared = set_cookie(String::new(), Duration::ZERO, caller.secure);
    response.headers_mut().append(header::SET_COOKIE, cleared);
    response
}

async fn ticket(State(state): State<AppState>, session: Session) -> Result<Response, ApiError> {
    let ticket = state.sessions.ticket(session)?;
    Ok((
        [(header::CACHE_CONTROL, "no-store")],
        Json(json!({ "ticket": ticket })),
    )
        .into_response())
}

fn signed_in(state: &AppState, session: Session, secure: bool) -> Response {
    let cookie = state.sessions.cookie(&session, secure);
    let token = state.sessions.token(&session);
    let headers = [
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (
        headers,
        Json(SignedIn {
            user: session.user,
            token,
        }),
    )
        .into_response()
}
