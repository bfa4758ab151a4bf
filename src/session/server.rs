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
    GUEST_ROUTE, NAME_RULE, SIGN_IN_ROUTE, SIGN_OUT_ROUTE, SignedIn, TICKET_ROUTE, User,
    credentials::{COOKIE, cookie, set_cookie},
    token::{NoSession, Session, expiry},
    valid_name,
};
use crate::{
    api::{
        ApiError,
        answer::{back_to_form, wants_page},
        origin::Caller,
    },
    realtime::server::{Line, now_ms},
    server::AppState,
};

/// A page renews a session in its last days, so that whoever comes back never loses their name.
const RENEW_BEFORE: Duration = Duration::from_secs(15 * 24 * 60 * 60);
/// The session of an API request, or 401.
impl FromRequestParts<AppState> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authenticate(parts, state).map_err(|_| ApiError::unauthorized())
    }
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
        .map_err(|_| ApiError::unauthorized())?;
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

/// Gives a guest session to whoever opens a page without one. The session is in the request's extensions.
pub async fn for_pages(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let found =
        cookie(request.headers(), COOKIE).and_then(|token| state.sessions.verify(&token).ok());
    let fresh_until = now_ms() + RENEW_BEFORE.as_millis() as u64;
    let keep = found
        .as_ref()
        .is_some_and(|session| session.expires > fresh_until);
    let session = match found {
        Some(session) => Session {
            expires: if keep { session.expires } else { expiry() },
            ..session
        },
        None => state.sessions.guest(),
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
        .route(SIGN_IN_ROUTE, post(sign_in))
        .route(SIGN_OUT_ROUTE, post(sign_out))
        .route(TICKET_ROUTE, post(ticket))
}

async fn guest(
    State(state): State<AppState>,
    caller: axum::Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let session = state
        .sessions
        .authenticate(&headers, &uri)
        .unwrap_or_else(|_| state.sessions.guest());
    signed_in(
        &state,
        Session {
            expires: expiry(),
            ..session
        },
        caller.secure,
    )
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
    let named = form
        .map_err(|rejection| ApiError::new(rejection.status().as_u16(), rejection.body_text()))
        .and_then(|form| {
            let name = valid_name(&form.name).ok_or_else(|| ApiError::field("name", NAME_RULE))?;
            let session = state
                .sessions
                .authenticate(&headers, &uri)
                .unwrap_or_else(|_| state.sessions.guest());
            let user = User {
                name: name.to_owned(),
                ..session.user
            };
            Ok(Session {
                user,
                expires: expiry(),
                ..session
            })
        });
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

async fn sign_out(
    State(state): State<AppState>,
    caller: axum::Extension<Caller>,
    session: Session,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    state.sessions.sign_out(&session).await.map_err(|error| {
        tracing::error!(%error, "a sign-out could not be written");
        ApiError::new(
            503,
            "Signing out could not be recorded. You are still signed in; try again.",
        )
    })?;
    let mut response = match wants_page(&headers) {
        true => back_to_form(&headers, SIGN_OUT_ROUTE, None),
        false => Json(json!({})).into_response(),
    };
    let cleared = set_cookie(String::new(), Duration::ZERO, caller.secure);
    response.headers_mut().append(header::SET_COOKIE, cleared);
    Ok(response)
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
