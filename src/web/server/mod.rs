//! Plain HTTP on the server: the caller, credentials and query of a request, and the answers to refused requests.

pub mod answer;
pub mod caller;
pub mod cookies;
pub mod headers;
pub mod panicked;
pub mod query;
pub mod units;
