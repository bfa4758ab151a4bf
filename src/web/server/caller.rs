//! The caller of a request: the client's address, scheme and host.
//!
//! The scheme is https where this server's own TLS encrypts the connection, or where a trusted proxy says so. Behind a proxy (`--trust-proxy`) they are read from the proxy's headers. A header may have several entries, because
//! each proxy in a chain adds its own:
//!
//! - `X-Forwarded-For`: the last counts. Our own proxy added it; the client may have made up the entries before it.
//! - `X-Forwarded-Proto` and `-Host`: the first counts, which describes the browser's side of the first proxy. A client
//!   that makes it up deceives only itself: a page of another site cannot add these headers to a request.
//!
//! `Forwarded` (RFC 7239) is not read: a proxy that sets the headers above passes a client's own `Forwarded` on
//! unchanged, so that reading both would trust any client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, header},
};
use realtime::server::{ClientAddress, listen::ConnectionHandle};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where a request came from, as a trusted proxy reports it, if there is one.
#[derive(Clone, Debug)]
pub struct Caller {
    pub address: IpAddr,
    /// The browser uses https.
    pub secure: bool,
    /// The host by which the browser addresses this server, as in `localhost:3000`.
    pub host: String,
}

impl Caller {
    /// The caller of a request. `trust_proxy`: the headers of the proxy in front of this server are trusted.
    pub fn of(request: &Request, trust_proxy: bool) -> Self {
        let headers = request.headers();
        let forwarded = |name| entries(headers, name).filter(|_| trust_proxy);
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .or_else(|| {
                request
                    .uri()
                    .authority()
                    .map(|authority| authority.as_str())
            });
        Self {
            address: forwarded(FOR)
                .last()
                .and_then(parse_address)
                .map_or_else(|| limit_key(peer(request)), limit_key),
            secure: is_secure(request, trust_proxy),
            host: forwarded(HOST)
                .next()
                .or(host)
                .unwrap_or_default()
                .to_ascii_lowercase(),
        }
    }

    /// Scheme and host, as in `https://wire.example`.
    pub fn site(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    /// The sockets of this host as sources of a content security policy, each with a space before it; empty if a policy
    /// cannot name the host (CSP 3, section 2.3.1: letters, digits, hyphens, points and a port). The host is written by
    /// the client: anything else in it would be read as more of the policy.
    ///
    /// Over plain HTTP both schemes: a proxy that ends TLS may not report it.
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

/// Whether the browser uses https: as the trusted proxy says, else whether this server's own TLS encrypts the connection.
pub fn is_secure(request: &Request, trust_proxy: bool) -> bool {
    let forwarded = entries(request.headers(), PROTO)
        .next()
        .filter(|_| trust_proxy);
    let connection = request.extensions().get::<ConnectionHandle>();
    match forwarded {
        Some(scheme) => scheme.eq_ignore_ascii_case("https"),
        None => connection.is_some_and(ConnectionHandle::is_encrypted),
    }
}

/// The address of the connected peer: the client, or the last proxy in front of this server.
pub fn peer(request: &Request) -> IpAddr {
    let connection = request.extensions().get::<ConnectionHandle>();
    // Requests without a connection exist in tests only.
    connection.map_or(Ipv4Addr::LOCALHOST.into(), |connection| {
        connection.peer().ip()
    })
}

/// The warning about a proxy whose headers are not read, though it seems to be the operator's own: it connects from a
/// loopback or private address. `None` if there is nothing to warn of.
pub fn misread_proxy(headers: &HeaderMap, peer: IpAddr, trust_proxy: bool) -> Option<&'static str> {
    let forwards = [FOR, PROTO, HOST]
        .into_iter()
        .any(|name| headers.contains_key(name));
    let standard = headers.contains_key(header::FORWARDED);
    if !is_private(peer) {
        return None;
    }
    if !trust_proxy && (forwards || standard) {
        return Some(
            "a proxy forwards requests, and what it says of the client is not trusted: everybody behind it counts as one \
             address, cookies are not Secure. If it is yours and sets X-Forwarded-For, -Proto and -Host, use --trust-proxy",
        );
    }
    (trust_proxy && standard && !forwards).then_some(
        "a proxy says in Forwarded who the client is, which is not read: everybody behind it counts as one address. Let it \
         set X-Forwarded-For, -Proto and -Host",
    )
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // 100.64.0.0/10 is the shared space of RFC 6598, in which container networks are.
            let [first, second, ..] = address.octets();
            let shared = first == 100 && second & 0b1100_0000 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// The address by which limits are counted.
fn limit_key(address: IpAddr) -> IpAddr {
    ClientAddress::of(address).0
}

/// The entries of a header that is a list, from all its lines.
fn entries(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let entries = lines.flat_map(|line| line.split(',').map(str::trim));
    entries.filter(|entry| !entry.is_empty())
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
    use axum::http::HeaderValue;

    use super::*;

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
        let trusted = Caller::of(&request(), true);
        assert_eq!(
            (trusted.address, trusted.secure),
            (IpAddr::from([10, 0, 0, 7]), true)
        );
        assert_eq!(trusted.host, "wire.example");
        let direct = Caller::of(&request(), false);
        assert_eq!(
            (direct.address, direct.secure),
            (IpAddr::from([127, 0, 0, 1]), false)
        );
        assert_eq!(direct.host, "inner");
    }

    #[test]
    fn of_several_entries_the_proxys_own_address_and_the_browsers_scheme_and_host_count() {
        let request = Request::builder()
            .header(FOR, "6.6.6.6")
            .header(FOR, "10.0.0.8, 10.0.0.7,")
            .header(PROTO, "HTTPS, http")
            .header(HOST, "Wire.example, inner");
        let request = request.body(axum::body::Body::empty()).unwrap();
        let caller = Caller::of(&request, true);
        assert_eq!(caller.address, IpAddr::from([10, 0, 0, 7]));
        assert_eq!(caller.site(), "https://wire.example");
    }

    #[test]
    fn only_a_proxy_that_seems_to_be_the_operators_is_warned_of() {
        let warned = |address: &str, name: HeaderName, trusted| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("x"));
            misread_proxy(&headers, address.parse().unwrap(), trusted).is_some()
        };
        for address in [
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "172.17.0.1",
            "fd00::1",
            "100.64.0.1",
        ] {
            assert!(warned(address, FOR, false), "{address}");
            assert!(!warned(address, FOR, true), "{address}");
            assert!(warned(address, header::FORWARDED, true), "{address}");
            assert!(!warned(address, header::HOST, false), "{address}");
        }
        for address in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert!(!warned(address, FOR, false), "{address}");
        }
    }

    #[test]
    fn limits_count_a_subscriber_not_each_of_their_addresses() {
        let limited = |address: &str| limit_key(address.parse().unwrap()).to_string();
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
