//! Maps errors to HTTP answers, for axum handlers and server functions alike.

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

use crate::web::error::ApiError;

/// Longest body of a server function's error, in bytes: an error is a sentence.
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
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
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

/// Gives server functions' errors the status that they name. The redirects of forms that browsers post are kept, and
/// reduced to paths of this server.
pub async fn map_server_function_errors(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let target = response.headers().get(header::LOCATION);
    let local = target.and_then(|target| local_path(target.to_str().ok()?));
    if let Some(local) = local.and_then(|local| HeaderValue::from_str(&local).ok()) {
        response.headers_mut().insert(header::LOCATION, local);
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

/// Whether a form was posted by a browser without JavaScript, which needs a page as its answer, not JSON.
pub fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Redirects back to the form, with the error in the address as leptos puts it there (`__path`, `__err`), or without
/// one.
pub fn back_to_form(headers: &HeaderMap, action: &str, error: Option<ApiError>) -> Response {
    let referer = headers
        .get(header::REFERER)
        .and_then(|value| value.to_str().ok());
    let mut target = referer.and_then(local_path).unwrap_or_else(|| "/".into());
    if let Some((path, query)) = target.clone().split_once('?') {
        let kept = query.split('&').filter(|pair| !pair.starts_with("__"));
        let kept = kept.collect::<Vec<_>>().join("&");
        target = path.to_owned();
        if !kept.is_empty() {
            target = format!("{path}?{kept}");
        }
    }
    if let Some(error) = error {
        let absolute = ServerFnUrlError::new(action, error).to_url(&format!("http://form{target}"));
        if let Ok(url) = absolute {
            target = url.as_str().trim_start_matches("http://form").to_owned();
        }
    }
    Redirect::to(&target).into_response()
}

/// The path and the query of an address, without its site: a referer, and what leptos makes of one, may name another
/// site. An empty query, which is left over from an error that was removed, is dropped.
fn local_path(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let path = uri.path();
    // Two slashes would begin a host.
    let local = path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/\\");
    let query = uri.query().filter(|query| !query.is_empty());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    local.then(|| format!("{path}{query}"))
}

/// Unknown paths below `/api` are answered in JSON, never with a page.
pub async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::new(
        404,
        format!(
            "There is nothing under {}. docs/protocol.md lists every route.",
            uri.path()
        ),
    )
}

/// Refuses a request whose target is a host without a path, as in `GET example:80`. That form is for `CONNECT` (RFC 9112,
/// section 3.2.3), which nothing here takes; routes and pages expect a path.
pub async fn refuse_without_path(request: Request, next: Next) -> Response {
    if request.uri().path_and_query().is_some() {
        return next.run(request).await;
    }
    let error = "The target of a request begins with a slash, as in GET /healthz.";
    ApiError::new(400, error).into_response()
}

/// The right path with the wrong method.
pub async fn wrong_method() -> ApiError {
    ApiError::new(
        405,
        "This route does not take that method. docs/protocol.md lists every route with its method.",
    )
}

/// axum's `Query` and `Path` with our errors.
pub struct Query<T>(pub T);
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|rejection| {
            // "Failed to deserialize query string: limit: invalid digit found in string"
            let words = rejection.body_text();
            let mut parts = words.splitn(3, ": ").skip(1);
            match (parts.next(), parts.next()) {
                (Some(field), Some(why)) => ApiError {
                    field: Some(field.to_owned()),
                    ..ApiError::new(
                        400,
                        format!("The query's \"{field}\" cannot be read: {}", sentence(why)),
                    )
                },
                _ => ApiError::new(400, sentence(&words)),
            }
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        // A parameter that does not parse names nothing that could exist: hence 404.
        path.map(|path| Self(path.0))
            .map_err(|rejection| ApiError::new(404, sentence(&rejection.body_text())))
    }
}

fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_leads_back_to_a_path_of_ours_whatever_the_referer() {
        let back = |referer: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::REFERER, HeaderValue::from_static(referer));
            let response = back_to_form(&headers, "/api/x", None);
            response.headers()[header::LOCATION]
                .to_str()
                .unwrap()
                .to_owned()
        };
        for (referer, target) in [
            ("http://host/chat", "/chat"),
            ("http://host/chat?a=1&__err=x&__path=y", "/chat?a=1"),
            ("http://host/chat?__err=x", "/chat"),
            ("http://evil.example/steal?x", "/steal?x"),
            ("http://host//evil.example", "/"),
            ("not an address", "/"),
        ] {
            assert_eq!(back(referer), target, "{referer}");
        }
    }
}
