//! Plain HTTP below every feature: errors, query parameters, text rules, and on the server callers, cookies and
//! answers.

pub mod error;
pub mod parameters;
#[cfg(feature = "ssr")]
pub mod server;
pub mod text_rules;
