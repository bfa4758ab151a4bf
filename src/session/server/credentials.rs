//! Finds the session of a request by its cookies, `Authorization: Bearer` tokens and `?ticket=`s.

use axum::http::{HeaderMap, HeaderValue, Uri};

use super::token::{NoSession, Session, Sessions};
use crate::web::server::cookies::{SESSION_COOKIE, bearers, cookies, set_cookie, tickets};

impl Sessions {
    /// Finds the session of a request: the first valid one of its cookies, `Authorization: Bearer` tokens and
    /// `?ticket=`s, in this order.
    pub async fn authenticate(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NoSession> {
        let session = self.renewable(headers, uri).await?;
        session
            .is_valid()
            .then_some(session)
            .ok_or(NoSession::Expired)
    }

    /// As [`Sessions::authenticate`]; if no session is valid, the first that has expired and can be renewed.
    pub async fn renewable(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NoSession> {
        let tokens = cookies(headers, SESSION_COOKIE).chain(bearers(headers));
        let mut found = best(tokens.map(|token| self.read(&token)));
        for ticket in tickets(uri) {
            // A ticket that is not needed is not used up.
            if found.as_ref().is_ok_and(Session::is_valid) {
                break;
            }
            found = better(found, self.redeem_any(&ticket).await);
        }
        found
    }

    /// As [`Sessions::renewable`], by cookies alone. A page does not accept a ticket: a link with another user's ticket
    /// would sign in its reader as that user.
    pub fn of_cookies(&self, headers: &HeaderMap) -> Result<Session, NoSession> {
        best(cookies(headers, SESSION_COOKIE).map(|token| self.read(&token)))
    }

    /// The cookie for a session. It outlives the session, so that the session can be renewed.
    pub fn cookie(&self, session: &Session, secure: bool) -> HeaderValue {
        set_cookie(self.token(session), self.cookie_age(), secure)
    }
}

/// The first that is valid, else the first that can be renewed, else the greatest [`NoSession`] reason.
fn best(mut found: impl Iterator<Item = Result<Session, NoSession>>) -> Result<Session, NoSession> {
    let mut best = Err(NoSession::None);
    while !best.as_ref().is_ok_and(Session::is_valid)
        && let Some(session) = found.next()
    {
        best = better(best, session);
    }
    best
}

/// The better of two; the first if they are equally good.
fn better(
    first: Result<Session, NoSession>,
    second: Result<Session, NoSession>,
) -> Result<Session, NoSession> {
    match (first, second) {
        (Ok(first), _) if first.is_valid() => Ok(first),
        (_, Ok(second)) if second.is_valid() => Ok(second),
        (Ok(first), _) => Ok(first),
        (Err(_), Ok(second)) => Ok(second),
        (Err(one), Err(other)) => Err(one.max(other)),
    }
}
