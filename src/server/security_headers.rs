//! The headers that tell a browser what a page may load and who may embed it.

use axum::{
    http::{HeaderName, HeaderValue, header, request::Parts},
    response::Response,
};

use crate::web::server::caller::Caller;

/// Allows scripts only with this page's nonce, and styles only from files. The sockets of the host are listed, because
/// in Safari before 15.4 `'self'` does not include them. In `cargo leptos watch` the reload socket is on another port.
pub fn content_security_policy(nonce: &str, request: Option<&Parts>) -> HeaderValue {
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

/// Adds the headers that every answer has.
pub async fn add(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}
