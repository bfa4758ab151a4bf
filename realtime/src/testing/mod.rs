//! Tests for applications that use the kit: a scripted server for what a page shows, and a scripted client for what a server
//! sends. Both run natively, without a browser and without a network.
//!
//! It is behind the feature `testing`, for `[dev-dependencies]` only: a program that is built with it never connects.
//!
//! # A page and a scripted server
//!
//! [`test_page`] takes a component and a script. The component's hooks run as in a browser: the state machine, the resume, the
//! filter of duplicates, the outbox, the list of channels, the status line. Only the lowest layer is replaced: `EventSource`,
//! `WebSocket`, the timers, the clock, the random numbers, the window and the tab's storage.
//!
//! - The script is the server. It [accepts](ScriptedServer::accept_stream) what the page opened, and says in the types of the
//!   contract what the server sends. Nobody writes wire JSON.
//! - The script is the clock. [`ScriptedServer::advance`] moves it and runs every timer on the way; nothing sleeps. Random numbers
//!   are 0.5, so the first wait of the default backoff is 750 ms. It doubles with each failure until a connection was open for ten
//!   seconds.
//! - The script is the browser: [`Page::go_offline`], [`Page::hide`], [`Page::reload`].
//! - [`Page::text`] is what the page shows at that moment.
//!
//! A view is rendered once and is gone then, so the whole script is run once more for each reading, from its start, and up to
//! that reading. So a script must do the same each time: it must not count its runs, or depend on the time of the day.
//!
//! Not replaced, because there is no document:
//!
//! - Nothing can be clicked. A component under test hands its handle out (a [`Socket`](crate::prelude::Socket), a
//!   [`ChannelHandle`](crate::prelude::ChannelHandle)), or the test calls the same hook.
//! - The application's own effects do not run (Leptos runs none under `ssr`). What a page shows has to follow from signals.
//! - What stands in a branch (`<Show>`, a closure that returns a view) is built when the page is read.
//! - There is one tab: a shared stream is this tab's own.
//!
//! # A server and a scripted client
//!
//! [`ScriptedClient`] speaks to an application's `axum::Router` over pipes in memory, which the kit's own code serves. It opens
//! streams and sockets, resumes them, and reads what comes in the types of the contract. Each wait ends after 10 s with a panic
//! that says what was waited for. It needs a tokio runtime, whose clock may be paused.
//!
//! # Panics
//!
//! What does not fit the script panics with a sentence: at the line of the script where the page is under test, at a line of the
//! scripted client where the server is.

#[cfg(feature = "ssr")]
mod client;
mod page;
mod server;
mod text;

#[cfg(feature = "ssr")]
pub use self::client::{
    JoinedChannel, OpenedSocket, OpenedStream, ScriptedClient, SocketItem, StreamItem,
};
pub use self::{
    page::{Page, test_page},
    server::{AcceptedChannel, AcceptedSocket, AcceptedStream, ScriptedServer},
    text::text_of,
};
