//! Processor time, as the kernel counts it.

use std::time::Duration;

/// The CPU time that a process has used so far.
pub fn cpu(id: u32) -> Duration {
    // A clock tick is 10 ms on every Linux that matters here (`sysconf(_SC_CLK_TCK)`).
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The process name in brackets may contain anything, so the fields are read after it.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    TICK * ticks
}
