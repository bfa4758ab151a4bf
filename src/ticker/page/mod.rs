//! The ticker page: opens the stream and shows its prices.

pub mod chart;
pub mod choice;
mod format;
pub mod picker;
pub mod prices;
pub mod table;

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use gloo_net::http::Request;
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_query_map},
};
use web_sys::Event;

use self::{
    chart::Chart,
    choice::{Choice, Subscription},
    format::print,
    picker::Picker,
    prices::Prices,
    table::{PriceTable, rows},
};
use super::{
    SYMBOLS_ROUTE,
    message::{FeedStatus, FirstPrices, Listing, TickerEvent},
};
use crate::{
    inspector::page::Inspector,
    session::current_user::CurrentUser,
    ui::{
        about::About, erase::Erase, input_method::settled_value, lazy_page::lazy_page,
        numbers::shortest, shared_part::shared_part,
    },
    web::error::answer_in,
};
use realtime::{
    client::{
        Connection, Sharing, StatusLine, StreamEvent, StreamOptions, live_text, tabs_can_share,
        text_content, use_event_source_with_options,
    },
    sharing::Role,
    status::ConnectionStatus,
    transport::Transport,
};

/// The selected price is announced to screen readers at most this often (milliseconds).
const ANNOUNCE_INTERVAL_MS: f64 = 20_000.0;

lazy_page!(TickerPage, ticker_page, Ticker);

/// The state of the stream beside its prices.
#[derive(Clone, Copy)]
struct StreamState {
    /// The number of missed events that were replayed after a reconnect.
    recovered: RwSignal<Option<usize>>,
    stale_since: RwSignal<Option<u64>>,
    /// The offset from which this tab counts its events.
    counted_from: RwSignal<Option<u64>>,
}

/// The id of the element with the prices that a page begins with.
const FIRST_PRICES: &str = "first-prices";

#[component]
fn Ticker() -> impl IntoView {
    view! {
        <About title="Ticker" description="Live prices over Server-Sent Events: the latest value wins, and what was missed is replayed."/>
        {shared_part(FIRST_PRICES, prices_from)}
    }
    .erase()
}

/// The page with the prices that it begins with.
fn prices_from(first: Option<FirstPrices>) -> impl IntoView {
    let listings = RwSignal::new(
        first
            .as_ref()
            .map_or(vec![], |first| first.listings.clone()),
    );
    let prices = Prices::new(first.as_ref());
    let stream_state = StreamState {
        recovered: RwSignal::new(None),
        stale_since: RwSignal::new(first.as_ref().and_then(|first| first.stale_since)),
        counted_from: RwSignal::new(None),
    };
    let choice = choice_in_address();
    let connection = stream(first, listings, choice, prices, stream_state);
    load_listings(listings);
    let rows = rows(listings, choice, prices);
    // A memo, so that the chart is rebuilt only for another symbol.
    let shown = Memo::new(move |_| {
        let wanted = choice.with(|choice| choice.chart.clone());
        let find = |listings: &Vec<Listing>| {
            let wanted = listings
                .iter()
                .find(|listing| Some(&listing.symbol) == wanted.as_ref());
            wanted.cloned()
        };
        listings
            .with(find)
            .or_else(|| rows.with(|rows| rows.first().cloned()))
    });
    let selected = Signal::derive(move || {
        shown.with(|shown| shown.as_ref().map(|shown| shown.symbol.clone()))
    });
    let unknown = move || {
        let unknown = choice.with(|choice| listings.with(|listings| choice.unknown(listings)));
        // Before the listings are loaded, all symbols are unknown.
        let named = !unknown.is_empty() && !listings.with(Vec::is_empty);
        named.then(|| format!("Not listed here, and left out: {}.", unknown.join(", ")))
    };
    let filter = move |event: &Event| {
        if let Some(words) = settled_value(event) {
            choice.update(|choice| choice.filter = words);
        }
    };

    let more = view! {
        {move || stream_state.recovered.get().map(|count| view! { <span {..text_content(format!("recovered {count} events"))} data-test="recovered"></span> })}
        <Stale since=stream_state.stale_since/>
    }
    .erase();
    view! {
        <div class="page-head">
            <h1>"Ticker"</h1>
            <StatusLine connection transport="SSE" counted="watching">{more}</StatusLine>
        </div>
        <p class="lead">"One event stream carries every price. Come back after a break, and what you missed is replayed from the last event you saw."</p>
        <Chart listing=shown prices/>
        <div class="ticker-tools">
            <Picker listings choice/>
            <input type="search" placeholder="Filter rows" aria-label="Filter rows by symbol or name" autocomplete="off" data-test="filter"
                prop:value=move || choice.with(|choice| choice.filter.clone())
                on:input=move |event| filter(&event) on:compositionend=move |event| filter(&event)/>
            {move || unknown().map(|words| view! { <span {..text_content(words)} class="warning" data-test="unknown-symbols"></span> })}
        </div>
        <PriceTable listings rows selected choice prices/>
        <StreamNote connection choice prices stream_state/>
        <Announcement selected prices/>
        <Inspector connection transport=Transport::Sse/>
    }
}

