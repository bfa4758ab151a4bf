//! The first state of a page: the server renders from it, the browser hydrates from the same value.
//!
//! The server puts a function into the context of a render; the page calls [`first_state`]. While hydrating, the
//! browser reads the value that the server wrote into the page. When the router opens a page in the browser, there is
//! no such value: the page begins empty and its connection delivers the state, one round trip earlier than a request
//! for it would.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    sync::Arc,
};

use leptos::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use realtime::json;

/// How the server finds the first state for a query (a room's name, a job's id, or nothing).
#[derive(Clone)]
pub struct FirstState<Q, T>(Arc<dyn Fn(Q) -> T + Send + Sync>);

impl<Q: Clone + 'static, T: Clone + 'static> FirstState<Q, T> {
    /// Puts the function into the context of a render.
    pub fn provide(find: impl Fn(Q) -> T + Send + Sync + 'static) {
        provide_context(Self(Arc::new(find)));
    }

    /// The first state, on the server only: for the document around the app, which the browser does not hydrate.
    pub fn find(query: Q) -> Option<T> {
        use_context::<Self>().map(|state| (state.0)(query))
    }
}

/// The first state, if there is one. The same on the server and while hydrating; `None` when the router opened the page
/// in the browser.
pub fn first_state<Q, T>(query: Q) -> Option<T>
where
    Q: Clone + Send + Sync + 'static,
    T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    // In a tuple, as `[…]`: if `T` is itself an option, JSON's `null` could not distinguish its `None` from a missing
    // value.
    let find = move || Written(FirstState::find(query).map(|state| (state,)));
    let Written(state) = SharedValue::new_str(find).into_inner();
    state.map(|(state,)| state)
}

/// A value that is JSON as a string, and is decoded as all JSON in the browser.
struct Written<T>(T);

impl<T: Serialize> Display for Written<T> {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        let written = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        formatter.write_str(&written)
    }
}

impl<T: DeserializeOwned> FromStr for Written<T> {
    type Err = json::Error;

    fn from_str(text: &str) -> Result<Self, json::Error> {
        json::decode(text).map(Self)
    }
}

/// Sets the HTTP status of the page that is being rendered; does nothing in the browser.
#[derive(Clone)]
pub struct PageStatus(Arc<dyn Fn(u16) + Send + Sync>);

impl PageStatus {
    /// Puts the function into the context of a render.
    pub fn provide(set: impl Fn(u16) + Send + Sync + 'static) {
        provide_context(Self(Arc::new(set)));
    }

    pub fn set(status: u16) {
        if let Some(this) = use_context::<Self>() {
            (this.0)(status);
        }
    }
}
