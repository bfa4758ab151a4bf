//! How people look, and what a page does when its person has a new name, is somebody else, or is gone.

use leptos::prelude::*;
use serde::Deserialize;

use crate::session::User;
use realtime::{
    client::{Connection, Renewals, probe::reload_once},
    close::StopCause,
    status::ConnectionStatus,
};

/// A person's colour.
#[component]
pub fn Avatar(color: String) -> impl IntoView {
    view! { <svg class="avatar" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="8" fill=color></circle></svg> }
}

/// Keeps the person of a page and of its socket the same: the server learns a new name with a new connection, and says with
/// a close code that the person signed out.
pub fn follow_person(visitor: RwSignal<Option<User>>, connection: Connection) {
    Effect::new(move |before: Option<Option<String>>| {
        let name = visitor.with(|user| user.as_ref().map(|user| user.name.clone()));
        // Who signed out gets no new connection: that is the server's word.
        if let (Some(before), Some(name)) = (before.flatten(), &name)
            && before != *name
        {
            connection.restart();
        }
        name
    });
    Effect::new(move |_| {
        let signed_out = connection.status.with(|status| {
            let ConnectionStatus::Stopped { cause, .. } = status else {
                return false;
            };
            *cause == StopCause::SignedOut
        });
        if signed_out {
            visitor.set(None);
        }
    });
}

/// Takes the user of a `welcome`. Says whether the page goes on. It does not where the server sees another person than the
/// one who opened the page (who signed out, or whose session could not be renewed): what waits here is not that person's to
/// send. The page is loaded anew for the other one; it says so where that was just done.
pub fn welcomed(visitor: RwSignal<Option<User>>, user: User) -> bool {
    let same = visitor.with_untracked(|known| known.as_ref().is_some_and(|it| it.id == user.id));
    if !same {
        visitor.set(None);
        reload_once();
        return false;
    }
    // Only a change is one: the name may be under somebody's fingers.
    if visitor.with_untracked(|known| known.as_ref() != Some(&user)) {
        visitor.set(Some(user));
    }
    true
}

/// Takes the user of every session that a connection of this page renewed. Where the old session could not be renewed, the
/// browser has a guest's now: a page without a socket, which gets no `welcome`, would go on under the former person's name.
pub fn follow_renewals(visitor: RwSignal<Option<User>>) {
    let renewals = Renewals::default();
    provide_context(renewals);
    Effect::new(move |_| {
        let user = renewals.0.with(|answer| {
            let user = answer.as_ref()?.get("user")?;
            User::deserialize(user).ok()
        });
        if let Some(user) = user {
            welcomed(visitor, user);
        }
    });
}

/// The name under which the tab keeps something that a person wrote: it is not for the next one who signs in at this tab.
/// `None` where nobody is there to keep it for.
pub fn kept_name(visitor: RwSignal<Option<User>>, what: &str) -> Option<String> {
    visitor.with_untracked(|user| {
        let id = user.as_ref()?.id;
        Some(format!("wirewise.{what}.{id}"))
    })
}
