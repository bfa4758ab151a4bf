//! One mapping of refusals to HTTP, for axum handlers and server functions alike.

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use leptos::server_fn::error::{SERVER_FN_ERROR_HEADER, ServerFnUrlError};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ApiError;

/// A server function's error is a sentence; more than this is none.
const ERROR_BYTES: usize = 64 * 1024;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        let mut body = json!({ "error": self.error });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        let mut response = (
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Json(body),
        )
            .into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Gives server functions' errors the status they name; browsers' form posts keep their redirect.
pub async fn map_server_function_errors(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // Back on the form after a success, an empty query is left over from removing the error of the time before.
    let target = response.headers().get(header::LOCATION);
    let bare = target.and_then(|target| target.as_bytes().strip_suffix(b"?"));
    if let Some(bare) = bare.and_then(|bare| HeaderValue::from_bytes(bare).ok()) {
        response.headers_mut().insert(header::LOCATION, bare);
    }
    if response.status() != StatusCode::INTERNAL_SERVER_ERROR
        || !response.headers().contains_key(SERVER_FN_ERROR_HEADER)
    {
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, ERROR_BYTES).await.unwrap_or_default();
    match serde_json::from_slice::<ApiError>(&bytes) {
        Ok(error) => error.into_response(),
        Err(_) => Response::from_parts(parts, Body::from(bytes)),
    }
}

/// Whether a form was posted by a browser without JavaScript, which shows a page next, not JSON.
pub fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Back to the form, with the error in the address as leptos puts it there (`__path`, `__err`), or without one.
pub fn back_to_form(headers: &HeaderMap, action: &str, error: Option<ApiError>) -> Response {
    let referer = headers
        .get(header::REFERER)
        .and_then(|value| value.to_str().ok());
    // Only its path: a referer names another site as easily as ours.
    let uri: Uri = referer
        .and_then(|referer| referer.parse().ok())
        .unwrap_or_default();
    let kept = uri.query().unwrap_or_default().split('&');
    let kept: Vec<_> = kept
        .filter(|pair| !pair.is_empty() && !pair.starts_with("__"))
        .collect();
    let mut target = uri.path().to_owned();
    if !target.starts_with('/') || target.starts_with("//") {
        target = "/".into();
    }
    if !kept.is_empty() {
        target = format!("{target}?{}", kept.join("&"));
    }
    if let Some(error) = error {
        let absolute = ServerFnUrlError::new(action, error).to_url(&format!("http://form{target}"));
        if let Ok(url) = absolute {
            target = url.as_str().trim_start_matches("http://form").to_owned();
        }
    }
    Redirect::to(&target).into_response()
}

/// Unknown paths below `/api` are answered in JSON, never with a page.
pub async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::new(
        404,
        format!(
            "There is nothing under {}. The README lists every route.",
            uri.path()
        ),
    )
}

/// The right path with the wrong method.
pub async fn wrong_method() -> ApiError {
    ApiError::new(
        405,
        "This route does not take that method. The README lists every route with its method.",
    )
}

/// axum's `Query` and `Path` with our errors.
pub struct Query<T>(pub T);
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|query| Self(query.0))
            .map_err(|rejection| ApiError::new(400, sentence(&rejection.body_text())))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        // A parameter that does not parse names nothing that could exist.
        path.map(|path| Self(path.0))
            .map_err(|rejection| ApiError::new(404, sentence(&rejection.body_text())))
    }
}

fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}
