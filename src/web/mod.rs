//! What a request is, and what a refusal is: plain HTTP, below every feature.

pub mod error;
pub mod parameters;
#[cfg(feature = "ssr")]
pub mod server;
pub mod text_rules;
