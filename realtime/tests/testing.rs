//! Tests of the test kit: what the components of the README show after a lost connection, a resume, an unrecoverable resume and a
//! refusal; and what a scripted client gets from the servers of the README.

#![cfg(feature = "testing")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test an unwrap is an assertion, in its helpers too"
)]

#[path = "readme/channel.rs"]
mod channel;
#[path = "testing/clients.rs"]
mod clients;
#[path = "readme/handler.rs"]
mod handler;
#[path = "testing/options.rs"]
mod options;
#[path = "readme/page_test.rs"]
mod page_test;
#[path = "testing/pages.rs"]
mod pages;
#[path = "testing/sends.rs"]
mod sends;
#[path = "readme/server_test.rs"]
mod server_test;
#[path = "readme/socket.rs"]
mod socket;
#[path = "readme/stream.rs"]
mod weather;
