//! Keeps the user the same in all tabs of a browser: passes on a new name and a sign-out.
//!
//! A tab with a socket is informed by the server, which closes the socket. The others are informed by the `storage`
//! event, which every browser has and which reaches all tabs but the one that wrote. If the browser forbids local
//! storage, they learn it with their next request to the server.

use js_sys::Reflect;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::session::User;
use realtime::json::decode;

/// Storage key of the latest change.
const STORAGE_KEY: &str = "wirewise.person";

#[derive(Serialize, Deserialize)]
struct Change {
    /// The user whom it concerns; a tab with another user ignores it.
    id: Uuid,
    /// `None`: signed out.
    name: Option<String>,
}

/// Sends the user's new name to the other tabs.
pub fn broadcast_name(user: &User) {
    broadcast(&Change {
        id: user.id,
        name: Some(user.name.clone()),
    });
}

/// Informs the other tabs that this user signed out.
pub fn broadcast_sign_out(id: Uuid) {
    broadcast(&Change { id, name: None });
}

/// Applies the changes that other tabs send.
pub fn listen(current_user: RwSignal<Option<User>>) {
    Effect::new(move |_| {
        let listener = window_event_listener_untyped("storage", move |event| {
            let text = |field: &str| Reflect::get(&event, &field.into()).ok()?.as_string();
            let change = text("newValue").filter(|_| text("key").as_deref() == Some(STORAGE_KEY));
            let change = change.and_then(|change| decode::<Change>(&change).ok());
            if let Some(change) = change {
                current_user.maybe_update(|current_user| apply(current_user, change));
            }
        });
        on_cleanup(move || listener.remove());
    });
}

/// Returns whether it changed anything.
fn apply(current_user: &mut Option<User>, change: Change) -> bool {
    let Some(user) = current_user.as_mut().filter(|user| user.id == change.id) else {
        return false;
    };
    match change.name {
        Some(name) if user.name == name => return false,
        Some(name) => user.name = name,
        None => *current_user = None,
    }
    true
}

fn broadcast(change: &Change) {
    let (Ok(Some(storage)), Ok(change)) = (window().local_storage(), serde_json::to_string(change))
    else {
        return;
    };
    // The stored value may be the same as before, and only a change causes an event.
    let _ = storage.remove_item(STORAGE_KEY);
    // If the storage is full, the other tabs learn it from the server.
    let _ = storage.set_item(STORAGE_KEY, &change);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_applies_the_changes_of_its_own_user_only() {
        let ada = User::new(Uuid::new_v4(), "Ada".into());
        let change = |id, name: Option<&str>| Change {
            id,
            name: name.map(str::to_owned),
        };
        let mut current_user = Some(ada.clone());
        assert!(!apply(&mut current_user, change(Uuid::new_v4(), None)));
        assert!(!apply(&mut current_user, change(ada.id, Some("Ada"))));
        assert_eq!(current_user, Some(ada.clone()));
        assert!(apply(&mut current_user, change(ada.id, Some("Countess"))));
        assert_eq!(current_user.as_ref().unwrap().name, "Countess");
        assert!(apply(&mut current_user, change(ada.id, None)));
        assert_eq!(current_user, None);
        // A user who signed out stays signed out: a new name does not change that.
        assert!(!apply(&mut current_user, change(ada.id, Some("Ada"))));
    }
}
