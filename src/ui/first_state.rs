//! The first state of a page: the server renders from it, the browser hydrates from the same value.
//!
//! The server puts a function into the context of a render; the page calls [`first_state`]. While hydrating, the
//! browser reads the value that the server wrote into the page. When the router opens a page in the browser, there is
//! no such value: the page begins empty and its connection delivers the state, one round trip earlier than a request
//! for it would.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    sync::{Arc, OnceLock},
};

use leptos::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use realtime::json;

/// How the server finds the first state for a query (a room's name, a job's id, or nothing).
#[derive(Clone)]
pub struct FirstState<Q, T>(Arc<dyn Fn(Q) -> Arc<Prepared<T>> + Send + Sync>);

/// A first state, and the text that the pages which begin with it hold. Where many pages begin with the same state, the text
/// is written once for all of them.
#[derive(Debug)]
pub struct Prepared<T> {
    state: T,
    text: OnceLock<String>,
}

impl<T> From<T> for Prepared<T> {
    fn from(state: T) -> Self {
        let text = OnceLock::new();
        Self { state, text }
    }
}

impl<T> Prepared<T> {
    pub fn state(&self) -> &T {
        &self.state
    }
}

impl<Q: Clone + 'static, T: Clone + Send + Sync + 'static> FirstState<Q, T> {
    /// Puts the function into the context of a render.
    pub fn provide(find: impl Fn(Q) -> T + Send + Sync + 'static) {
        Self::provide_prepared(move |query| Arc::new(find(query).into()));
    }

    /// Like [`FirstState::provide`], for a state that many pages share.
    pub fn provide_prepared(find: impl Fn(Q) -> Arc<Prepared<T>> + Send + Sync + 'static) {
        provide_context(Self(Arc::new(find)));
    }

    /// The first state, on the server only: for the document around the app, which the browser does not hydrate.
    pub fn find(query: Q) -> Option<T> {
        Self::prepared(query).map(|found| found.state.clone())
    }

    fn prepared(query: Q) -> Option<Arc<Prepared<T>>> {
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
    let find = move || Written(FirstState::<Q, T>::prepared(query));
    let Written(state) = SharedValue::new_str(find).into_inner();
    state.map(|found| found.state.clone())
}

/// A first state that is JSON as a string, and is decoded as all JSON in the browser.
struct Written<T>(Option<Arc<Prepared<T>>>);

impl<T: Serialize> Display for Written<T> {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        let Some(found) = &self.0 else {
            return formatter.write_str("null");
        };
        if let Some(text) = found.text.get() {
            return formatter.write_str(text);
        }
        // In a tuple, as `[…]`: if `T` is itself an option, JSON's `null` could not distinguish its `None` from a missing
        // value.
        let text = serde_json::to_string(&(&found.state,)).map_err(|_| fmt::Error)?;
        formatter.write_str(found.text.get_or_init(|| text))
    }
}

impl<T: DeserializeOwned> FromStr for Written<T> {
    type Err = json::Error;

    fn from_str(text: &str) -> Result<Self, json::Error> {
        let state: Option<(T,)> = json::decode(text)?;
        Ok(Self(state.map(|(state,)| Arc::new(state.into()))))
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
