//! A part of a page that is the same for all visitors who begin with the same state.
//!
//! The server renders it for the first of them, together with the state, and copies the markup into the pages of the
//! others. The next state has markup of its own, so no page gets an old one.

use std::sync::Arc;

use leptos::prelude::*;
use serde::de::DeserializeOwned;

use super::{
    erase::Erase,
    first_state::{FirstState, decoded},
    markup::MarkupSlot,
};

type Part = Box<dyn FnOnce() -> AnyView + Send>;

/// How the server renders a part whose markup is kept in a slot. In the context only where markup may be shared.
#[derive(Clone)]
pub struct RenderShared(Arc<dyn Fn(MarkupSlot, Part) -> AnyView + Send + Sync>);

impl RenderShared {
    /// Puts the function into the context of a render.
    pub fn provide(render: impl Fn(MarkupSlot, Part) -> AnyView + Send + Sync + 'static) {
        provide_context(Self(Arc::new(render)));
    }
}

/// Renders `part` from its first state, which the page holds beside it in an element with this id.
///
/// What `part` shows depends on that state and on the query of the address, and on nothing of the visitor. Pages with the same
/// state and without a query share its markup, and `part` is called for the first of them only. So it reads no other first state
/// and no resource, and sets neither the title nor the status of the page.
pub fn shared_part<T, V>(
    id: &'static str,
    part: impl FnOnce(Option<T>) -> V + Send + 'static,
) -> AnyView
where
    T: Clone + DeserializeOwned + Send + Sync + 'static,
    V: IntoView + 'static,
{
    let provided = FirstState::<(), T>::source(());
    let slot = provided.as_ref().map(|provided| provided.markup().clone());
    let render = move || {
        // A state that could not be written is none: the browser would not have it either.
        let provided = provided.and_then(|provided| {
            let text = provided.text().ok()?.to_owned();
            Some((Some(provided.copy()), text))
        });
        let (state, text) = provided.unwrap_or_else(|| (written(id), String::new()));
        // The state is behind the part, so that the visitor sees that first.
        view! {
            {part(state)}
            <script type="application/json" id=id inner_html=text></script>
        }
        .erase()
    };
    match (slot, use_context::<RenderShared>()) {
        (Some(slot), Some(renderer)) => (renderer.0)(slot, Box::new(render)),
        _ => render(),
    }
}

/// The state that the server wrote into the page, while the page is hydrated. `None` when the router opened the page in the
/// browser.
fn written<T: DeserializeOwned>(id: &str) -> Option<T> {
    let is_hydrating = Owner::current_shared_context().is_some_and(|page| page.during_hydration());
    let element = is_hydrating.then(|| document().get_element_by_id(id))??;
    decoded(&element.text_content()?)
}
