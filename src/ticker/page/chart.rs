//! Sparklines and the large chart, as SVG.

use leptos::prelude::*;

use super::{
    format::{direction, print},
    prices::{Prices, Shown},
};
use crate::{
    ticker::{
        message::Listing,
        trail::{PlotSize, Trail},
    },
    ui::{
        erase::Erase,
        icons::{Glyph, Icon},
    },
};
use realtime::client::{live_text, text_content};

/// The sparkline of a row. It is hidden from screen readers, because its numbers are in the row.
#[component]
pub fn Sparkline(trail: RwSignal<Trail>) -> impl IntoView {
    view! {
        <svg class="spark" viewBox="-1 -1 82 22" preserveAspectRatio="none" aria-hidden="true" data-test="spark">
            <path d=move || trail.with(|trail| trail.path(PlotSize::Row)) vector-effect="non-scaling-stroke"/>
        </svg>
    }
}

/// The chart of one symbol. Without a symbol, a placeholder keeps its space.
#[component]
pub fn Chart(#[prop(into)] listing: Signal<Option<Listing>>, prices: Prices) -> impl IntoView {
    move || {
        match listing.get() {
        Some(listing) => {
            view! { <ChartOf shown=prices.of(&listing.symbol) listing/> }.erase()
        }
        None => view! { <div class="chart blank"><Icon glyph=Glyph::Ticker/><p class="empty">"The chart of a symbol appears here."</p></div> }.erase(),
    }
    }
}

#[component]
fn ChartOf(shown: Shown, listing: Listing) -> impl IntoView {
    let (row, trail) = (RwSignal::from(shown.row), RwSignal::from(shown.trail));
    let decimals = move || row.with(|row| row.decimals(listing.decimals));
    let price = move || {
        let price = row.with(|row| row.quote.as_ref().map(|quote| quote.price));
        price.map(|price| print(price, decimals(), false))
    };
    let change = move || {
        row.with(|row| {
            row.quote.as_ref().map(|quote| {
                let change = print(quote.change, row.decimals(listing.decimals), true);
                format!("{change} ({} %)", print(quote.change_percent, 2, true))
            })
        })
    };
    let direction = move || {
        row.with(|row| {
            row.quote
                .as_ref()
                .map_or("", |quote| direction(quote.change))
        })
    };
    let low = move || {
        trail
            .with(Trail::range)
            .map(|(low, _)| print(low, decimals(), false))
    };
    let high = move || {
        trail
            .with(Trail::range)
            .map(|(_, high)| print(high, decimals(), false))
    };
    let minutes = move || {
        let (from, to) = trail.with(Trail::span);
        match (to - from) / 60_000 {
            0 => "less than a minute".to_owned(),
            1 => "the last minute".to_owned(),
            minutes => format!("the last {minutes} minutes"),
        }
    };
    let label = move || {
        let (low, high) = (low().unwrap_or_default(), high().unwrap_or_default());
        format!("Price over {}: between {low} and {high}", minutes())
    };
    view! {
        <figure class="chart" data-test="chart" data-symbol=listing.symbol.clone() data-direction=direction>
            <figcaption>
                <strong {..text_content(listing.symbol.clone())} class="chart-symbol" translate="no"></strong>
                <span {..text_content(listing.name.clone())} class="quiet"></span>
                <span {..live_text(price)} class="chart-price" data-test="chart-price" translate="no"></span>
                <span {..live_text(change)} class="change" translate="no"></span>
            </figcaption>
            <div class="chart-plot">
                <svg viewBox="-4 -4 808 208" preserveAspectRatio="none" role="img" aria-label=label>
                    <path class="grid" d="M0 0H800M0 100H800M0 200H800" vector-effect="non-scaling-stroke"/>
                    <path class="line" data-test="chart-line" d=move || trail.with(|trail| trail.path(PlotSize::Chart)) vector-effect="non-scaling-stroke"/>
                </svg>
                <span {..live_text(high)} class="chart-high" translate="no"></span>
                <span {..live_text(low)} class="chart-low" translate="no"></span>
            </div>
            <p {..live_text(minutes)} class="quiet chart-span"></p>
        </figure>
    }
}
