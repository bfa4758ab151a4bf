//! Cores, processor time and memory, as the kernel counts them.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::{
    process::{Pid, Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

pub const SERVER_CORE: usize = 0;
pub const CLIENT_CORE: usize = 1;

/// The kernel counts processor time in hundredths of a second (`USER_HZ`), on every architecture that Linux supports today.
const TICK: Duration = Duration::from_millis(10);

/// Pins this process to a core. What it starts afterwards inherits that.
pub fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None::<Pid>, &cores).with_context(|| {
        format!("This process cannot be pinned to core {core}: the benchmark needs two cores.")
    })
}

/// Allows as many open files as the system permits, and refuses where that is not enough.
pub fn allow_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("the limit of open files")?;
    match limit.maximum {
        Some(maximum) if maximum < needed => bail!(
            "A process may open {maximum} files, and the benchmark needs {needed}. Raise the limit (ulimit -n)."
        ),
        _ => Ok(()),
    }
}

/// The processor time that a process has used so far, in user space and in the kernel.
pub fn processor_time(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat =
        fs::read_to_string(&path).with_context(|| format!("{path}: has the server ended?"))?;
    // The name of the program is in parentheses and may hold spaces. `utime` and `stime` are the fields 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<u32> {
        let field = fields.next().with_context(|| path.clone())?;
        field.parse().with_context(|| path.clone())
    };
    Ok(TICK * (ticks()? + ticks()?))
}

/// The resident memory of a process in KiB.
pub fn resident_kib(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.and_then(|line| line.trim().strip_suffix(" kB"));
    line.and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("{path} has no VmRSS"))
}

/// The model of the processor and the number of cores.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    format!("{model}, {cores} cores")
}

pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}
