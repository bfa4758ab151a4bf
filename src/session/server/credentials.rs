//! Finds the session of a request by its cookies, `Authorization: Bearer` tokens and `?ticket=`s.

use axum::http::{HeaderMap, HeaderValue, Uri};

use super::token::{NoSession, Session, Sessions};
use crate::web::server::cookies::{SESSION_COOKIE, bearers, cookies, set_cookie, tickets};

impl Sessions {
    /// Finds the session of a request: the first valid one of its cookies, `Authorization: Bearer` tokens and
    /// `?ticket=`s, in this order.
    pub fn authenticate(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NoSession> {
        let session = self.renewable(headers, uri)?;
        session
            .is_valid()
            .then_some(session)
            .ok_or(NoSession::Expired)
    }

    /// As [`Sessions::authenticate`]; if no session is valid, the first that has expired and can be renewed.
    pub fn renewable(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NoSession> {
        let tokens = cookies(headers, SESSION_COOKIE).chain(bearers(headers));
        let tokens = tokens.map(|token| self.read(&token));
        let tickets = tickets(uri).into_iter().map(|ticket| self.redeem(&ticket));
        // Lazily: a ticket that is not needed is not used up.
        best(tokens.chain(tickets))
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
fn best(found: impl Iterator<Item = Result<Session, NoSession>>) -> Result<Session, NoSession> {
    let mut best = Err(NoSession::None);
    for session in found {
        best = match (best, session) {
            (_, Ok(session)) if session.is_valid() => return Ok(session),
            (Ok(best), _) => Ok(best),
            (Err(_), Ok(session)) => Ok(session),
            (Err(one), Err(other)) => Err(one.max(other)),
        };
    }
    best
}
