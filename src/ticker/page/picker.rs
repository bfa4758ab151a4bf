//! The picker, in which a user searches and selects symbols, by mouse or keyboard.

use leptos::prelude::*;
use web_sys::Event;

use super::choice::Choice;
use crate::{
    ticker::message::Listing,
    ui::{input_method::settled_value, letter_case::lower_case},
};
use realtime::client::live_text;

/// The picker.
#[component]
pub fn Picker(listings: RwSignal<Vec<Listing>>, choice: RwSignal<Choice>) -> impl IntoView {
    let search = RwSignal::new(String::new());
    let chosen =
        Memo::new(move |_| choice.with(|choice| listings.with(|listings| choice.listed(listings))));
    let count = move || {
        let all = listings.with(Vec::len);
        match chosen.with(|chosen| chosen.as_ref().map(|chosen| chosen.len())) {
            Some(count) => format!("{count} of {all} symbols"),
            None => format!("All {all} symbols"),
        }
    };
    let found = Memo::new(move |_| {
        search.with(|search| {
            let matching = |listing: &&Listing| matches(listing, search);
            listings.with(|listings| {
                listings
                    .iter()
                    .filter(matching)
                    .cloned()
                    .collect::<Vec<_>>()
            })
        })
    });
    let look_for = move |event: &Event| {
        if let Some(words) = settled_value(event) {
            search.set(words);
        }
    };
    view! {
        <details class="picker" data-test="picker">
            <summary {..live_text(count)} data-test="picker-open"></summary>
            <div class="picker-panel">
                <div class="picker-head">
                    <input type="search" placeholder="Search symbols" aria-label="Search symbols" autocomplete="off" data-test="picker-search"
                        prop:value=search on:input=move |event| look_for(&event) on:compositionend=move |event| look_for(&event)/>
                    <button type="button" class="small" data-test="picker-all" disabled=move || chosen.with(Option::is_none)
                        on:click=move |_| choice.update(|choice| choice.symbols = None)>"All"</button>
                </div>
                <ul class="picker-list" aria-label="Symbols">
                    <For each=move || found.get() key=|listing| listing.symbol.clone() let:listing>
                        <PickerOption listing listings choice chosen/>
                    </For>
                </ul>
                <Show when=move || found.with(Vec::is_empty)>
                    <p class="empty" data-test="picker-empty">"No symbol has that in its name."</p>
                </Show>
            </div>
        </details>
    }
}

/// Whether a symbol or its name contains the search text.
pub fn matches(listing: &Listing, search: &str) -> bool {
    let search = lower_case(search.trim());
    [&listing.symbol, &listing.name]
        .map(|name| lower_case(name))
        .iter()
        .any(|name| name.contains(&search))
}

#[component]
fn PickerOption(
    listing: Listing,
    listings: RwSignal<Vec<Listing>>,
    choice: RwSignal<Choice>,
    chosen: Memo<Option<std::collections::BTreeSet<String>>>,
) -> impl IntoView {
    let symbol = StoredValue::new(listing.symbol.clone());
    let checked = move || {
        symbol.with_value(|symbol| {
            chosen.with(|chosen| chosen.as_ref().is_none_or(|chosen| chosen.contains(symbol)))
        })
    };
    // The last one stays selected, because a stream needs at least one symbol.
    let last = move || {
        checked() && chosen.with(|chosen| chosen.as_ref().is_some_and(|chosen| chosen.len() == 1))
    };
    let toggle = move |_| {
        let symbol = symbol.get_value();
        listings
            .with_untracked(|listings| choice.update(|choice| choice.toggle(&symbol, listings)));
    };
    view! {
        <li>
            <label data-test="picker-option" data-symbol=listing.symbol.clone()>
                <input type="checkbox" prop:checked=checked disabled=last on:change=toggle/>
                <strong translate="no">{listing.symbol.clone()}</strong>
                <span class="quiet">{listing.name}</span>
            </label>
        </li>
    }
}
