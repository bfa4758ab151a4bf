//! Integration tests: a real server on port 0, real connections, and the whole contract on one screen (`wire_format`).

mod api;
mod chat;
mod collab;
mod drain;
mod limits;
mod progress;
mod sessions;
mod support;
mod ticker;
mod wire_format;
