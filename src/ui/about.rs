//! The title and the description of a page, for tabs, search engines and previews of links.

use crate::ui::erase::Erase;
use leptos::{prelude::*, text_prop::TextProp};
use leptos_meta::{Meta, Title};

/// The address of the site, as in `https://wire.example`: the picture of a preview needs an absolute address.
#[derive(Clone)]
pub struct Site(pub String);

/// The title of a page, and its description for search engines and previews of links.
#[component]
pub fn About(#[prop(into)] title: TextProp, description: &'static str) -> impl IntoView {
    // A reference-counted signal, read once here: on the server the head is written when the page's signals can no
    // longer be read.
    let shown = ArcRwSignal::new(untrack(|| title.get()));
    Effect::new({
        let shown = shown.clone();
        move |_| shown.set(title.get())
    });
    let title = move || with_the_sites_name(shown.get().into_owned());
    view! {
        // The whole title, set here only: one further up in the tree would blank the title until the code of this page
        // is loaded.
        <Title text=title.clone()/>
        <Meta name="description" content=description/>
        <Meta property="og:title" content=title/>
        <Meta property="og:description" content=description/>
    }
    // Of one plain type: its own would be a large part of the type of every page.
    .erase()
}

fn with_the_sites_name(title: String) -> String {
    if title.is_empty() {
        "Wirewise".to_owned()
    } else {
        format!("{title} · Wirewise")
    }
}
