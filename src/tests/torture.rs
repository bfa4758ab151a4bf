//! Tests the checker of `make torture`, with a history for each violation that it must find. The run itself is
//! `benches/torture`.

#[path = "../../benches/torture/checker.rs"]
mod checker;
#[path = "../../benches/torture/checker_tests.rs"]
mod checker_tests;
#[path = "../../benches/torture/history.rs"]
#[allow(dead_code, reason = "the run records; here histories are made")]
mod history;