/// The choice, kept in sync with the address, so that a link opens the same view.
fn choice_in_address() -> RwSignal<Choice> {
    let query = use_query_map();
    let choice = RwSignal::new(query.with_untracked(Choice::from_query));
    let navigate = use_navigate();
    // Choices that were written to the address and are not in it yet. They arrive later, and must not undo a newer
    // choice.
    let written = StoredValue::new(VecDeque::<Choice>::new());
    // After a link or the browser's back button, the address decides.
    Effect::new(move |_| {
        let there = query.with(Choice::from_query);
        let ours = written.try_update_value(|written| {
            let place = written.iter().position(|choice| *choice == there);
            place.map(|place| written.drain(..=place).count())
        });
        if ours.flatten().is_none() && choice.with_untracked(|choice| *choice != there) {
            choice.set(there);
        }
    });
    Effect::new(move |before: Option<()>| {
        let wanted = choice.get();
        let newest = written.with_value(|written| written.back().cloned());
        let there = newest.unwrap_or_else(|| query.with_untracked(Choice::from_query));
        if before.is_some() && there != wanted {
            let address = format!("/ticker{}", wanted.to_query());
            let quietly = NavigateOptions {
                replace: true,
                scroll: false,
                ..NavigateOptions::default()
            };
            written.update_value(|written| written.push_back(wanted));
            navigate(&address, quietly);
        }
    });
    choice
}

/// Loads the listings, which are missing after a navigation within the app.
fn load_listings(listings: RwSignal<Vec<Listing>>) {
    Effect::new(move |_| {
        if listings.with_untracked(Vec::is_empty) {
            spawn_local(async move {
                let Ok(response) = Request::get(SYMBOLS_ROUTE).send().await else {
                    return;
                };
                if let Ok(listed) = answer_in::<Vec<Listing>>(response).await {
                    let _ = listings.try_set(listed);
                }
            });
        }
    });
}

/// Opens the stream: one shared by all tabs with all symbols, or this tab's own with the chosen ones.
fn stream(
    first: Option<FirstPrices>,
    listings: RwSignal<Vec<Listing>>,
    choice: RwSignal<Choice>,
    prices: Prices,
    stream_state: StreamState,
) -> Connection {
    let current_user = expect_context::<CurrentUser>();
    let user = current_user
        .0
        .with_untracked(|user| user.as_ref().map(|user| user.id.to_string()));
    let shared = user
        .filter(|_| !choice.with_untracked(|choice| choice.own_stream))
        .map(|user| Sharing {
            user,
            build: env!("WIREWISE_BUILD"),
        });
    let shares = shared.is_some();
    let chosen =
        Memo::new(move |_| choice.with(|choice| listings.with(|listings| choice.listed(listings))));
    let subscription = Rc::new(RefCell::new(Subscription::default()));
    let event_subscription = subscription.clone();
    let wanted = move || {
        let wanted = if shares && tabs_can_share() {
            None
        } else {
            chosen.get()
        };
        let mut subscription = subscription.borrow_mut();
        Some(listings.with_untracked(|listings| subscription.want(wanted, listings)))
    };
    let options = StreamOptions::default()
        .after(first.map(|first| first.position))
        .shared(shared);
    let greeted = RefCell::new(false);
    let handler = move |event| match event {
        StreamEvent::Hello(hello) => {
            let again = greeted.replace(true);
            event_subscription
                .borrow_mut()
                .greeted(hello.recovered, hello.replayed);
            let missed = hello.recovered.then_some(hello.replayed);
            // Events between the render and the first connection are no recovery: no connection was lost.
            stream_state
                .recovered
                .set(missed.filter(|missed| again && *missed > 0));
            if !hello.recovered {
                prices.restart_count();
                stream_state.stale_since.set(None);
            }
            if !hello.recovered || !again {
                stream_state.counted_from.set(Some(hello.offset));
            }
        }
        StreamEvent::Heartbeat { .. } | StreamEvent::Undecoded { .. } => {}
        StreamEvent::Event(TickerEvent::Snapshot { quotes }) => {
            event_subscription.borrow_mut().state_received();
            quotes.into_iter().for_each(|quote| prices.apply(quote));
        }
        StreamEvent::Event(TickerEvent::Price(quote)) => {
            event_subscription.borrow_mut().price_received();
            prices.event(quote);
        }
        StreamEvent::Event(TickerEvent::Feed { status, since }) => {
            stream_state
                .stale_since
                .set((status == FeedStatus::Stale).then_some(since));
        }
    };
    use_event_source_with_options(wanted, handler, options)
}

