//! How people look, and what a page does when somebody has a new name.

use leptos::prelude::*;

use super::User;

/// A person's colour.
#[component]
pub fn Avatar(color: String) -> impl IntoView {
    view! { <svg class="avatar" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="8" fill=color></circle></svg> }
}

/// The server learns a new name with a new connection.
pub fn restart_with_a_new_name(visitor: RwSignal<Option<User>>, restart: impl Fn() + 'static) {
    Effect::new(move |before: Option<Option<String>>| {
        let name = visitor.with(|user| user.as_ref().map(|user| user.name.clone()));
        if before
            .flatten()
            .is_some_and(|before| Some(&before) != name.as_ref())
        {
            restart();
        }
        name
    });
}
