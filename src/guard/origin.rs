//! The origin policy: refuses sensitive requests of foreign origins, and answers CORS.
//!
//! A browser sends the session cookie also with requests that another site caused; the `Origin` header (RFC 6454, Fetch
//! standard) names that site. CORS follows the Fetch standard, section 3.2.

use std::sync::{Arc, Once};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use realtime::server::ClientAddress;

use crate::web::{
    error::ApiError,
    server::{
        caller::{Caller, misread_proxy, peer},
        cookies::carries_credentials,
    },
};

/// Which origins' requests are answered, and which answers another site's scripts may read. Cheap to clone.
#[derive(Clone)]
pub struct OriginPolicy {
    /// The headers in which the proxy in front of this server describes the client are trusted.
    pub trust_proxy: bool,
    /// Other origins that may use credentials.
    pub allowed: Arc<[String]>,
    /// Paths whose answers any origin may read, without credentials.
    pub public: Arc<[&'static str]>,
}

/// Puts the [`Caller`] into the request, refuses foreign origins, and answers CORS.
pub async fn check(
    State(policy): State<OriginPolicy>,
    mut request: Request,
    next: Next,
) -> Response {
    let trust_proxy = policy.trust_proxy;
    if let Some(warning) = misread_proxy(request.headers(), peer(&request), trust_proxy) {
        static WARNED: Once = Once::new();
        WARNED.call_once(|| tracing::warn!(proxy = %peer(&request), "{warning}"));
    }
    let caller = Caller::of(&request, trust_proxy);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let public = policy.public.contains(&request.uri().path());
    let standing = standing(origin.as_ref(), &caller, &policy.allowed);
    let extensions = request.extensions_mut();
    extensions.insert(ClientAddress(caller.address));
    extensions.insert(caller);
    if request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        let mut response = StatusCode::NO_CONTENT.into_response();
        if allow_origin(&mut response, public, standing, origin) {
            let asked = request
                .headers()
                .get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            allow_request(&mut response, asked.cloned());
        }
        return response;
    }
    if standing == Standing::Foreign && is_sensitive(&request) {
        let error = "This origin is not on the list of allowed origins (--allowed-origin).";
        return ApiError::new(403, error).into_response();
    }
    let mut response = next.run(request).await;
    if allow_origin(&mut response, public, standing, origin) {
        // The other headers that a script may read are in the Fetch standard, "CORS-safelisted response-header name".
        response.headers_mut().insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("retry-after"),
        );
    }
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No `Origin` (a program, or a plain navigation), or this server's own host.
    Own,
    Allowed,
    Foreign,
}

fn standing(origin: Option<&HeaderValue>, caller: &Caller, allowed: &[String]) -> Standing {
    let Some(origin) = origin else {
        return Standing::Own;
    };
    let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
    let own = origin.split_once("://").is_some_and(|(scheme, host)| {
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        // A page of this host over plain HTTP may be anybody's who is on the way to the browser. Where the browser seems
        // to use plain HTTP both schemes are own: a proxy that ends TLS may not report it.
        let known_scheme = scheme == "https" || !caller.secure;
        let host = host.trim_end_matches(default_port);
        known_scheme && host == caller.host.trim_end_matches(default_port)
    });
    if own {
        Standing::Own
    } else if allowed.contains(&origin) {
        Standing::Allowed
    } else {
        Standing::Foreign
    }
}

/// Whether this request is refused from a foreign origin, because it carries a user's credentials, opens a socket, or
/// changes something. (A form posted without credentials is sensitive too, because its answer would set a cookie over
/// the one that the browser held back.)
fn is_sensitive(request: &Request) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    let websocket = upgrade
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        || request.extensions().get::<hyper::ext::Protocol>().is_some();
    let changes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    websocket || changes || carries_credentials(request.headers(), request.uri())
}

/// Lets the origin's scripts read the answer if they may. Returns whether they may.
fn allow_origin(
    response: &mut Response,
    public: bool,
    standing: Standing,
    origin: Option<HeaderValue>,
) -> bool {
    let headers = response.headers_mut();
    let origin = match origin {
        _ if public => HeaderValue::from_static("*"),
        Some(origin) if standing == Standing::Allowed => {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
            headers.append(header::VARY, HeaderValue::from_static("origin"));
            origin
        }
        _ => return false,
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    true
}

/// Answers a preflight: allows the methods of the API, and whatever headers it asks for. Clients of event streams send
/// `cache-control`, `accept`, `last-event-id`, `x-requested-with`; monitoring adds its own to any request. No list of
/// headers is needed: what an origin may do is decided by the origin alone, and no header carries credentials but those
/// that are checked.
fn allow_request(response: &mut Response, asked: Option<HeaderValue>) {
    let usual = HeaderValue::from_static("authorization, content-type, last-event-id");
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST"),
        ),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(usual)),
        (
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("600"),
        ),
    ] {
        headers.insert(name, value);
    }
    let varies = HeaderValue::from_static("access-control-request-headers");
    headers.append(header::VARY, varies);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(origin: Option<&'static str>, host: &str) -> Standing {
        stand_over(false, origin, host)
    }

    fn stand_over(secure: bool, origin: Option<&'static str>, host: &str) -> Standing {
        let caller = Caller {
            address: [127, 0, 0, 1].into(),
            secure,
            host: host.into(),
        };
        standing(
            origin.map(HeaderValue::from_static).as_ref(),
            &caller,
            &["https://app.example".into()],
        )
    }

    #[test]
    fn an_origin_is_own_allowed_or_foreign() {
        assert_eq!(stand(None, "localhost:3000"), Standing::Own);
        assert_eq!(
            stand(Some("http://localhost:3000"), "localhost:3000"),
            Standing::Own
        );
        assert_eq!(
            stand(Some("https://wire.example"), "wire.example:443"),
            Standing::Own
        );
        assert_eq!(
            stand(Some("https://app.example"), "localhost:3000"),
            Standing::Allowed
        );
        for origin in [
            "null",
            "http://localhost:3001",
            "http://evil.example",
            "localhost:3000",
            "http://xlocalhost:3000",
        ] {
            assert_eq!(
                stand(Some(origin), "localhost:3000"),
                Standing::Foreign,
                "{origin}"
            );
        }
    }

    #[test]
    fn over_https_the_own_origin_has_that_scheme() {
        for (origin, standing) in [
            ("https://wire.example", Standing::Own),
            ("http://wire.example", Standing::Foreign),
        ] {
            assert_eq!(stand_over(true, Some(origin), "wire.example"), standing);
        }
    }
}
