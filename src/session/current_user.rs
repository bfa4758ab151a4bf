//! Who this browser is, as a signal in the context of every page.

use leptos::prelude::*;

use super::User;

/// Who this browser is to the others; changes with the name form. `None` once the person signed out.
#[derive(Clone, Copy)]
pub struct CurrentUser(pub RwSignal<Option<User>>);
