//! What a page says about itself: its title and description, for tabs, search engines and previews of links.

use leptos::{prelude::*, text_prop::TextProp};
use leptos_meta::{Meta, Title};

/// Where the site is, as in `https://wire.example`: a preview's picture is named by its whole address.
#[derive(Clone)]
pub struct Site(pub String);

/// The title of a page, and what search engines and previews of links say about it.
#[component]
pub fn About(#[prop(into)] title: TextProp, description: &'static str) -> impl IntoView {
    // Counted, and read once here: on the server the head is written where no page's signals can be read any more.
    let shown = ArcRwSignal::new(untrack(|| title.get()));
    Effect::new({
        let shown = shown.clone();
        move |_| shown.set(title.get())
    });
    let title = move || with_the_sites_name(shown.get().into_owned());
    view! {
        // Whole, and nowhere else: one further up would blank the title until this page's code has come.
        <Title text=title.clone()/>
        <Meta name="description" content=description/>
        <Meta property="og:title" content=title/>
        <Meta property="og:description" content=description/>
    }
    // Of one plain type: in every page it would be a large part of the page's own.
    .into_any()
}

fn with_the_sites_name(title: String) -> String {
    if title.is_empty() {
        "Wirewise".to_owned()
    } else {
        format!("{title} · Wirewise")
    }
}
