//! Renders text that changes while a page is open, so that it also works on a page that the browser translates.
//!
//! A browser that translates a page replaces its text nodes by `<font>` elements. A view that holds a text node would then
//! write to a node that is no longer in the document, and the reader would see the first text forever. So such text is
//! written as the whole content of its element instead of as a text node: `<span {..live_text(move || words.get())}></span>`.
//! The server renders the same text at the same place, escaped.
//!
//! Text that does not change during the life of its element is safe. A branch that is shown conditionally needs an element
//! around its text.

use std::borrow::Cow;

use leptos::tachys::{
    html::element::{InnerHtml, InnerHtmlValue, inner_html},
    renderer::types::Element,
    view::{Position, RenderHtml},
};

/// Sets the text of an element and updates it when the signals that the function reads change.
pub fn live_text<T: Into<LiveText>>(
    text: impl Fn() -> T + Send + 'static,
) -> InnerHtml<impl InnerHtmlValue> {
    inner_html(move || -> LiveText { text().into() })
}

/// Sets the text of an element in a view that is rebuilt when the text changes.
pub fn text_content(text: impl Into<LiveText>) -> InnerHtml<LiveText> {
    inner_html(text.into())
}

/// Text that is the whole content of an element. It is never parsed as HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveText(Cow<'static, str>);

impl From<&'static str> for LiveText {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl From<String> for LiveText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// `None` leaves the element empty.
impl<T: Into<LiveText>> From<Option<T>> for LiveText {
    fn from(text: Option<T>) -> Self {
        text.map_or(Self("".into()), Into::into)
    }
}

impl InnerHtmlValue for LiveText {
    type AsyncOutput = Self;
    type State = (Element, Self);
    type Cloneable = Self;
    type CloneableOwned = Self;

    fn html_len(&self) -> usize {
        self.0.len()
    }

    fn to_html(self, buf: &mut String) {
        // Leptos would render an empty text as a space.
        if !self.0.is_empty() {
            self.0
                .to_html_with_buf(buf, &mut Position::FirstChild, true, false, vec![]);
        }
    }

    fn to_template(_buf: &mut String) {}

    fn hydrate<const FROM_SERVER: bool>(self, element: &Element) -> Self::State {
        if FROM_SERVER {
            (element.clone(), self)
        } else {
            self.build(element)
        }
    }

    fn build(self, element: &Element) -> Self::State {
        element.set_text_content(Some(&self.0));
        (element.clone(), self)
    }

    fn rebuild(self, (element, written): &mut Self::State) {
        // Compared with the text written last, not with the element's content, which may be a translation of it.
        if self != *written {
            element.set_text_content(Some(&self.0));
            *written = self;
        }
    }

    fn into_cloneable(self) -> Self {
        self
    }

    fn into_cloneable_owned(self) -> Self {
        self
    }

    fn dry_resolve(&mut self) {}

    async fn resolve(self) -> Self {
        self
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use leptos::prelude::*;

    use super::*;

    #[test]
    fn the_server_renders_the_text_escaped_in_its_element() {
        let html =
            |text: &'static str| view! { <b {..live_text(move || text.to_owned())}></b> }.to_html();
        assert_eq!(html("1 < 2 & 3"), "<b>1 &lt; 2 &amp; 3</b>");
        assert_eq!(html(""), "<b></b>");
        let none = view! { <b {..live_text(|| None::<String>)}></b> };
        assert_eq!(none.to_html(), "<b></b>");
    }
}
