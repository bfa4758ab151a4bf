//! The headers that tell a browser what a page may load and who may embed it.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header, request::Parts},
    middleware::Next,
    response::Response,
};

use crate::web::server::caller::{Caller, is_secure};

/// A year. Subdomains are not included, because other servers, perhaps without TLS, may answer there.
const STRICT_TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What an answer's headers depend on. Cheap to clone.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderPolicy {
    /// Browsers shall use https only, once they have.
    pub hsts: bool,
    /// The headers in which the proxy in front of this server describes the client are trusted.
    pub trust_proxy: bool,
}

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

/// Adds the headers that every answer has. `Strict-Transport-Security` is for answers over https only (RFC 6797, section
/// 7.2).
pub async fn add(State(policy): State<HeaderPolicy>, request: Request, next: Next) -> Response {
    let hsts = policy.hsts && is_secure(&request, policy.trust_proxy);
    let mut response = next.run(request).await;
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
    if hsts {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT_SECURITY);
    }
    response
}
