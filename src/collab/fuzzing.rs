//! How long the fuzz tests run.

/// `make fuzz` asks for more of them.
pub fn cases() -> u32 {
    let asked = std::env::var("WIREWISE_FUZZ_CASES").ok();
    asked
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(100_000)
}
