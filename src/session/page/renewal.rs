//! Renews the session when a connection is refused because it has expired.

use gloo_net::http::Request;
use leptos::prelude::*;

use super::view::welcomed;
use crate::{
    session::{GUEST_ROUTE, RENEW_ROUTE, SignedIn, User},
    web::error::answer_in,
};
use realtime::{
    client::{AbortOnDrop, probe::answer_of},
    close::reason::SIGNED_OUT,
    status::Renewal,
};

/// Renews the session, or requests a new guest session if the renewal is refused. The response sets the cookie.
///
/// The page then has the user of the new session. If the old session could not be renewed, the browser has a guest's
/// now: without this, a page without a socket, which gets no `welcome`, would go on under the former user's name.
pub async fn renew_session(current_user: RwSignal<Option<User>>) -> Renewal {
    // When this future is dropped, its request is aborted.
    let abort = AbortOnDrop::new();
    let signal = abort.as_ref().map(AbortOnDrop::signal);
    for route in [RENEW_ROUTE, GUEST_ROUTE] {
        let request = Request::post(route).abort_signal(signal.as_ref()).send();
        let Ok(response) = request.await else { break };
        if response.ok() {
            if let Ok(SignedIn { user, .. }) = answer_in(response).await {
                welcomed(current_user, user);
            }
            return Renewal::Renewed;
        }
        let answer = answer_of(&response).await;
        match answer.status {
            401 if answer.reason.as_deref() == Some(SIGNED_OUT) => return Renewal::SignedOut,
            // Refused: the session cannot be renewed. A server error or a request to wait (408, 429) does not mean that.
            status @ 400..500 if !matches!(status, 408 | 429) => {}
            _ => {
                return Renewal::Failed {
                    retry_after_ms: answer.retry_after_ms,
                };
            }
        }
    }
    Renewal::Failed {
        retry_after_ms: None,
    }
}
