//! Erases the type of a view without the code that would hydrate it asynchronously.
//!
//! `into_any` of Leptos compiles two ways to hydrate a view into the wasm: one that runs to its end, and one that may wait.
//! Only what contains lazy routes or a `Suspense` has to wait, and here that is the app's root alone. Everything below a
//! route is erased with [`Erase::erase`], which leaves the second way out. It was an eighth of the code.

use leptos::{
    prelude::{AddAnyAttr, AnyView, IntoAny, Render, RenderHtml},
    tachys::{
        html::attribute::{Attribute, any_attribute::AnyAttribute},
        hydration::Cursor,
        ssr::StreamBuilder,
        view::{Position, PositionState},
    },
};

/// Erases the type of a view that contains neither a lazy route nor a `Suspense`.
pub trait Erase {
    /// Like [`IntoAny::into_any`], for a view that hydrates without waiting.
    fn erase(self) -> AnyView;
}

impl<V: RenderHtml + 'static> Erase for V {
    fn erase(self) -> AnyView {
        Immediate(self).into_any()
    }
}

/// A view that hydrates without waiting. [`RenderHtml::hydrate_async`] is the trait's default, which calls `hydrate`.
struct Immediate<V>(V);

impl<V: Render> Render for Immediate<V> {
    type State = V::State;

    fn build(self) -> Self::State {
        self.0.build()
    }

    fn rebuild(self, state: &mut Self::State) {
        self.0.rebuild(state);
    }
}

impl<V: RenderHtml> AddAnyAttr for Immediate<V> {
    type Output<A: Attribute> = Immediate<V::Output<A>>;

    fn add_any_attr<A: Attribute>(self, attribute: A) -> Self::Output<A> {
        Immediate(self.0.add_any_attr(attribute))
    }
}

impl<V: RenderHtml> RenderHtml for Immediate<V> {
    type AsyncOutput = V::AsyncOutput;
    // `into_any` stores this type, so it has to be immediate as well.
    type Owned = Immediate<V::Owned>;

    const MIN_LENGTH: usize = V::MIN_LENGTH;
    const EXISTS: bool = V::EXISTS;

    fn dry_resolve(&mut self) {
        self.0.dry_resolve();
    }

    async fn resolve(self) -> Self::AsyncOutput {
        self.0.resolve().await
    }

    fn html_len(&self) -> usize {
        self.0.html_len()
    }

    fn to_html_with_buf(
        self,
        buf: &mut String,
        position: &mut Position,
        escape: bool,
        mark_branches: bool,
        extra_attrs: Vec<AnyAttribute>,
    ) {
        self.0
            .to_html_with_buf(buf, position, escape, mark_branches, extra_attrs);
    }

    fn to_html_async_with_buf<const OUT_OF_ORDER: bool>(
        self,
        buf: &mut StreamBuilder,
        position: &mut Position,
        escape: bool,
        mark_branches: bool,
        extra_attrs: Vec<AnyAttribute>,
    ) {
        self.0.to_html_async_with_buf::<OUT_OF_ORDER>(
            buf,
            position,
            escape,
            mark_branches,
            extra_attrs,
        );
    }

    // Not inlined, so that the two functions of `into_any` that call it share one copy.
    #[inline(never)]
    fn hydrate<const FROM_SERVER: bool>(
        self,
        cursor: &Cursor,
        position: &PositionState,
    ) -> Self::State {
        self.0.hydrate::<FROM_SERVER>(cursor, position)
    }

    fn into_owned(self) -> Self::Owned {
        Immediate(self.0.into_owned())
    }
}
