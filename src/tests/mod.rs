//! Integration tests: each starts a real server on port 0 and uses real connections. `wire_format` has the whole
//! contract on one screen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test an unwrap is an assertion, in its helpers too"
)]

mod api;
mod chat;
mod cluster;
mod cluster_collab;
mod cluster_topics;
mod collab;
mod collab_text;
mod compare;
mod credentials;
mod drain;
mod durable;
mod faults;
mod feeds;
mod floors;
mod health;
mod hydration;
mod kit_readme;
mod limits;
#[allow(dead_code, reason = "the tests of the bus use more of it")]
mod nats_server;
mod nodes;
mod output;
#[allow(dead_code, reason = "the torture run uses more of it")]
mod process;
mod progress;
mod protocol;
mod proxies;
mod race;
mod renewal;
mod scale;
mod service_manager;
mod sessions;
mod shared_parts;
mod slow_readers;
mod start;
mod support;
mod ticker;
mod ticker_property;
mod tls;
mod torture;
mod upload;
mod wire_format;
mod yjs_client;
