//! The table of prices, with the rows and the order of the user's choice.

use std::cmp::Ordering;

use leptos::prelude::*;

use super::{
    chart::Sparkline,
    choice::{Choice, Column, Sort},
    format::{direction, print},
    picker::matches,
    prices::{Prices, Row, Shown},
};
use crate::ticker::message::{Listing, Quote};
use realtime::client::live_text;

/// The rows that match the choice, in its order.
pub fn rows(
    listings: RwSignal<Vec<Listing>>,
    choice: RwSignal<Choice>,
    prices: Prices,
) -> Memo<Vec<Listing>> {
    Memo::new(move |_| {
        let choice = choice.get();
        let mut rows = listings.with(|listings| {
            let chosen = choice.listed(listings);
            let wanted = |listing: &&Listing| {
                chosen
                    .as_ref()
                    .is_none_or(|chosen| chosen.contains(&listing.symbol))
                    && matches(listing, &choice.filter)
            };
            listings.iter().filter(wanted).cloned().collect::<Vec<_>>()
        });
        if choice.sort.by.moves() {
            // Sorted with each drawing, not with every price: rows that jump cannot be read.
            prices.round.track();
        }
        sort(&mut rows, choice.sort, |listing| {
            prices
                .of(&listing.symbol)
                .row
                .with_untracked(|row| row.quote.clone())
        });
        rows
    })
}

fn sort(rows: &mut [Listing], sort: Sort, quote_of: impl Fn(&Listing) -> Option<Quote>) {
    let number =
        |listing: &Listing, pick: fn(&Quote) -> f64| quote_of(listing).map(|quote| pick(&quote));
    let compare = |left: &Listing, right: &Listing| {
        let by = |pick: fn(&Quote) -> f64| match (number(left, pick), number(right, pick)) {
            (Some(left), Some(right)) => left.total_cmp(&right),
            (left, right) => left.is_some().cmp(&right.is_some()),
        };
        match sort.by {
            Column::Listed => Ordering::Equal,
            Column::Symbol => left.symbol.cmp(&right.symbol),
            Column::Name => left.name.cmp(&right.name),
            Column::Price => by(|quote| quote.price),
            Column::Change => by(|quote| quote.change),
            Column::Percent => by(|quote| quote.change_percent),
            Column::Volume => by(|quote| quote.volume),
        }
    };
    // Stable, so that equals keep the order of the list.
    rows.sort_by(|left, right| match sort.descending {
        true => compare(right, left),
        false => compare(left, right),
    });
}

/// The table.
#[component]
pub fn PriceTable(
    listings: RwSignal<Vec<Listing>>,
    rows: Memo<Vec<Listing>>,
    #[prop(into)] selected: Signal<Option<String>>,
    choice: RwSignal<Choice>,
    prices: Prices,
) -> impl IntoView {
    view! {
        <div class="table-wrap">
            <table class="prices" data-test="prices">
                <caption class="visually-hidden">"Prices. The button in a row shows its chart."</caption>
                <thead>
                    <tr>
                        <Head column=Column::Symbol label="Symbol" choice/>
                        <Head column=Column::Name label="Name" class="wide" choice/>
                        <Head column=Column::Price label="Price" class="number" choice/>
                        <Head column=Column::Change label="Change" class="number wide" choice/>
                        <Head column=Column::Percent label="%" class="number" choice/>
                        <Head column=Column::Volume label="Volume" class="number wide" choice/>
                        <th scope="col">"Minutes"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || rows.get() key=|listing| listing.symbol.clone() let:listing>
                        <PriceRow shown=prices.of(&listing.symbol) listing selected choice/>
                    </For>
                </tbody>
            </table>
            <Show when=move || rows.with(Vec::is_empty)>
                <p {..live_text(move || if listings.with(Vec::is_empty) { "The symbols are on their way…" } else { "No symbol has that in its name." })} class="empty" data-test="no-rows"></p>
            </Show>
        </div>
    }
}

