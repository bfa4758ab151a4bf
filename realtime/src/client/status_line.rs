//! The status line component: the connection's state in words, with a countdown and a "Retry now" button.

use gloo_timers::callback::Interval;
use leptos::{prelude::*, tachys::view::any_view::IntoAny};
use send_wrapper::SendWrapper;

use super::{
    connection::{Connection, now},
    live_text::{live_text, text_content},
};
use crate::status::ConnectionStatus;

/// Shows the state of a connection. `transport` is its name: "SSE" or "WebSocket".
#[component]
pub fn StatusLine(
    connection: Connection,
    transport: &'static str,
    /// The word after the number of connections, as in "3 connected". Also the count's `data-test` name.
    #[prop(default = "connected")]
    counted: &'static str,
    /// Further content of the line.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    let seconds = countdown(connection);
    let state = move || match connection.status.get() {
        ConnectionStatus::Closed => "closed",
        ConnectionStatus::Connecting { .. } => "connecting",
        ConnectionStatus::Open => "open",
        ConnectionStatus::Waiting { .. } => "waiting",
        ConnectionStatus::Offline { .. } => "offline",
        ConnectionStatus::Stopped { .. } => "stopped",
    };
    let words = move || match connection.status.get() {
        ConnectionStatus::Closed => "Closed".to_owned(),
        ConnectionStatus::Connecting { attempt: 0 } => "Connecting…".to_owned(),
        ConnectionStatus::Connecting { attempt } => format!("Connecting, attempt {}…", attempt + 1),
        ConnectionStatus::Open => "Connected".to_owned(),
        ConnectionStatus::Waiting { .. } => {
            format!("Connection lost. Retrying in {} s", seconds.get())
        }
        ConnectionStatus::Offline { .. } => format!(
            "Offline. The browser reports no network. Trying in {} s",
            seconds.get()
        ),
        ConnectionStatus::Stopped { reason, .. } => reason.into_owned(),
    };
    // The data beside the line is not live in these states, even while the next attempt is in progress.
    let lost = move || match connection.status.get() {
        ConnectionStatus::Connecting { attempt } => attempt > 0,
        ConnectionStatus::Waiting { .. }
        | ConnectionStatus::Offline { .. }
        | ConnectionStatus::Stopped { .. } => true,
        ConnectionStatus::Closed | ConnectionStatus::Open => false,
    };
    let why = move || match connection.status.get() {
        ConnectionStatus::Waiting { reason, .. } => reason.into_owned(),
        _ => String::new(),
    };
    let retriable = move || {
        let status = connection.status.get();
        matches!(
            status,
            ConnectionStatus::Waiting { .. }
                | ConnectionStatus::Offline { .. }
                | ConnectionStatus::Stopped { .. }
        )
    };
    let round_trip = move || {
        connection
            .round_trip
            .get()
            .map(|ms| format!("{} ms", ms.round()))
    };
    let count = move || {
        let count = connection.connections.get();
        count.map(|count| view! { <span {..text_content(format!("{count} {counted}"))} data-test=counted></span> })
    };
    view! {
        <div class="status" class:lost=lost data-test="status" data-state=state data-transport=transport>
            <span class="status-dot" aria-hidden="true"></span>
            <span class="status-transport" translate="no">{transport}</span>
            // Screen readers announce only the state; they would announce the countdown every second.
            <span {..live_text(words)} class="status-words" data-test="status-words" title=why></span>
            <span {..live_text(state)} class="visually-hidden" role="status"></span>
            <Show when=retriable>
                <button type="button" class="small" data-test="retry-now" on:click=move |_| connection.retry_now()>"Retry now"</button>
            </Show>
            <span class="status-more"><span {..live_text(round_trip)} translate="no"></span> {count} {children.map(|children| children().into_any())}</span>
        </div>
    }
    .into_any()
}

/// The whole seconds until the next attempt, counted down while the connection waits for one.
pub fn countdown(connection: Connection) -> ReadSignal<u64> {
    let (seconds, set_seconds) = signal(0);
    let left = move || {
        let retry_at = connection.status.try_get_untracked()?.retry_at();
        let left = retry_at.map(|retry_at| ((retry_at - now()) / 1_000.0).ceil().max(0.0) as u64);
        Some(left.unwrap_or_default())
    };
    Effect::new(move |_| {
        let waiting = connection.status.get().retry_at().is_some();
        set_seconds.set(left().unwrap_or_default());
        let ticking = waiting.then(|| {
            SendWrapper::new(Interval::new(250, move || {
                if let Some(left) = left()
                    && seconds
                        .try_get_untracked()
                        .is_some_and(|shown| shown != left)
                {
                    set_seconds.set(left);
                }
            }))
        });
        // Dropping the interval stops it, when the effect runs again or the component is disposed.
        on_cleanup(move || drop(ticking));
    });
    seconds
}
