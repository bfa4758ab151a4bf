//! What the tabs of one browser tell each other about their person: a new name, a sign-out.
//!
//! A tab with a socket is told by the server, which closes it; the others by the `storage` event, which every browser has
//! and which reaches all tabs but the one that wrote. Where the browser forbids local storage, they learn it when they ask
//! the server for anything.

use js_sys::Reflect;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::session::User;

/// Under this name stands what was told last.
const TOLD: &str = "wirewise.person";

#[derive(Serialize, Deserialize)]
struct Told {
    /// Whom it is about: a tab of anybody else does not heed it.
    id: Uuid,
    /// `None`: signed out.
    name: Option<String>,
}

/// Tells the other tabs that this person is called something else now.
pub fn tell_name(user: &User) {
    tell(&Told {
        id: user.id,
        name: Some(user.name.clone()),
    });
}

/// Tells the other tabs that this person signed out.
pub fn tell_signed_out(id: Uuid) {
    tell(&Told { id, name: None });
}

/// Does what the other tabs tell.
pub fn listen(visitor: RwSignal<Option<User>>) {
    Effect::new(move |_| {
        let heard = window_event_listener_untyped("storage", move |event| {
            let text = |field: &str| Reflect::get(&event, &field.into()).ok()?.as_string();
            let told = text("newValue").filter(|_| text("key").as_deref() == Some(TOLD));
            let told = told.and_then(|told| serde_json::from_str::<Told>(&told).ok());
            if let Some(told) = told {
                visitor.maybe_update(|visitor| heed(visitor, told));
            }
        });
        on_cleanup(move || heard.remove());
    });
}

/// Says whether it changed anything.
fn heed(visitor: &mut Option<User>, told: Told) -> bool {
    let Some(user) = visitor.as_mut().filter(|user| user.id == told.id) else {
        return false;
    };
    match told.name {
        Some(name) if user.name == name => return false,
        Some(name) => user.name = name,
        None => *visitor = None,
    }
    true
}

fn tell(told: &Told) {
    let (Ok(Some(storage)), Ok(told)) = (window().local_storage(), serde_json::to_string(told))
    else {
        return;
    };
    // What stood there before may be the very same: only a change is told.
    let _ = storage.remove_item(TOLD);
    // Where there is no room the other tabs learn it from the server.
    let _ = storage.set_item(TOLD, &told);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_heeds_what_is_told_of_its_own_person_only() {
        let ada = User::new(Uuid::new_v4(), "Ada".into());
        let told = |id, name: Option<&str>| Told {
            id,
            name: name.map(str::to_owned),
        };
        let mut visitor = Some(ada.clone());
        assert!(!heed(&mut visitor, told(Uuid::new_v4(), None)));
        assert!(!heed(&mut visitor, told(ada.id, Some("Ada"))));
        assert_eq!(visitor, Some(ada.clone()));
        assert!(heed(&mut visitor, told(ada.id, Some("Countess"))));
        assert_eq!(visitor.as_ref().unwrap().name, "Countess");
        assert!(heed(&mut visitor, told(ada.id, None)));
        assert_eq!(visitor, None);
        // Who signed out stays so: another name is no way back.
        assert!(!heed(&mut visitor, told(ada.id, Some("Ada"))));
    }
}