#[component]
fn Head(
    column: Column,
    label: &'static str,
    #[prop(optional)] class: &'static str,
    choice: RwSignal<Choice>,
) -> impl IntoView {
    let sorted = move || {
        let sort = choice.with(|choice| choice.sort);
        match (sort.by == column, sort.descending) {
            (false, _) => None,
            (true, false) => Some("ascending"),
            (true, true) => Some("descending"),
        }
    };
    let press = move |_| choice.update(|choice| choice.sort = choice.sort.pressed(column));
    view! {
        <th scope="col" class=class aria-sort=sorted>
            <button type="button" class="head" data-test="sort" data-column=label on:click=press>{label}</button>
        </th>
    }
}

#[component]
fn PriceRow(
    listing: Listing,
    shown: Shown,
    selected: Signal<Option<String>>,
    choice: RwSignal<Choice>,
) -> impl IntoView {
    let (row, trail) = (RwSignal::from(shown.row), RwSignal::from(shown.trail));
    let number = move |pick: fn(&Quote) -> f64, decimals: fn(&Row, u8) -> usize, signed: bool| {
        move || {
            row.with(|row| {
                let decimals = decimals(row, listing.decimals);
                quoted(row, |quote| print(pick(quote), decimals, signed))
            })
        }
    };
    let direction =
        move || row.with(|row| quoted(row, |quote| direction(quote.change)).unwrap_or_default());
    let symbol = StoredValue::new(listing.symbol.clone());
    let pressed = move || {
        let here =
            symbol.with_value(|symbol| selected.with(|shown| shown.as_ref() == Some(symbol)));
        if here { "true" } else { "false" }
    };
    let select = move |_| choice.update(|choice| choice.chart = Some(symbol.get_value()));
    view! {
        <tr data-test="price-row" data-symbol=listing.symbol.clone() data-direction=direction>
            <th scope="row" translate="no">
                <button type="button" class="select" data-test="select" aria-pressed=pressed on:click=select>{listing.symbol.clone()}</button>
            </th>
            <td class="wide">{listing.name}</td>
            <td class="number"><span {..live_text(number(|quote| quote.price, Row::decimals, false))} class=move || row.with(|row| format!("price {}", row.flash)) data-test="price" translate="no"></span></td>
            <td {..live_text(number(|quote| quote.change, Row::decimals, true))} class="number change wide" translate="no"></td>
            <td {..live_text(number(|quote| quote.change_percent, |_, _| 2, true))} class="number change" translate="no"></td>
            <td {..live_text(number(|quote| quote.volume, |_, _| 0, false))} class="number wide" translate="no"></td>
            <td class="trail"><Sparkline trail/></td>
        </tr>
    }
}

fn quoted<T>(row: &Row, show: impl Fn(&Quote) -> T) -> Option<T> {
    row.quote.as_ref().map(show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_with_thousands_and_sign() {
        assert_eq!(print(1234.5, 2, false), "1,234.50");
        assert_eq!(print(-0.25, 2, true), "−0.25");
        assert_eq!(print(12.0, 2, true), "+12.00");
        assert_eq!(print(0.0, 2, true), "0.00");
        assert_eq!(print(1_234_567.0, 0, false), "1,234,567");
        assert_eq!(print(100.0, 0, false), "100");
    }

    #[test]
    fn rows_are_sorted_by_column_and_those_without_a_price_are_least() {
        let listing = |symbol: &str| Listing {
            symbol: symbol.into(),
            name: symbol.into(),
            decimals: 2,
        };
        let quote_of = |listing: &Listing| {
            let price = match listing.symbol.as_str() {
                "A" => 3.0,
                "B" => 20.0,
                _ => return None,
            };
            Some(Quote {
                symbol: listing.symbol.clone(),
                price,
                change: -price,
                change_percent: 0.0,
                volume: 0.0,
                at: 0,
            })
        };
        let order = |by: Column, descending: bool| {
            let mut rows = ["C", "A", "B"].map(listing);
            sort(&mut rows, Sort { by, descending }, quote_of);
            rows.map(|listing| listing.symbol).join("")
        };
        assert_eq!(order(Column::Listed, false), "CAB");
        assert_eq!(order(Column::Symbol, true), "CBA");
        assert_eq!(order(Column::Price, true), "BAC");
        assert_eq!(order(Column::Change, true), "ABC");
        assert_eq!(
            order(Column::Percent, false),
            "CAB",
            "equals keep their order"
        );
    }
}