/// Shows since when the feed is stale, in the user's time zone.
#[component]
fn Stale(since: RwSignal<Option<u64>>) -> impl IntoView {
    let minutes_to_utc = RwSignal::new(None::<f64>);
    // The server does not know the user's time zone, so it renders UTC and says so.
    Effect::new(move |_| minutes_to_utc.set(Some(js_sys::Date::new_0().get_timezone_offset())));
    let clock = move |since: u64| match minutes_to_utc.get() {
        Some(minutes) => clock(since as i64 - (minutes * 60_000.0) as i64),
        None => format!("{} UTC", clock(since as i64)),
    };
    move || {
        since.get().map(|since| {
            view! { <span class="warning stale" data-test="stale">"feed stale since " <time {..live_text(move || clock(since))} translate="no"></time></span> }
        })
    }
}

/// `HH:MM:SS` of Unix milliseconds.
fn clock(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1_000).rem_euclid(86_400);
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Shows which tab holds the stream and how many events were received, and links to a stream of the tab's own.
#[component]
fn StreamNote(
    connection: Connection,
    choice: RwSignal<Choice>,
    prices: Prices,
    stream_state: StreamState,
) -> impl IntoView {
    let open = move || connection.status.get() == ConnectionStatus::Open;
    let role = move || match connection.role.get() {
        Role::Alone => "alone",
        Role::Leader => "leader",
        Role::Follower => "follower",
    };
    let words = move || match connection.role.get() {
        Role::Alone => "This tab has a stream of its own.",
        Role::Leader => "This tab holds the stream for all tabs of the browser.",
        Role::Follower => "Another tab holds the stream and shares it.",
    };
    // Read together with the count, in the same frame.
    let at = move || {
        prices.count.track();
        connection.position.get_untracked().map(|at| at.to_string())
    };
    let other = move || {
        choice.with(|choice| {
            let other = Choice {
                own_stream: !choice.own_stream,
                ..choice.clone()
            };
            format!("/ticker{}", other.to_query())
        })
    };
    let own = move || choice.with(|choice| choice.own_stream);
    view! {
        <p class="quiet stream-note">
            <Show when=open>
                <span {..live_text(words)} data-test="role" data-role=role></span>
            </Show>
            <span {..live_text(move || format!("{} events received.", print(prices.count.get() as f64, 0, false)))} data-test="received" data-count=move || prices.count.get() data-from=move || stream_state.counted_from.get() data-at=at></span>
            // Whether a stream is shared is decided when it is opened, so the link loads the page anew.
            <a {..live_text(move || if own() { "Share one stream with the other tabs" } else { "Use a stream of its own" })} href=other rel="external" data-test="stream-mode"></a>
        </p>
    }
}

/// Announces the selected price to screen readers: when another symbol is selected, and from time to time as it
/// changes.
#[component]
fn Announcement(selected: Signal<Option<String>>, prices: Prices) -> impl IntoView {
    let spoken = RwSignal::new(String::new());
    let last = StoredValue::new((None::<String>, 0.0));
    Effect::new(move |_| {
        prices.round.track();
        let Some(symbol) = selected.get() else { return };
        let now = js_sys::Date::now();
        let (before, at) = last.get_value();
        let first = before.is_none();
        let another = before.as_ref() != Some(&symbol);
        if !another && now - at < ANNOUNCE_INTERVAL_MS {
            return;
        }
        last.set_value((Some(symbol.clone()), now));
        let quote = prices
            .of(&symbol)
            .row
            .with_untracked(|row| row.quote.clone());
        // Not at first: the screen reader is reading the page itself then.
        if let Some(quote) = quote.filter(|_| !first) {
            let percent = print(quote.change_percent, 2, true);
            let price = shortest(quote.price);
            spoken.set(format!("{symbol} {price}, {percent} percent"));
        }
    });
    view! { <p {..live_text(move || spoken.get())} class="visually-hidden" role="status" data-test="announcement"></p> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_hours_minutes_and_seconds() {
        assert_eq!(clock(0), "00:00:00");
        assert_eq!(clock(86_399_999), "23:59:59");
        assert_eq!(clock(-1), "23:59:59");
        assert_eq!(clock(1_700_000_000_000), "22:13:20");
    }
}
