//! What a request carries that stands for somebody: the session's cookie, `Authorization: Bearer`, or `?ticket=`.

use std::time::Duration;

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, Uri, header},
};
use cookie::{Cookie, SameSite};
use serde::Deserialize;

use super::token::{LIFETIME, NoSession, Session, Sessions};

pub const COOKIE: &str = "wirewise_session";

impl Sessions {
    /// Finds the session of a request: cookie, `Authorization: Bearer`, then `?ticket=`.
    pub fn authenticate(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NoSession> {
        let mut outcome = Err(NoSession::None);
        for token in cookie(headers, COOKIE).into_iter().chain(bearer(headers)) {
            outcome = self.verify(&token);
            if outcome.is_ok() {
                return outcome;
            }
        }
        match ticket_of(uri) {
            Some(ticket) => self.redeem(&ticket),
            None => outcome,
        }
    }

    /// The cookie for a session.
    pub fn cookie(&self, session: &Session, secure: bool) -> HeaderValue {
        set_cookie(self.token(session), LIFETIME, secure)
    }
}

/// Whether a request carries anything that could stand for somebody.
pub fn carries_credentials(headers: &HeaderMap, uri: &Uri) -> bool {
    cookie(headers, COOKIE).is_some()
        || headers.contains_key(header::AUTHORIZATION)
        || ticket_of(uri).is_some()
}

/// The value of a request's cookie.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut cookies = lines
        .flat_map(|line| Cookie::split_parse(line.to_owned()))
        .filter_map(Result::ok);
    cookies
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    // The scheme's name is case-insensitive (RFC 9110 section 11.1).
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

fn ticket_of(uri: &Uri) -> Option<String> {
    #[derive(Deserialize)]
    struct Ticket {
        ticket: Option<String>,
    }
    Query::<Ticket>::try_from_uri(uri).ok()?.0.ticket
}

/// The header that keeps a token in a browser for `age`, or removes it.
pub fn set_cookie(value: String, age: Duration, secure: bool) -> HeaderValue {
    let mut cookie = Cookie::new(COOKIE, value);
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Lax);
    cookie.set_secure(secure);
    cookie.set_max_age(cookie::time::Duration::try_from(age).unwrap_or_default());
    // A signed value is base64 and punctuation that a cookie takes.
    HeaderValue::from_str(&cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
