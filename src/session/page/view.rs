//! The avatar of a user, and what a page does when its user is another one, or has signed out. After a rename the server closes
//! the sockets of the session, which then reconnect under the new name.

use leptos::prelude::*;

use crate::{session::User, ui::documents::STORAGE_PREFIX};
use realtime::{
    client::{Connection, probe::reload_once},
    status::{ConnectionStatus, StopReason},
};

/// A dot in the user's colour.
#[component]
pub fn Avatar(color: String) -> impl IntoView {
    view! { <svg class="avatar" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="8" fill=color></circle></svg> }
}

/// Removes the user of a page when the server stops the page's connection because the user signed out elsewhere.
pub fn follow_sign_out(current_user: RwSignal<Option<User>>, connection: Connection) {
    Effect::new(move |_| {
        let signed_out = connection.status.with(|status| {
            let reason = StopReason::SignedOut;
            *status == ConnectionStatus::Stopped { reason }
        });
        if signed_out {
            current_user.set(None);
        }
    });
}

/// Applies the user of a `welcome` or of a renewed session. Returns whether the page goes on. It does not if the server
/// sees another user than the one who opened the page (who signed out, or whose session could not be renewed): that user
/// must not send what is waiting here. The page is then loaded again for the other user; if that was just done, it shows
/// that instead.
pub fn welcomed(current_user: RwSignal<Option<User>>, user: User) -> bool {
    let same =
        current_user.with_untracked(|known| known.as_ref().is_some_and(|it| it.id == user.id));
    if !same {
        current_user.set(None);
        reload_once(STORAGE_PREFIX);
        return false;
    }
    // Set only if it differs: the visitor may be editing the name.
    if current_user.with_untracked(|known| known.as_ref() != Some(&user)) {
        current_user.set(Some(user));
    }
    true
}

/// The storage name of something that the user wrote in this tab. It contains the user's id, so that the next user who
/// signs in at this tab does not get it. `None` if there is no user.
pub fn kept_name(current_user: RwSignal<Option<User>>, what: &str) -> Option<String> {
    current_user.with_untracked(|user| {
        let id = user.as_ref()?.id;
        Some(format!("{STORAGE_PREFIX}.{what}.{id}"))
    })
}
