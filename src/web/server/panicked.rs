//! Answers a request whose handler panicked: with a sentence, on a connection that stays open.
//!
//! The panic itself is in the log, where the process's panic hook writes it ([`crate::server::output`]).

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use futures::FutureExt;

use crate::web::error::ApiError;

const SENTENCE: &str =
    "Something broke on the server, and the fault is ours. It is in the server's log.";

/// The page contains its few styles and loads nothing else.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// Answers a panic of an API route in JSON.
///
/// Unlike the layer of `tower-http` it leaves the body of an answer as it is. The layer puts it into a box of its own, which
/// every event of a stream would pass.
pub async fn in_json(request: Request, next: Next) -> Response {
    caught(request, next).await.unwrap_or_else(|_| json())
}

/// Answers a panic of a page with a page.
pub async fn as_page(request: Request, next: Next) -> Response {
    caught(request, next).await.unwrap_or_else(|_| page())
}

/// The panic ends this request alone. The server goes on with what it shared, as it does when a task of its own panics.
async fn caught(request: Request, next: Next) -> Result<Response, Box<dyn Any + Send>> {
    AssertUnwindSafe(next.run(request)).catch_unwind().await
}

fn json() -> Response {
    ApiError::new(500, format!("{SENTENCE} Trying again may help.")).into_response()
}

/// It is not rendered by the app, which may be what broke, and needs no scripts and files.
fn page() -> Response {
    let page = include_str!("panicked.html").replace("{sentence}", SENTENCE);
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
    ];
    (StatusCode::INTERNAL_SERVER_ERROR, headers, Html(page)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware::from_fn, routing::get};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn broken() -> &'static str {
        panic!("a bug");
    }

    async fn answer(router: Router) -> (StatusCode, String) {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_in_the_api_is_answered_in_json() {
        let router = Router::new()
            .route("/", get(broken))
            .layer(from_fn(in_json));
        let (status, body) = answer(router).await;
        assert_eq!(status, 500);
        let error: ApiError = serde_json::from_str(&body).unwrap();
        assert!(error.error.starts_with(SENTENCE));
    }

    #[tokio::test]
    async fn a_panic_in_a_page_is_answered_with_a_page() {
        let router = Router::new()
            .route("/", get(broken))
            .layer(from_fn(as_page));
        let (status, body) = answer(router).await;
        assert_eq!(status, 500);
        assert!(body.starts_with("<!DOCTYPE html>") && body.contains(SENTENCE));
        assert!(
            !body.contains("a bug"),
            "a panic's words are not for strangers"
        );
    }
}
