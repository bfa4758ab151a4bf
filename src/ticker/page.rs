//! The table of prices.

use std::collections::HashMap;

use gloo_net::http::Request;
use leptos::{prelude::*, task::spawn_local};
use leptos_meta::Title;
use leptos_router::{LazyRoute, lazy_route};

use super::{
    SYMBOLS_ROUTE,
    message::{FeedStatus, FirstPrices, Listing, Quote, TickerEvent, TickerEvents},
};
use crate::{
    first_state::first_state,
    realtime::client::{StatusLine, StreamEvent, use_event_source},
};

/// The route.
pub struct TickerPage;

#[lazy_route]
impl LazyRoute for TickerPage {
    fn data() -> Self {
        Self
    }

    fn view(_this: Self) -> AnyView {
        view! { <Ticker/> }.into_any()
    }
}

/// One row: its price, and how the last change looks.
#[derive(Clone, Default, PartialEq)]
struct Row {
    quote: Option<Quote>,
    /// A class that restarts its animation: two names for each direction, taken in turn.
    flash: &'static str,
}

/// A signal a symbol, so that a price touches one row.
#[derive(Clone, Copy)]
struct Prices(StoredValue<HashMap<String, RwSignal<Row>>>);

impl Prices {
    fn new(quotes: Vec<Quote>) -> Self {
        let this = Self(StoredValue::new(HashMap::new()));
        quotes.into_iter().for_each(|quote| {
            this.row(&quote.symbol.clone()).set(Row {
                quote: Some(quote),
                flash: "",
            })
        });
        this
    }

    /// The row of a symbol, made when it is first asked for.
    fn row(self, symbol: &str) -> RwSignal<Row> {
        if let Some(row) = self.0.with_value(|rows| rows.get(symbol).copied()) {
            return row;
        }
        let row = RwSignal::new(Row::default());
        self.0.update_value(|rows| {
            rows.insert(symbol.to_owned(), row);
        });
        row
    }

    fn set(self, quote: Quote) {
        self.row(&quote.symbol).update(|row| {
            let before = row
                .quote
                .as_ref()
                .map_or(quote.price, |before| before.price);
            row.flash = match (quote.price.total_cmp(&before), row.flash) {
                (std::cmp::Ordering::Greater, "up") => "up again",
                (std::cmp::Ordering::Greater, _) => "up",
                (std::cmp::Ordering::Less, "down") => "down again",
                (std::cmp::Ordering::Less, _) => "down",
                (std::cmp::Ordering::Equal, flash) => flash,
            };
            row.quote = Some(quote);
        });
    }
}

#[component]
fn Ticker() -> impl IntoView {
    let first = first_state::<(), FirstPrices>(());
    let position = first.as_ref().map(|first| first.position.clone());
    let listings = RwSignal::new(
        first
            .as_ref()
            .map(|first| first.listings.clone())
            .unwrap_or_default(),
    );
    let prices = Prices::new(first.map(|first| first.quotes).unwrap_or_default());
    let watching = RwSignal::new(None::<usize>);
    let recovered = RwSignal::new(None::<usize>);
    let stale_since = RwSignal::new(None::<u64>);

    // After a visit by the router there are no names yet.
    Effect::new(move |_| {
        if listings.with_untracked(Vec::is_empty) {
            spawn_local(async move {
                let Ok(response) = Request::get(SYMBOLS_ROUTE).send().await else {
                    return;
                };
                if let Ok(listed) = response.json::<Vec<Listing>>().await {
                    let _ = listings.try_set(listed);
                }
            });
        }
    });

    let connection = use_event_source(
        || Some(TickerEvents::default()),
        position,
        move |event| match event {
            StreamEvent::Hello(hello) => {
                watching.set(Some(hello.connections));
                recovered.set(
                    hello
                        .recovered
                        .then_some(hello.replayed)
                        .filter(|replayed| *replayed > 0),
                );
            }
            StreamEvent::Heartbeat { connections } => watching.set(Some(connections)),
            StreamEvent::Event(TickerEvent::Snapshot { quotes }) => {
                quotes.into_iter().for_each(|quote| prices.set(quote))
            }
            StreamEvent::Event(TickerEvent::Price(quote)) => prices.set(quote),
            StreamEvent::Event(TickerEvent::Feed { status, since }) => {
                stale_since.set((status == FeedStatus::Stale).then_some(since));
            }
        },
    );

    view! {
        <Title text="Ticker"/>
        <div class="page-head">
            <h1>"Ticker"</h1>
            <StatusLine connection transport="SSE">
                {move || watching.get().map(|count| view! { <span data-test="watching">{format!("{count} watching")}</span> })}
                {move || recovered.get().map(|count| view! { <span data-test="recovered">{format!("recovered {count} events")}</span> })}
                {move || stale_since.get().map(|_| view! { <span class="warning" data-test="stale">"The feed is stale; these are its last prices."</span> })}
            </StatusLine>
        </div>
        <p class="lead">"One event stream carries every price. Come back after a break, and what you missed is replayed from the last event you saw."</p>
        <div class="table-wrap">
            <table class="prices" data-test="prices">
                <thead>
                    <tr>
                        <th scope="col">"Symbol"</th>
                        <th scope="col" class="wide">"Name"</th>
                        <th scope="col" class="number">"Price"</th>
                        <th scope="col" class="number">"Change"</th>
                        <th scope="col" class="number">"%"</th>
                        <th scope="col" class="number wide">"Volume"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || listings.get() key=|listing| listing.symbol.clone() let:listing>
                        <PriceRow row=prices.row(&listing.symbol) listing/>
                    </For>
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn PriceRow(listing: Listing, row: RwSignal<Row>) -> impl IntoView {
    let decimals = usize::from(listing.decimals);
    let number = move |pick: fn(&Quote) -> f64, decimals: usize, signed: bool| {
        move || {
            row.with(|row| {
                row.quote
                    .as_ref()
                    .map(|quote| print(pick(quote), decimals, signed))
            })
        }
    };
    let direction = move || {
        row.with(|row| {
            row.quote
                .as_ref()
                .map_or("", |quote| direction(quote.change))
        })
    };
    let symbol = listing.symbol.clone();
    view! {
        <tr data-test="price-row" data-symbol=listing.symbol data-direction=direction>
            <th scope="row">{symbol}</th>
            <td class="wide">{listing.name}</td>
            <td class="number"><span class=move || row.with(|row| format!("price {}", row.flash)) data-test="price">{number(|quote| quote.price, decimals, false)}</span></td>
            <td class="number change">{number(|quote| quote.change, decimals, true)}</td>
            <td class="number change">{number(|quote| quote.change_percent, 2, true)}</td>
            <td class="number wide">{number(|quote| quote.volume, 0, false)}</td>
        </tr>
    }
}

fn direction(change: f64) -> &'static str {
    match change.total_cmp(&0.0) {
        std::cmp::Ordering::Greater => "up",
        std::cmp::Ordering::Less => "down",
        std::cmp::Ordering::Equal => "",
    }
}

/// A number with thousands apart, as in `+1,234.50`; a true minus, which is as wide as the plus.
fn print(value: f64, decimals: usize, signed: bool) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = match (value < 0.0, signed && value > 0.0) {
        (true, _) => "−",
        (_, true) => "+",
        _ => "",
    };
    format!("{sign}{grouped}{fraction}")
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
}
