//! Reads the credentials of a request (session cookie, `Authorization: Bearer`, `?ticket=`), and writes the session
//! cookie.

use std::time::Duration;

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, Uri, header},
};
use cookie::{Cookie, SameSite};

/// The name of the session's cookie.
pub const SESSION_COOKIE: &str = "wirewise_session";

/// Whether a request carries any credentials, valid or not.
pub fn carries_credentials(headers: &HeaderMap, uri: &Uri) -> bool {
    cookies(headers, SESSION_COOKIE).next().is_some()
        || headers.contains_key(header::AUTHORIZATION)
        || !tickets(uri).is_empty()
}

/// The values of a request's cookies of this name. There may be several, of other paths and domains, and their order is
/// up to the browser (RFC 6265 section 5.4).
pub fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    lines
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .filter(move |cookie| cookie.name() == name)
        .map(|cookie| cookie.value_trimmed().to_owned())
}

/// The tokens of a request's `Authorization: Bearer` headers.
pub fn bearers(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    let values = headers.get_all(header::AUTHORIZATION).into_iter();
    values.filter_map(|value| {
        // The scheme's name is case-insensitive (RFC 9110 section 11.1).
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned())
    })
}

/// The tickets of a request's query.
pub fn tickets(uri: &Uri) -> Vec<String> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let pairs = query.map(|query| query.0).unwrap_or_default();
    let tickets = pairs.into_iter().filter(|(name, _)| name == "ticket");
    tickets.map(|(_, ticket)| ticket).collect()
}

/// The `Set-Cookie` value that keeps a token in a browser for `age`, or removes it if `age` is zero.
pub fn set_cookie(value: String, age: Duration, secure: bool) -> HeaderValue {
    let mut cookie = Cookie::new(SESSION_COOKIE, value);
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Lax);
    cookie.set_secure(secure);
    cookie.set_max_age(cookie::time::Duration::try_from(age).unwrap_or_default());
    // A signed value is base64 and punctuation that a cookie may contain.
    HeaderValue::from_str(&cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
