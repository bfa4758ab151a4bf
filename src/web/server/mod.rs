//! The server's part: who asks, what stands in a request, and how a refusal is answered.

pub mod answer;
pub mod caller;
pub mod cookies;
pub mod headers;
pub mod panicked;
pub mod query;
pub mod units;
