//! Who asks: the client's address, scheme and host, and whether its `Origin` may use credentials.
//!
//! The browser sends the session cookie with requests that another site caused; the `Origin` header (RFC 6454, Fetch
//! standard) says which. CORS follows the Fetch standard, section 3.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::ApiError;
use crate::{
    realtime::{contract::StreamContract, server::listen::ConnectionHandle},
    server::AppState,
    session::credentials::carries_credentials,
    ticker::{SYMBOLS_ROUTE, message::TickerEvents},
};

/// Where a request came from, with a trusted proxy's word taken into account.
#[derive(Clone, Debug)]
pub struct Caller {
    pub address: IpAddr,
    /// The browser sees https.
    pub secure: bool,
    /// What the browser calls us, as in `localhost:3000`.
    pub host: String,
}

impl Caller {
    /// Scheme and host, as in `https://wire.example`.
    pub fn site(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    /// The sockets of this host as sources of a content security policy, each with a space before it; empty where the host is
    /// none that a policy can name (CSP 3, section 2.3.1: letters, digits, hyphens, points and a port). The host is what a
    /// client wrote: anything else would be read as more of the policy.
    ///
    /// Over plain HTTP both schemes: a proxy that ends TLS may say nothing of it.
    pub fn socket_sources(&self) -> String {
        let (name, port) = self.host.split_once(':').unwrap_or((&self.host, "0"));
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let is_plain = !name.is_empty()
            && name.bytes().all(in_name)
            && !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit());
        let schemes: &[&str] = match (is_plain, self.secure) {
            (false, _) => &[],
            (true, true) => &["wss"],
            (true, false) => &["ws", "wss"],
        };
        let sources = schemes
            .iter()
            .map(|scheme| format!(" {scheme}://{}", self.host));
        sources.collect()
    }
}

/// Puts the [`Caller`] into the request, refuses foreign origins, and answers CORS.
pub async fn check(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let caller = caller(&request, state.settings.trust_proxy);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let path = request.uri().path();
    let public = path == TickerEvents::ROUTE || path == SYMBOLS_ROUTE;
    let standing = standing(origin.as_ref(), &caller, &state.settings.allowed_origins);
    request.extensions_mut().insert(caller);
    if request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        let mut response = StatusCode::NO_CONTENT.into_response();
        allow(&mut response, public, standing, origin);
        return response;
    }
    if standing == Standing::Foreign && is_sensitive(&request) {
        let error = "This origin is not on the list of allowed origins (--allowed-origin).";
        return ApiError::new(403, error).into_response();
    }
    let mut response = next.run(request).await;
    allow(&mut response, public, standing, origin);
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No `Origin` (a program, or a plain navigation), or our own host.
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
        host.trim_end_matches(default_port) == caller.host.trim_end_matches(default_port)
    });
    if own {
        Standing::Own
    } else if allowed.contains(&origin) {
        Standing::Allowed
    } else {
        Standing::Foreign
    }
}

/// What a foreign origin must not do: act with somebody's credentials, open a socket, change anything. (A form posted
/// without credentials is in this list, because its answer would set a cookie over the one that the browser held back.)
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

fn allow(response: &mut Response, public: bool, standing: Standing, origin: Option<HeaderValue>) {
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
        _ => return,
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST"),
    );
    let named = "authorization, content-type, last-event-id";
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(named),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
}

fn caller(request: &Request, trust_proxy: bool) -> Caller {
    let headers = request.headers();
    let forwarded = |name| last_entry(headers, name).filter(|_| trust_proxy);
    let peer = request
        .extensions()
        .get::<ConnectionHandle>()
        .map(|connection| connection.peer().ip());
    // Requests without a connection exist in tests only.
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok().map(str::to_owned));
    let host = host.or_else(|| {
        request
            .uri()
            .authority()
            .map(|authority| authority.to_string())
    });
    Caller {
        address: forwarded("x-forwarded-for")
            .and_then(|address| parse_address(&address))
            .map_or_else(|| limited_as(peer), limited_as),
        secure: forwarded("x-forwarded-proto").is_some_and(|scheme| scheme == "https"),
        host: forwarded("x-forwarded-host")
            .or(host)
            .unwrap_or_default()
            .to_ascii_lowercase(),
    }
}

/// The address that limits count: of IPv6 the first 64 bits, for whoever has one address has all of its subnet (RFC 6177).
fn limited_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// The entry that our own proxy added; whatever stands before it, the client may have made up.
fn last_entry(headers: &HeaderMap, name: &'static str) -> Option<String> {
    let value = headers
        .get_all(HeaderName::from_static(name))
        .into_iter()
        .next_back()?
        .to_str()
        .ok()?;
    Some(value.rsplit(',').next()?.trim().to_owned())
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let bracketed = text.trim_start_matches('[').trim_end_matches(']');
    bracketed
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(origin: Option<&'static str>, host: &str) -> Standing {
        let caller = Caller {
            address: [127, 0, 0, 1].into(),
            secure: false,
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
    fn a_policy_names_the_sockets_of_a_host_and_of_nothing_that_is_none() {
        let sources = |host: &str, secure| {
            let caller = Caller {
                address: [127, 0, 0, 1].into(),
                secure,
                host: host.into(),
            };
            caller.socket_sources()
        };
        assert_eq!(sources("wire.example", true), " wss://wire.example");
        assert_eq!(
            sources("localhost:3000", false),
            " ws://localhost:3000 wss://localhost:3000"
        );
        for host in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:1:2",
            "[::1]:3000",
            "a; script-src *",
            "a *",
            "*",
            "a,b",
            "a'self'",
            "ä.example",
            "u@a",
            "a/b",
        ] {
            assert_eq!(sources(host, false), "", "{host}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let request = || {
            let builder = Request::builder()
                .header("host", "inner")
                .header("x-forwarded-for", "6.6.6.6, 10.0.0.7");
            let builder = builder
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-host", "wire.example");
            builder.body(axum::body::Body::empty()).unwrap()
        };
        let trusted = caller(&request(), true);
        assert_eq!(
            (trusted.address, trusted.secure),
            (IpAddr::from([10, 0, 0, 7]), true)
        );
        assert_eq!(trusted.host, "wire.example");
        let direct = caller(&request(), false);
        assert_eq!(
            (direct.address, direct.secure),
            (IpAddr::from([127, 0, 0, 1]), false)
        );
        assert_eq!(direct.host, "inner");
    }

    #[test]
    fn limits_count_a_subscriber_not_each_of_their_addresses() {
        let limited = |address: &str| limited_as(address.parse().unwrap()).to_string();
        assert_eq!(limited("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(limited("10.0.0.7"), "10.0.0.7");
        assert_eq!(limited("::ffff:10.0.0.7"), "10.0.0.7");
    }

    #[test]
    fn addresses_come_with_ports_and_brackets() {
        for text in ["::1", "[::1]", "[::1]:4000"] {
            assert_eq!(parse_address(text), Some("::1".parse().unwrap()), "{text}");
        }
        assert_eq!(parse_address("10.0.0.1:99"), Some([10, 0, 0, 1].into()));
        assert_eq!(parse_address("unknown"), None);
    }
}
