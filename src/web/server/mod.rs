//! Plain HTTP on the server: the caller, credentials and query of a request, the answers to refused requests, and how this
//! program connects to its own server.

pub mod answer;
pub mod caller;
pub mod cookies;
pub mod headers;
pub mod own_certificate;
pub mod panicked;
pub mod query;
pub mod units;
