//! The status line component: the connection's state in words, with a countdown and a "Retry now" button.

use leptos::prelude::*;
use send_wrapper::SendWrapper;

use super::{
    connection::Connection,
    live_text::{live_text, text_content},
    platform::{Interval, effect, now},
    words::StatusWords,
};
use crate::status::ConnectionStatus;

/// A stylesheet for [`StatusLine`], for applications that have no rules of their own for it. It is added to the
/// application's stylesheet, served as a file, or rendered into a `<style>` element where the Content Security Policy
/// allows one.
pub const STATUS_LINE_CSS: &str = include_str!("status_line.css");

/// Shows the state of a connection: a dot, the transport, the state in words, a countdown to the next attempt and a button
/// that starts it at once, the round trip time of a socket, and the number of connections.
///
/// # Words
///
/// The words are the prop `words`, else the [`StatusWords`] in context, else [`StatusWords::ENGLISH`].
///
/// # Accessibility
///
/// The state is a live region (`role="status"`). The countdown stands behind it in an element of its own, because a screen
/// reader would announce it every second. Both are visible: no text is repeated for screen readers, and none has to be
/// hidden by a stylesheet.
///
/// # Styles
///
/// Without any stylesheet the component is one line of text. Its elements have the classes `status` (with `lost` while the
/// data beside the line is not live), `status-dot`, `status-transport`, `status-words` and `status-more`; the button has the
/// class `small`. The element of the class `status` has the attributes `data-transport` and `data-state`: `closed`,
/// `connecting`, `open`, `waiting`, `offline` or `stopped`. No element has a `style` attribute, so a strict Content Security
/// Policy needs no exception.
///
/// [`STATUS_LINE_CSS`] is a stylesheet for these classes. It reads these custom properties, all of them optional:
///
/// | Custom property | Sets | Default |
/// |---|---|---|
/// | `--realtime-status-color` | the text | `inherit` |
/// | `--realtime-status-background` | the background | `transparent` |
/// | `--realtime-status-border-color` | the border | `currentColor` |
/// | `--realtime-status-radius` | the radius of the corners | `1rem` |
/// | `--realtime-status-padding` | the padding | `0.125rem 0.75rem` |
/// | `--realtime-status-gap` | the space between the parts | `0.5rem` |
/// | `--realtime-status-font-size` | the font size | `0.875rem` |
/// | `--realtime-status-dot-color` | the dot, neither open nor lost | `#767676` |
/// | `--realtime-status-open-color` | the dot, open | `#15803d` |
/// | `--realtime-status-lost-color` | the dot and the border, lost | `#b45309` |
/// | `--realtime-status-lost-background` | the background, lost | `transparent` |
#[component]
pub fn StatusLine(
    /// The connection whose state the line shows and whose next attempt the button starts.
    connection: Connection,
    /// The name of the transport: "SSE" or "WebSocket".
    transport: &'static str,
    /// The word after the number of connections, as in "3 connected". Also the count's `data-test` name.
    #[prop(default = "connected")]
    counted: &'static str,
    /// Everything that the line says. By default the context's words, else English ones.
    #[prop(optional)]
    words: Option<StatusWords>,
    /// Further content of the line.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    let words = words.or_else(use_context).unwrap_or_default();
    let seconds = countdown(connection);
    let state = move || match connection.status.get() {
        ConnectionStatus::Closed => "closed",
        ConnectionStatus::Connecting { .. } => "connecting",
        ConnectionStatus::Open => "open",
        ConnectionStatus::Waiting { .. } => "waiting",
        ConnectionStatus::Offline { .. } => "offline",
        ConnectionStatus::Stopped { .. } => "stopped",
    };
    let state_words = move || connection.status.with(|status| (words.state)(status));
    let countdown_words = move || {
        connection.status.with(|status| {
            let waits = status.retry_at().is_some();
            // The space separates it from the state.
            waits.then(|| format!(" {}", (words.countdown)(status, seconds.get())))
        })
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
        ConnectionStatus::Waiting { reason, .. } => (words.lost)(&reason),
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
    let round_trip = move || connection.round_trip.get().map(words.round_trip);
    let count = move || {
        let count = connection.connections.get();
        count.map(|count| view! { <span {..text_content((words.count)(count, counted))} data-test=counted></span> })
    };
    view! {
        <div class="status" class:lost=lost data-test="status" data-state=state data-transport=transport>
            <span class="status-dot" aria-hidden="true"></span>
            <span class="status-transport" translate="no">{transport}</span>
            // The spaces separate the parts where no stylesheet does.
            " "
            <span class="status-words" data-test="status-words" title=why>
                // Screen readers announce only the state; they would announce the countdown every second.
                <span {..live_text(state_words)} role="status"></span>
                <span {..live_text(countdown_words)}></span>
            </span>
            " "
            <Show when=retriable>
                <button {..live_text(words.retry_now)} type="button" class="small" data-test="retry-now" on:click=move |_| connection.retry_now()></button>
            </Show>
            " "
            <span class="status-more"><span {..live_text(round_trip)} translate="no"></span> " " {count} " " {children.map(|children| children())}</span>
        </div>
    }
}

/// The whole seconds until the next attempt, counted down while the connection waits for one.
pub fn countdown(connection: Connection) -> ReadSignal<u64> {
    let (seconds, set_seconds) = signal(0);
    let left = move || {
        let retry_at = connection.status.try_get_untracked()?.retry_at();
        let left = retry_at.map(|retry_at| ((retry_at - now()) / 1_000.0).ceil().max(0.0) as u64);
        Some(left.unwrap_or_default())
    };
    effect(move |_| {
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

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        client::connection::Signals,
        status::{LostReason, StopReason},
        testing::text_of as text,
    };

    fn connection(status: ConnectionStatus) -> Connection {
        let mut connection = Signals::new().connection();
        connection.status = Signal::stored(status);
        connection
    }

    /// A line in this state, as the server renders it.
    fn html(status: ConnectionStatus) -> String {
        let connection = connection(status);
        view! { <StatusLine connection transport="SSE"/> }.to_html()
    }

    fn waiting() -> ConnectionStatus {
        ConnectionStatus::Waiting {
            attempt: 1,
            retry_at: 0.0,
            reason: LostReason::Cut,
        }
    }

    #[test]
    fn a_screen_reader_gets_the_state_and_not_the_countdown() {
        let owner = Owner::new();
        owner.set();
        let announced = |status| {
            let html = html(status);
            let (_, rest) = html.split_once(r#"<span role="status">"#).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        assert_eq!(announced(ConnectionStatus::Open), "Connected");
        assert_eq!(announced(waiting()), "Connection lost.");
        let reason = StopReason::SignedOut;
        let stopped = ConnectionStatus::Stopped { reason };
        assert_eq!(announced(stopped), "You signed out.");
    }

    #[test]
    fn without_a_stylesheet_each_text_is_there_once_and_apart_from_the_next() {
        let owner = Owner::new();
        owner.set();
        assert_eq!(text(&html(ConnectionStatus::Open)), "SSE Connected");
        let waits = html(waiting());
        assert_eq!(
            text(&waits),
            "SSE Connection lost. Retrying in 0 s Retry now"
        );
        assert!(waits.contains(r#"title="cut on this side""#), "{waits}");
        assert!(!waits.contains("style="), "{waits}");
        let mut socket = connection(ConnectionStatus::Open);
        socket.round_trip = Signal::stored(Some(12.4));
        socket.connections = Signal::stored(Some(3));
        let html =
            view! { <StatusLine connection=socket transport="WebSocket">"more"</StatusLine> };
        assert_eq!(
            text(&html.to_html()),
            "WebSocket Connected 12 ms 3 connected more"
        );
    }

    #[test]
    fn the_words_are_the_props_else_the_contexts() {
        let owner = Owner::new();
        owner.set();
        provide_context(StatusWords {
            retry_now: || "Jetzt".to_owned(),
            ..StatusWords::ENGLISH
        });
        assert!(text(&html(waiting())).ends_with("Retrying in 0 s Jetzt"));
        let connection = connection(waiting());
        let words = StatusWords {
            state: |_| "Verbindung verloren.".to_owned(),
            countdown: |_, seconds| format!("Neuer Versuch in {seconds} s"),
            lost: |_| "getrennt".to_owned(),
            ..StatusWords::ENGLISH
        };
        let html = view! { <StatusLine connection transport="SSE" words/> }.to_html();
        assert!(html.contains(r#"title="getrennt""#), "{html}");
        assert_eq!(
            text(&html),
            "SSE Verbindung verloren. Neuer Versuch in 0 s Retry now"
        );
    }

    #[test]
    fn every_custom_property_has_a_fallback_and_is_documented_with_it() {
        let used: BTreeSet<_> = STATUS_LINE_CSS
            .split("var(")
            .skip(1)
            .map(|rest| rest.split_once(')').unwrap().0)
            .map(|rest| rest.split_once(", ").unwrap())
            .collect();
        let rows = include_str!("status_line.rs").lines();
        let documented: BTreeSet<_> = rows
            .filter_map(|row| row.strip_prefix("/// | `")?.strip_suffix("` |"))
            .map(|row| {
                let (property, rest) = row.split_once("` |").unwrap();
                (property, rest.rsplit_once('`').unwrap().1)
            })
            .collect();
        assert_eq!(used, documented);
    }
}
