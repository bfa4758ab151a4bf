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

use super::markup::MarkupSlot;
use realtime::json;

/// How the server finds the first state for a query (a room's name, a job's id, or nothing).
#[derive(Clone)]
pub struct FirstState<Q, T>(Arc<dyn Fn(Q) -> Arc<dyn Source<T>> + Send + Sync>);

/// A first state on the server. A trait, so that the browser does not load how a state is copied and written.
pub trait Source<T>: Send + Sync {
    /// The state, for the page that is rendered.
    fn copy(&self) -> T;

    /// The state as JSON without a `<`, so that it may stand in a script element.
    ///
    /// # Errors
    ///
    /// A value of the state cannot be JSON.
    fn text(&self) -> serde_json::Result<&str>;

    /// Where the markup is kept that all pages with this state share (`shared_part.rs`).
    fn markup(&self) -> &MarkupSlot;
}

/// A first state, the text that the pages which begin with it hold, and the markup that they have in common. Where many pages
/// begin with the same state, both are written once for all of them.
#[derive(Debug)]
pub struct Prepared<T> {
    state: T,
    text: OnceLock<String>,
    markup: MarkupSlot,
}

impl<T> From<T> for Prepared<T> {
    fn from(state: T) -> Self {
        Self {
            state,
            text: OnceLock::new(),
            markup: MarkupSlot::default(),
        }
    }
}

impl<T> Prepared<T> {
    pub fn state(&self) -> &T {
        &self.state
    }
}

impl<T: Clone + Serialize + Send + Sync> Source<T> for Prepared<T> {
    fn copy(&self) -> T {
        self.state.clone()
    }

    fn text(&self) -> serde_json::Result<&str> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        // In a tuple, as `[…]`: if `T` is itself an option, JSON's `null` could not distinguish its `None` from a missing
        // value.
        let text = serde_json::to_string(&(&self.state,))?.replace('<', "\\u003c");
        Ok(self.text.get_or_init(|| text))
    }

    fn markup(&self) -> &MarkupSlot {
        &self.markup
    }
}

impl<Q: Clone + 'static, T: Clone + Send + Sync + 'static> FirstState<Q, T> {
    /// Puts the function into the context of a render.
    pub fn provide(find: impl Fn(Q) -> T + Send + Sync + 'static)
    where
        T: Serialize,
    {
        Self::provide_prepared(move |query| Arc::new(find(query).into()));
    }

    /// Like [`FirstState::provide`], for a state that many pages share.
    pub fn provide_prepared(find: impl Fn(Q) -> Arc<Prepared<T>> + Send + Sync + 'static)
    where
        T: Serialize,
    {
        provide_context(Self(Arc::new(move |query| find(query))));
    }

    /// The first state, on the server only: for the document around the app, which the browser does not hydrate.
    pub fn find(query: Q) -> Option<T> {
        Self::source(query).map(|found| found.copy())
    }

    /// The same with its text and its markup.
    pub fn source(query: Q) -> Option<Arc<dyn Source<T>>> {
        use_context::<Self>().map(|state| (state.0)(query))
    }
}

/// The first state, if there is one. The same on the server and while hydrating; `None` when the router opened the page
/// in the browser.
pub fn first_state<Q, T>(query: Q) -> Option<T>
where
    Q: Clone + Send + Sync + 'static,
    T: Clone + DeserializeOwned + Send + Sync + 'static,
{
    let find = move || Written::Found(FirstState::<Q, T>::source(query));
    match SharedValue::new_str(find).into_inner() {
        Written::Found(found) => found.map(|found| found.copy()),
        Written::Read(state) => state,
    }
}

/// A first state that is JSON as a string: the server has found it, or the browser has read it.
enum Written<T> {
    Found(Option<Arc<dyn Source<T>>>),
    Read(Option<T>),
}

impl<T> Display for Written<T> {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        match self {
            Self::Found(Some(found)) => formatter.write_str(found.text().map_err(|_| fmt::Error)?),
            // What was read is not written again.
            Self::Found(None) | Self::Read(_) => formatter.write_str("null"),
        }
    }
}

impl<T: DeserializeOwned> FromStr for Written<T> {
    type Err = json::Error;

    fn from_str(text: &str) -> Result<Self, json::Error> {
        let state: Option<(T,)> = json::decode(text)?;
        Ok(Self::Read(state.map(|(state,)| state)))
    }
}

/// A state from its text in a page.
pub fn decoded<T: DeserializeOwned>(text: &str) -> Option<T> {
    json::decode::<(T,)>(text).ok().map(|(state,)| state)
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
