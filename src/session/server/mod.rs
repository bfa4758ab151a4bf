//! The routes of the session, and the extractors that authenticate a request by cookie, `Bearer` token or ticket.

pub mod credentials;
pub mod token;
pub mod watch;

use std::time::Duration;

use axum::{
    Form, Json, Router,
    extract::{FromRef, FromRequestParts, Request, State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::post,
};
use leptos::prelude::use_context;
use serde::Deserialize;
use serde_json::json;

use self::token::{NoSession, Session, Sessions};
use super::{
    GUEST_ROUTE, NAME_RULE, RENEW_ROUTE, SIGN_IN_ROUTE, SIGN_OUT_ROUTE, SignedIn, TICKET_ROUTE,
    User, valid_name,
};
use crate::web::{
    error::ApiError,
    server::{
        answer::{back_to_form, wants_page},
        caller::Caller,
        cookies::set_cookie,
    },
};
use realtime::server::Connection;

/// The session of an API request, or 401.
impl<S: Send + Sync> FromRequestParts<S> for Session
where
    Sessions: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        authenticate(parts, &Sessions::from_ref(state))
            .await
            .map_err(no_session)
    }
}

fn no_session(why: NoSession) -> ApiError {
    ApiError::unauthorized(why.close_reason())
}

/// Authenticates a request. A connection with a name belongs to the user from here on.
async fn authenticate(parts: &Parts, sessions: &Sessions) -> Result<Session, NoSession> {
    let session = sessions.authenticate(&parts.headers, &parts.uri).await;
    if let (Ok(session), Some(connection)) = (&session, parts.extensions.get::<Connection>()) {
        connection.belongs_to(session.user.id);
    }
    session
}

/// The session behind a server function, or 401.
pub async fn current() -> Result<Session, ApiError> {
    let (sessions, parts) = (use_context::<Sessions>(), use_context::<Parts>());
    let (Some(sessions), Some(parts)) = (sessions, parts) else {
        return Err(ApiError::new(
            500,
            "This server function was called outside a request.",
        ));
    };
    let session = sessions.authenticate(&parts.headers, &parts.uri).await;
    session.map_err(no_session)
}

/// The session of a socket, or why there is none: a socket is accepted first and then closed with the reason.
pub struct SocketSession(pub Result<Session, NoSession>);

impl<S: Send + Sync> FromRequestParts<S> for SocketSession
where
    Sessions: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(authenticate(parts, &Sessions::from_ref(state)).await))
    }
}

/// Gives every visitor of a page a session: the one in the cookie, renewed in the second half of its lifetime and for
/// as long as it can be after its expiry, else a new guest's. It is put into the request's extensions.
pub async fn for_pages(
    State(sessions): State<Sessions>,
    mut request: Request,
    next: Next,
) -> Response {
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
    let cookie = (!keep).then(|| sessions.cookie(&session, secure));
    request.extensions_mut().insert(session);
    let mut response = next.run(request).await;
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The routes of the session.
pub fn routes(sessions: Sessions) -> Router {
    Router::new()
        .route(GUEST_ROUTE, post(guest))
        .route(RENEW_ROUTE, post(renew))
        .route(SIGN_IN_ROUTE, post(sign_in))
        .route(SIGN_OUT_ROUTE, post(sign_out))
        .route(TICKET_ROUTE, post(ticket))
        .with_state(sessions)
}

/// Gives a session. A caller that has one, or can renew one, stays the same user; any other becomes a guest.
async fn guest(
    State(sessions): State<Sessions>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let session = match sessions.renewable(&headers, &uri).await {
        Ok(session) => sessions.prolonged(session),
        Err(_) => sessions.guest(),
    };
    signed_in(&sessions, session, caller.secure)
}

/// As `guest`, but never a new user.
async fn renew(
    State(sessions): State<Sessions>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let session = sessions.renewable(&headers, &uri).await;
    let session = sessions.prolonged(session.map_err(no_session)?);
    Ok(signed_in(&sessions, session, caller.secure))
}

#[derive(Deserialize)]
struct SignIn {
    #[serde(default)]
    name: String,
}

async fn sign_in(
    State(sessions): State<Sessions>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
    form: Result<Form<SignIn>, FormRejection>,
) -> Response {
    let named = named(&sessions, &headers, &uri, form).await;
    match (named, wants_page(&headers)) {
        (Ok(session), false) => signed_in(&sessions, session, caller.secure),
        (Ok(session), true) => {
            let mut response = back_to_form(&headers, SIGN_IN_ROUTE, None);
            response
                .headers_mut()
                .append(header::SET_COOKIE, sessions.cookie(&session, caller.secure));
            response
        }
        (Err(error), false) => error.into_response(),
        (Err(error), true) => back_to_form(&headers, SIGN_IN_ROUTE, Some(error)),
    }
}

/// The session that `sign_in` returns: the caller's own under another name, or a new one.
async fn named(
    sessions: &Sessions,
    headers: &HeaderMap,
    uri: &Uri,
    form: Result<Form<SignIn>, FormRejection>,
) -> Result<Session, ApiError> {
    let form = form
        .map_err(|rejection| ApiError::new(rejection.status().as_u16(), rejection.body_text()))?;
    let name = valid_name(&form.name).ok_or_else(|| ApiError::field("name", NAME_RULE))?;
    let Ok(session) = sessions.renewable(headers, uri).await else {
        let guest = sessions.guest();
        let user = User {
            name: name.to_owned(),
            ..guest.user
        };
        return Ok(Session { user, ..guest });
    };
    let session = sessions.prolonged(session);
    if session.user.name == name {
        return Ok(session);
    }
    let renamed = sessions.rename(session, name).await;
    renamed.map_err(|error| {
        tracing::error!(%error, "a name could not be written");
        let error = "The new name could not be recorded. You keep the old one; try again.";
        ApiError::new(503, error)
    })
}

/// Ends the caller's session, also one that has expired and could be renewed.
async fn sign_out(
    State(sessions): State<Sessions>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed_out = match sessions.renewable(&headers, &uri).await {
        Ok(session) => sessions.sign_out(&session).await.map_err(|error| {
            tracing::error!(%error, "a sign-out could not be written");
            let error = "Signing out could not be recorded. You are still signed in; try again.";
            ApiError::new(503, error)
        }),
        // It was ended before, in another tab. The form asked for just that, so it is answered as a success.
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

async fn ticket(State(sessions): State<Sessions>, session: Session) -> Result<Response, ApiError> {
    let ticket = sessions.ticket(session)?;
    Ok((
        [(header::CACHE_CONTROL, "no-store")],
        Json(json!({ "ticket": ticket })),
    )
        .into_response())
}

fn signed_in(sessions: &Sessions, session: Session, secure: bool) -> Response {
    let cookie = sessions.cookie(&session, secure);
    let token = sessions.token(&session);
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
