//! Tests the checkers of `make torture` and `make test-cluster`, with a history for each violation that they must find. The
//! run itself is `benches/torture`.

#[path = "../../benches/torture/checker.rs"]
mod checker;
#[path = "../../benches/torture/checker_tests.rs"]
mod checker_tests;
#[path = "../../benches/torture/document_checker.rs"]
mod document_checker;
#[path = "../../benches/torture/document_checker_tests.rs"]
mod document_checker_tests;
#[path = "../../benches/torture/history.rs"]
#[allow(dead_code, reason = "the run records; here histories are made")]
mod history;
#[path = "../../benches/torture/jobs_checker.rs"]
mod jobs_checker;
#[path = "../../benches/torture/jobs_checker_tests.rs"]
mod jobs_checker_tests;
#[path = "../../benches/torture/pointers_checker.rs"]
mod pointers_checker;
#[path = "../../benches/torture/pointers_checker_tests.rs"]
mod pointers_checker_tests;
#[path = "../../benches/torture/prices_checker.rs"]
mod prices_checker;
#[path = "../../benches/torture/prices_checker_tests.rs"]
mod prices_checker_tests;
#[path = "../../benches/torture/stream.rs"]
#[allow(dead_code, reason = "the run reads streams; here they are made")]
mod stream;
