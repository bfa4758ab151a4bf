//! The user of this browser, as a signal in the context of every page.

use leptos::prelude::*;

use super::User;

/// The user of this browser; changes with the name form. `None` after signing out.
#[derive(Clone, Copy)]
pub struct CurrentUser(pub RwSignal<Option<User>>);
