//! The number of cases in a fuzz test.

/// `make fuzz` sets a larger number in the environment.
pub fn cases() -> u32 {
    let configured = std::env::var("WIREWISE_FUZZ_CASES").ok();
    configured
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(100_000)
}
